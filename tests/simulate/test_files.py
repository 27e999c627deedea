"""Files that appear whole or not at all; a full disk names the file that found no room."""

import errno
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from simulate.errors import one_line
from simulate.files import named, whole, write_tensors, write_text


def test_a_file_that_fails_leaves_the_older_one_and_nothing_else(tmp_path):
    file = tmp_path / "a.txt"
    write_text(file, "älter\n")
    with pytest.raises(TypeError), whole(file) as stream:
        stream.write("no bytes")
    assert file.read_text(encoding="utf-8") == "älter\n"
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_names_the_file(tmp_path):
    """/dev/full is a disk without room: what the system says of it names no file."""
    file = tmp_path / "rounds.csv"
    with pytest.raises(OSError, match="No space") as raised, named(file), Path("/dev/full").open("w", 1) as stream:
        stream.write("0,1\n")
    assert raised.value.errno == errno.ENOSPC
    assert one_line(raised.value) == f"{file}: No space left on device"


def test_tensors_of_all_kinds_are_read_back(tmp_path):
    dtypes = (
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.uint8,
        torch.bool,
    )
    tensors = {str(dtype): torch.arange(6).view(2, 3).to(dtype) for dtype in dtypes}
    tensors |= {"empty": torch.zeros(0), "number": torch.tensor(3.0), "transposed": torch.arange(6.0).view(2, 3).T}
    digest = write_tensors(tmp_path / "a.safetensors", tensors)
    assert digest == write_tensors(tmp_path / "b.safetensors", dict(reversed(tensors.items())))
    found = load_file(tmp_path / "a.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor), name
        assert found[name].dtype == tensor.dtype
