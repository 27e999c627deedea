"""The installed command, run as a user runs it."""

import subprocess
import sys
from pathlib import Path

SKIPFL = str(Path(sys.executable).with_name("skipfl"))


def skipfl(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What `skipfl ARGUMENTS` gives in a folder."""
    return subprocess.run([SKIPFL, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=300)
