"""The channel: tensors by name to bytes and back. What is reported as communication is the length of these bytes."""

import warnings
from collections.abc import Iterable, Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from simulate.exchange.layout import Place, header, places

State = dict[str, torch.Tensor]
"""Tensors by parameter name: the global state, or one client's update."""

Payload = npt.NDArray[np.uint8]
"""The bytes that travel; as an array, so that processes of one machine can share them without a copy."""

LAYOUTS = 256
"""Headers that are remembered, since most transfers look alike."""


class PayloadError(ValueError):
    """Bytes that are no encoding."""


class Float32Channel:
    """Every tensor travels whole, as float32, in the safetensors layout.

    The encoding is 8 bytes of header length, a JSON header padded to 8 bytes, and 4 bytes an element, by ascending
    name.
    """

    def __init__(self) -> None:
        self._buffer = torch.empty(0, dtype=torch.uint8)
        self._views: tuple[list[Place], State] = [], {}  # of the buffer, for the layout that was last asked for

    def slots(self, shapes: Mapping[str, tuple[int, ...]]) -> State:
        """Uninitialised tensors that `encode` need not copy, if it is given just them next; float32, on the CPU."""
        _, found = _layout(tuple(sorted(shapes.items())))
        return dict(self._slots(found))

    def encode(self, state: Mapping[str, torch.Tensor]) -> Payload:
        """The bytes that travel; none when there is nothing to send. They are overwritten by the next call."""
        before, found = _layout(tuple(sorted((name, tuple(tensor.shape)) for name, tensor in state.items())))
        slots = self._slots(found)
        moved = {name: tensor.detach() for name, tensor in state.items() if tensor is not slots[name]}
        ours = self._buffer.untyped_storage().data_ptr()
        for name, tensor in moved.items():
            if tensor.device.type == "cpu" and tensor.untyped_storage().data_ptr() == ours:
                moved[name] = tensor.clone()  # perhaps in the slot of another tensor
        payload = self._buffer.numpy()[: found[-1][3] if found else 0]
        payload[: len(before)] = np.frombuffer(before, np.uint8)
        for name, tensor in moved.items():
            slots[name].copy_(tensor)
        return payload

    def _slots(self, found: list[Place]) -> State:
        """The places of the buffer as tensors."""
        size = found[-1][3] if found else 0
        if len(self._buffer) < size:
            self._buffer = torch.empty(size, dtype=torch.uint8)
            self._views = [], {}
        if self._views[0] is not found:
            self._views = found, _tensors(self._buffer, found)
        return self._views[1]

    def decode(self, payload: Payload) -> State:
        """The tensors that arrive: float32, on the CPU, with the shapes that were sent; views of the payload.

        Raises:
            PayloadError: if that is not what `encode` made.
        """
        if not len(payload):
            return {}
        begin = 8 + int.from_bytes(payload[:8].tobytes(), "little")
        try:
            found = _places(payload[8:begin].tobytes())
        except ValueError as error:
            raise PayloadError(f"{len(payload)} bytes cannot be decoded: no header") from error
        if len(payload) != found[-1][3]:
            raise PayloadError(f"{len(payload)} bytes cannot be decoded: the header says {found[-1][3]}")
        if payload.ctypes.data == self._buffer.data_ptr():
            return dict(self._slots(found))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*not writable")  # what other processes share is only read
            return _tensors(torch.from_numpy(payload), found)

    def size(self, shapes: Iterable[tuple[str, tuple[int, ...]]]) -> int:
        """The length in bytes that `encode` gives for tensors of these names and shapes.

        For planning without weights; a run counts what it encodes.
        """
        _, found = _layout(tuple(sorted(shapes)))
        return found[-1][3] if found else 0


def _tensors(data: torch.Tensor, found: list[Place]) -> State:
    """Views of bytes as the tensors whose places these are."""
    return {name: data[first:last].view(torch.float32).view(shape) for name, shape, first, last in found}


@lru_cache(maxsize=LAYOUTS)
def _layout(shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> tuple[bytes, list[Place]]:
    """What precedes the elements, and where each tensor's lie."""
    if not shapes:
        return b"", []
    first = header((name, torch.float32, shape) for name, shape in shapes)
    return first, _places(first[8:])


_places = lru_cache(maxsize=LAYOUTS)(places)
