"""Locks between processes."""

from pathlib import Path

from filelock import FileLock


def process_lock(path: Path) -> FileLock:
    """A lock that the system releases when the process that holds it ends, however it ends; the file stays.

    A file system without such locks is an `OSError` when it is acquired: a marker file in its place would outlive a
    process that is killed, and lock everyone out.
    """
    return FileLock(path, fallback_to_soft=False)
