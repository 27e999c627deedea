"""Files that appear whole or not at all, and errors of the file system that name the file."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""What safetensors calls these types."""


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
    header, end = {}, 0
    tensors = dict(sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])))  # aligned
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for tensor in tensors.values():
        yield tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
