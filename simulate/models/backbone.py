"""The model of an experiment: any transformers backbone with a new task head, and its tokenizer."""

import warnings
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from typing import Annotated

import torch
import transformers
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.initialization import no_init_weights

from partitions.corpus import Task
from simulate.models import ModelError
from simulate.models.attention import is_causal, remove_causal_mask
from simulate.models.sources import checkpoint_folder, config_file
from simulate.models.structure import find_structure
from simulate.models.windows import Overflow
from simulate.seeds import torch_draws

_TOKENS = (AutoModelForTokenClassification, MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING)
_SEQUENCE = (AutoModelForSequenceClassification, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING)
HEADS = {"ner": _TOKENS, "classification": _SEQUENCE, "multilabel": _SEQUENCE}
"""Task -> the transformers class with its head, and the families that have one."""


class ModelSettings(BaseModel):
    """Which model, and how it reads.

    Attributes:
        name: ``tiny-llama`` (ships with the project), ``minilm`` (ships with the extra of that name), a local folder,
            or a Hugging Face id such as ``meta-llama/Llama-3.2-1B``.
        bidirectional: remove the causal mask of a decoder, which helps tagging (arXiv 2310.01208).
        max_length: sub-words that are read at once, special tokens included.
        overflow: what is read of a longer example: its ``head``; ``head_tail``, half of the room each (texts); or all
            of it, in ``windows``: overlapping ones for ner, whose tags are merged, and one after the other for texts,
            whose predictions are averaged.
        stride: sub-words from the beginning of one window to that of the next; by default half a window for ner and a
            whole one for texts.
        pretrained: false gives random weights of the same configuration.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = "tiny-llama"
    bidirectional: bool = False
    max_length: Annotated[int, Field(ge=8)] = 256
    overflow: Overflow = "head"
    stride: Annotated[int, Field(ge=1)] | None = None
    pretrained: bool = True


def load_config(settings: ModelSettings) -> PreTrainedConfig:
    """The configuration of a model, as published; weights and tokenizer need not be there.

    Raises:
        ModelError: if the model is not found or transformers does not know its type.
    """
    file = config_file(settings.name)
    try:
        return AutoConfig.from_pretrained(file, trust_remote_code=False)
    except Exception as error:  # the configurations of transformers check themselves, each in its own way
        raise ModelError(f"model {settings.name!r}: {file} cannot be read: {_first_line(error)}") from None


def meta_model(settings: ModelSettings, task: Task, labels: Sequence[str]) -> PreTrainedModel:
    """The model with its task head on the meta device: names and shapes, without weights or memory.

    Args:
        settings: which model.
        task: decides the head: a label for each token (ner) or for each text.
        labels: names of the head's outputs, in order: tags or classes.

    Raises:
        ModelError: if the model is not found, has no head for the task, or cannot be made bidirectional.
    """
    with torch.device("meta"):
        return _finished(_from_config(settings, task, _with_labels(load_config(settings), task, labels)), settings)


def load_model(
    settings: ModelSettings, task: Task, labels: Sequence[str], seed: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in float32 on the CPU, in evaluation mode, and its tokenizer with a padding token.

    The new head is drawn from the seed; the global generators are left as they were. Attention is PyTorch's
    scaled-dot-product attention where the family has it.

    Args:
        settings: which model.
        task: decides the head: a label for each token (ner) or for each text.
        labels: names of the head's outputs, in order: tags or classes.
        seed: the run's seed.

    Raises:
        ModelError: if the model is not found, incomplete, has no head for the task, or cannot read `max_length`.
    """
    folder = checkpoint_folder(settings.name, weights=settings.pretrained)
    tokenizer = load_tokenizer(settings)
    config = _with_labels(load_config(settings), task, labels)
    config.pad_token_id = tokenizer.pad_token_id
    with torch_draws(seed, "model"), _quiet():
        if settings.pretrained:
            model = _from_checkpoint(settings, task, config, str(folder))
        else:
            model = _from_config(settings, task, config)
    return _finished(model, settings), tokenizer


def empty_model(
    settings: ModelSettings,
    task: Task,
    labels: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    fresh: Iterable[str],
) -> PreTrainedModel:
    """What `load_model` gives, but for the values of the parameters: memory that has not been touched yet.

    Args:
        tokenizer: of the model, from `load_tokenizer`.
        fresh: the parameters that the checkpoint did not bring, `fresh_parameters` of the loaded model.
    """
    config = _with_labels(load_config(settings), task, labels)
    config.pad_token_id = tokenizer.pad_token_id
    with no_init_weights():
        model = _from_config(settings, task, config)
    model.tie_weights()
    model.fresh_parameters = frozenset(fresh)
    return _finished(model, settings)


def _finished(model: PreTrainedModel, settings: ModelSettings) -> PreTrainedModel:
    """The model in evaluation mode, without its causal mask where that is wanted or was so when it was saved."""
    saved_without_mask = getattr(model.config, "is_causal", True) is False
    if is_causal(model.config) and (settings.bidirectional or saved_without_mask):
        remove_causal_mask(model)
    return model.eval()


def checkpoint_gradients(model: PreTrainedModel) -> None:
    """Have blocks in training mode keep only what enters them, and compute the rest again in the backward pass.

    Raises:
        ModelError: if the family has no way to do so.
    """
    if not model.supports_gradient_checkpointing:
        raise ModelError(f"train.gradient_checkpointing: {type(model).__name__} cannot do so; set it to false")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # newer versions have another name for it
        model.gradient_checkpointing_enable({"use_reentrant": False})


def halve_constants(model: PreTrainedModel, changing: Set[str]) -> None:
    """Hold the matrices of linear layers that never change in bfloat16: half the memory, to be used under autocast.

    Autocast makes the same of them at each product, so that nothing comes out differently.

    Args:
        changing: names of all parameters that are trained, written to or sent at some time.
    """
    linear = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    for name, parameter in model.named_parameters():
        if id(parameter) in linear and name not in changing:
            parameter.data = parameter.data.to(torch.bfloat16)


def load_tokenizer(settings: ModelSettings) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, with a padding token (its end-of-text token where it has none of its own).

    Raises:
        ModelError: if the model is not found, its tokenizer does not fit, or it cannot read `max_length`.
    """
    name, folder, config = settings.name, checkpoint_folder(settings.name, weights=False), load_config(settings)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise ModelError(f"model {name!r}: tokenizer in {folder} cannot be read: {_first_line(error)}") from None
    if not tokenizer.is_fast:
        raise ModelError(f"model {name!r}: its tokenizer has no fast version (tokenizer.json)")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise ModelError(f"model {name!r}: its tokenizer has neither a padding nor an end-of-text token")
    entries = max(tokenizer.vocab_size, tokenizer.pad_token_id + 1)  # added tokens may exceed the embedding unused
    if entries > config.vocab_size:
        raise ModelError(f"model {name!r}: its tokenizer has {entries} entries, its embedding {config.vocab_size}")
    longest = min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", settings.max_length))
    if settings.max_length > longest:
        raise ModelError(f"model.max_length = {settings.max_length}, but {name!r} reads at most {longest} sub-words")
    return tokenizer


def _with_labels(config: PreTrainedConfig, task: Task, labels: Sequence[str]) -> PreTrainedConfig:
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    config.problem_type = "multi_label_classification" if task == "multilabel" else None
    config.use_cache = False  # keys and values of past tokens serve generation only
    return config


def _from_config(settings: ModelSettings, task: Task, config: PreTrainedConfig) -> PreTrainedModel:
    _check_head(settings, task, config)
    return HEADS[task][0].from_config(config, dtype=torch.float32, trust_remote_code=False)


def _from_checkpoint(settings: ModelSettings, task: Task, config: PreTrainedConfig, folder: str) -> PreTrainedModel:
    _check_head(settings, task, config)
    try:
        model, report = HEADS[task][0].from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # a head for other labels is replaced
            output_loading_info=True,
        )
    except Exception as error:
        raise ModelError(f"model {settings.name!r}: weights in {folder} cannot be read: {_first_line(error)}") from None
    structure = find_structure(model)
    resized = {key for key, *_ in report["mismatched_keys"]}
    fresh = {*report["missing_keys"], *resized}
    if lost := sorted(fresh.difference(structure.final, structure.head)):
        why = f"{lost[0]} has another shape" if lost[0] in resized else f"no {lost[0]}"
        raise ModelError(f"model {settings.name!r}: weights in {folder} do not fit its config.json: {why}")
    model.fresh_parameters = frozenset(fresh)
    return model


def _check_head(settings: ModelSettings, task: Task, config: PreTrainedConfig) -> None:
    if type(config) not in HEADS[task][1]:
        kind = "token" if task == "ner" else "sequence"
        raise ModelError(
            f"model {settings.name!r}: transformers has no {kind} classification head for {config.model_type} models"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Within the block transformers prints neither progress nor its list of new weights."""
    log = transformers.logging
    level, progress = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if progress:
            log.enable_progress_bar()


def _first_line(error: Exception) -> str:
    """The first line of what an error says, and the next where that only leads up to it."""
    first, *others = str(error).strip().splitlines() or [type(error).__name__]
    return f"{first} {others[0].strip()}" if others and first.endswith(":") else first
