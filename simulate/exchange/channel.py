"""The channel: tensors by name to bytes and back. What is reported as communication is the length of these bytes."""

import json
from collections.abc import Iterable, Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

State = dict[str, torch.Tensor]
"""Tensors by parameter name: the global state, or one client's update."""


def l2_norm(state: Mapping[str, torch.Tensor]) -> float:
    """The L2 norm over all tensors together, summed in float64."""
    squares = [tensor.double().square().sum() for tensor in state.values()]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0


class PayloadError(ValueError):
    """Bytes that are no encoding."""


class Float32Channel:
    """Every tensor travels whole, as float32, in the safetensors layout.

    The encoding is 8 bytes of header length, a JSON header padded to 8 bytes, and 4 bytes an element.
    """

    def encode(self, state: Mapping[str, torch.Tensor]) -> bytes:
        """The bytes that travel; none when there is nothing to send."""
        if not state:
            return b""
        return save({name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in state.items()})

    def decode(self, payload: bytes) -> State:
        """The tensors that arrive: float32, on the CPU, with the shapes that were sent.

        Raises:
            PayloadError: if that is not what `encode` made.
        """
        try:
            return load(payload) if payload else {}
        except SafetensorError as error:
            raise PayloadError(f"{len(payload)} bytes cannot be decoded: {error}") from error

    def size(self, shapes: Iterable[tuple[str, tuple[int, ...]]]) -> int:
        """The length in bytes that `encode` gives for tensors of these names and shapes.

        For planning without weights; a run counts what it encodes.
        """
        header: dict[str, object] = {}
        end = 0
        for name, shape in sorted(shapes):
            begin, end = end, end + 4 * torch.Size(shape).numel()
            header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
        if not header:
            return 0
        text = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
        return 8 + text + -text % 8 + end
