"""Memory of this process: its peak since a moment, what becomes of what is freed, and its share of a GPU."""

import ctypes
import gc
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")
OWN_GROUPS = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of mallopt, from glibc's malloc.h."""


@cache  # once a process: collecting takes a good part of a second where much has been imported
def keep_freed() -> None:
    """Have this process keep memory that it frees from now on, for good, where the C library is glibc.

    Otherwise every tensor of more than 32 MB comes from the system anew, which takes longer to hand it out, a page at a
    time and zeroed, than one pass over it takes: gradients come and go with every client, averages with every round.
    What is free now, such as what loading a model took, goes back first.
    """
    gc.collect()
    _give_back()
    with suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)


def _give_back() -> None:
    """What is free goes back to the system."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


CUDA_CONTEXT = 600_000_000
"""Bytes of a GPU that each process takes for CUDA itself, about."""


def keep_to_share(share: float) -> None:
    """Have what PyTorch takes of the GPU, with CUDA's own part, stay within a share of the whole; beyond it is a
    `torch.OutOfMemoryError`.
    """
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(max(0.0, share - CUDA_CONTEXT / whole))


def machine_bytes() -> int:
    """Memory of the machine, or what this process's control groups (a container, a job) may have of it."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in _limits():
        with suppress(OSError, ValueError):  # not there, or "max"
            found = min(found, int(limit.read_text()))
    return found


def _limits() -> Iterator[Path]:
    """Where Linux says what a control group of this process, or one that it is in, may have, in either version."""
    groups = []
    with suppress(OSError):
        groups = [line.split(":", 2) for line in OWN_GROUPS.read_text().splitlines()]
    for _, controllers, name in groups:
        if controllers in ("", "memory"):
            top = GROUPS / controllers
            group = top / name.lstrip("/")
            for folder in (group, *group.parents):
                if folder.is_relative_to(top):
                    yield folder / ("memory.limit_in_bytes" if controllers else "memory.max")


def reset_peak() -> None:
    """Count the peak from now on, where the system allows it (Linux); elsewhere it counts from the start.

    What is free, kept of an earlier run, does not belong to it.
    """
    _give_back()
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
