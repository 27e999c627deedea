"""What a model is read from, by SHA-256, so that a run does not go on with another model unnoticed."""

import hashlib
from functools import lru_cache
from pathlib import Path

from simulate.files import named
from simulate.models.backbone import ModelSettings
from simulate.models.sources import checkpoint_folder, config_file

TOKENIZER = ("tokenizer*", "vocab*", "merges*", "*.model", "added_tokens.json", "special_tokens_map.json")

WEIGHTS = ("*.safetensors", "*.safetensors.index.json")

UNREAD = "consolidated"
"""How weights are called which some folders hold beside those that transformers reads."""


def model_digests(settings: ModelSettings) -> dict[str, str]:
    """The SHA-256 of each file that a model is read from, by name, wherever its folder lies.

    Of random weights these are configuration and tokenizer. A file is read once a process, unless it changes.

    Raises:
        ModelError: if the model is not found, or incomplete.
    """
    folder = checkpoint_folder(settings.name, weights=settings.pretrained)
    kinds = TOKENIZER + WEIGHTS * settings.pretrained
    found = (file for kind in kinds for file in folder.glob(kind) if file.is_file())
    files = {file.name: file for file in found if not file.name.startswith(UNREAD)}
    files["config.json"] = config_file(settings.name)
    return {name: _digest(file, _state(file)) for name, file in sorted(files.items())}


def _state(file: Path) -> tuple[int, ...]:
    """Which file this is, its size, and when it last changed."""
    found = file.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns


@lru_cache(maxsize=256)
def _digest(file: Path, state: tuple[int, ...]) -> str:
    with named(file), file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
