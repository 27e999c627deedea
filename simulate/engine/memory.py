"""Peak resident memory of this process since a moment."""

import resource
import sys
from contextlib import suppress
from pathlib import Path

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


def reset_peak() -> None:
    """Count the peak from now on, where the system allows it (Linux); elsewhere it counts from the start."""
    with suppress(OSError):
        CLEAR.write_text("5")


def peak_mb() -> float:
    """The largest resident set since `reset_peak`, in MB (1e6 bytes)."""
    try:
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
