"""The safetensors layout: what precedes the elements of some tensors, and where each tensor's lie."""

import json
from collections.abc import Iterable

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

Place = tuple[str, tuple[int, ...], int, int]
"""A tensor's name and shape, and where its bytes begin and end in the whole."""


def header(tensors: Iterable[tuple[str, torch.dtype, tuple[int, ...]]]) -> bytes:
    """8 bytes of length, and a JSON header padded to a multiple of 8 bytes, for tensors that follow without gaps.

    Args:
        tensors: name, type and shape of each, in the order in which they follow: larger elements first, so that all are
            aligned.
    """
    entries: dict[str, object] = {}
    end = 0
    for name, dtype, shape in tensors:
        begin, end = end, end + dtype.itemsize * torch.Size(shape).numel()
        entries[name] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def places(text: bytes) -> list[Place]:
    """Where the tensors lie that a header (without its length) tells of.

    Raises:
        ValueError: if that is no JSON.
    """
    first = 8 + len(text)
    return [
        (name, tuple(entry["shape"]), first + entry["data_offsets"][0], first + entry["data_offsets"][1])
        for name, entry in json.loads(text).items()
    ]
