"""A folder that one process at a time may write."""

import fcntl
import os
from pathlib import Path

from filelock import FileLock, Timeout

from partitions.locks import process_lock
from simulate.files import named

LOCK = ".lock"
"""The file that who writes a folder holds locked."""


def hold(folder: Path, refusal: Exception) -> FileLock:
    """Take a folder that is there: until the lock is released, or this process ends, it is ours.

    Raises:
        refusal: if another process has it.
        OSError: if the file system has no such locks, or lets none be made.
    """
    lock = process_lock(folder / LOCK)
    try:
        with named(folder / LOCK):
            lock.acquire(timeout=0)
    except Timeout as error:
        raise refusal from error
    return lock


def check_not_held(folder: Path, refusal: Exception) -> None:
    """Whether another process has a folder, which is only read, and may be one that cannot be written to.

    Raises:
        refusal: if one has.
    """
    if not (folder / LOCK).exists():
        return
    descriptor = os.open(folder / LOCK, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise refusal from error
    except OSError:
        pass  # no such locks on this file system; whoever writes is told by `hold`
    finally:
        os.close(descriptor)
