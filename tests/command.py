"""The installed command, run as a user runs it."""

import subprocess
import sys
from pathlib import Path

from tests.processes import forked

SKIPFL = str(Path(sys.executable).with_name("skipfl"))


def skipfl(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What `skipfl ARGUMENTS` gives in a folder."""
    return subprocess.run([SKIPFL, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=300)


def quick(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The same without the seconds that imports take: `tests.processes.forked`."""
    process = forked(*arguments, cwd=cwd)
    process.join(300)
    assert process.exitcode is not None
    said = [cwd / name for name in ("output", "errors")]
    result = subprocess.CompletedProcess([*arguments], process.exitcode, *(file.read_text() for file in said))
    for file in said:
        file.unlink()
    return result
