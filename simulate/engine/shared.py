"""What the workers of a run share on one machine: tensors in files that all map into their memory."""

import fcntl
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from filelock import FileLock

from partitions.cache import cache_folder
from partitions.locks import process_lock

HERE = f"@{platform.node()}"
"""The end of a folder's name: a cache folder on a network is that of several machines, which do not share memory."""


class SharedFolderError(RuntimeError):
    """A folder that cannot be written to; the message names it and why."""


class SharedFolder:
    """A folder in the cache that is gone with the last of the run's workers.

    Each worker holds a shared lock as long as it lives. Whoever comes or goes removes the folders that nobody holds any
    more, those of killed runs too.

    Args:
        key: of the run.

    Raises:
        SharedFolderError: if the cache folder cannot be written to.
    """

    def __init__(self, key: str) -> None:
        self.path = folder_of(key)
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _coming_and_going():
                _sweep()
                self.path.mkdir(mode=0o700, exist_ok=True)  # what is made of protected text is protected
                self._held = os.open(self.path / "held", os.O_CREAT | os.O_RDWR, 0o600)
                fcntl.flock(self._held, fcntl.LOCK_SH)
        except OSError as error:
            raise SharedFolderError(f"{self.path}: cannot be written ({error.strerror})") from error

    def tensor(self, name: str, elements: int, dtype: torch.dtype) -> torch.Tensor:
        """A flat tensor in a file of the folder, zeros at first, that all who open it see.

        Raises:
            SharedFolderError: if there is no room on the disk.
        """
        file, size = self.path / name, max(1, elements) * dtype.itemsize
        descriptor = os.open(file, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            with self.alone(f"{name}.size"):
                _allocate(descriptor, size)
        except OSError as error:
            raise SharedFolderError(f"{file}: no room for {size / 1e9:.3g} GB ({error.strerror})") from error
        finally:
            os.close(descriptor)
        return torch.from_file(str(file), shared=True, size=max(1, elements), dtype=dtype)[:elements]

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Within the block, no other worker is in a block of this name."""
        with process_lock(self.path / f"{name}.lock"):
            yield

    def close(self) -> None:
        """Let go; the last worker to do so removes the folder."""
        os.close(self._held)
        sweep()


def _allocate(descriptor: int, size: int) -> None:
    """Take room on the disk for all of a file: a write into a mapped file that finds none is a crash."""
    there = os.fstat(descriptor).st_size
    if there >= size:
        return
    if allocate := getattr(os, "posix_fallocate", None):  # not on macOS
        allocate(descriptor, 0, size)
        return
    os.lseek(descriptor, there, os.SEEK_SET)
    while there < size:
        there += os.write(descriptor, bytes(min(1 << 20, size - there)))


def folder_of(key: str) -> Path:
    """The folder of a run."""
    return cache_folder() / f"run-{key}{HERE}"


def sweep() -> None:
    """Remove the folders of runs that have no worker on this machine any more."""
    if cache_folder().is_dir():
        with suppress(OSError), _coming_and_going():
            _sweep()


def _coming_and_going() -> FileLock:
    return process_lock(cache_folder() / "run.lock")


def _sweep() -> None:
    for folder in cache_folder().glob(f"run-*{HERE}"):
        with suppress(OSError):
            descriptor = os.open(folder / "held", os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(descriptor)
