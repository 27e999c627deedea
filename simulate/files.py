"""Files that appear whole or not at all, and errors of the file system that name the file."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch

from simulate.exchange.layout import header


@contextmanager
def named(path: Path) -> Iterator[None]:
    """An error of the file system within the block names this path where it names none, as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name, on the disk, when the block ends, and not at all when it fails."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with named(path), temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(folder: Path) -> None:
    """Have the names of a folder's files survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8: readers see the old file or the whole new one."""
    with whole(path) as stream:
        stream.write(text.encode())


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON, as `write_text` does."""
    write_text(path, json.dumps(data, indent=2) + "\n")


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> str:
    """Write tensors as safetensors, the whole file or none; its SHA-256."""
    sha = hashlib.sha256()
    with whole(path) as stream:
        for part in _layout(tensors):
            sha.update(part)
            stream.write(part)
    return sha.hexdigest()


def _layout(tensors: Mapping[str, torch.Tensor]) -> Iterator[bytes | memoryview]:
    """The safetensors layout of some tensors, part by part, so that no second copy of all of them is made."""
    tensors = dict(sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])))  # aligned
    yield header((name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items())
    for tensor in tensors.values():
        yield tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
