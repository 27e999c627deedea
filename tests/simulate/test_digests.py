"""The files that a model is read from, by their SHA-256, each read once."""

import hashlib
import shutil
from pathlib import Path

from simulate.models.backbone import ModelSettings
from simulate.models.digests import model_digests
from simulate.models.sources import SHIPPED_FOLDERS


def test_digests_are_those_of_the_files(tiny_decoder):
    found = model_digests(ModelSettings(name=str(tiny_decoder)))
    assert list(found) == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert found == {name: hashlib.sha256((tiny_decoder / name).read_bytes()).hexdigest() for name in found}
    shipped = model_digests(ModelSettings())
    assert shipped["model.safetensors"] == (
        hashlib.sha256((SHIPPED_FOLDERS["tiny-llama"] / "model.safetensors").read_bytes()).hexdigest()
    )


def test_a_file_is_read_again_only_when_it_changes(tiny_decoder, tmp_path, monkeypatch):
    model = Path(shutil.copytree(tiny_decoder, tmp_path / "model"))
    (model / "model-00001-of-00002.safetensors").write_bytes(b"a part")
    (model / "consolidated.safetensors").write_bytes(b"read by nobody here")
    (model / "tokenizer_2").mkdir()
    read = []
    original = hashlib.file_digest

    def counted(stream, algorithm):
        read.append(Path(stream.name).name)
        return original(stream, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    settings = ModelSettings(name=str(model))
    before = model_digests(settings)
    assert sorted(read) == sorted(before)
    assert "model-00001-of-00002.safetensors" in before
    assert "consolidated.safetensors" not in before
    assert model_digests(ModelSettings(name=str(model), max_length=8)) == before
    assert len(read) == len(before)
    (model / "config.json").write_bytes((model / "config.json").read_bytes())  # the same bytes: looked at again
    assert model_digests(settings) == before
    assert read[len(before) :] == ["config.json"]
    (model / "config.json").write_bytes((model / "config.json").read_bytes() + b"\n")
    assert {name for name, digest in model_digests(settings).items() if digest != before[name]} == {"config.json"}
