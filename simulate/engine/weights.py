"""The model of a worker, ready for its method: weights of its own where they change, else those that all share."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel

from partitions.corpus import Task
from simulate import seeds
from simulate.engine.shared import SharedFolder
from simulate.files import write_tensors, write_text
from simulate.method import Method, Scope
from simulate.models.backbone import ModelSettings, empty_model, load_model, load_tokenizer
from simulate.models.structure import Structure, find_structure

WRITTEN = "weights.json"
"""The file of the shared folder that says that the weights are there, and which the checkpoint did not bring."""

BUFFERS = "buffers.safetensors"
"""The file of what belongs to a model and is no parameter: small, and copied."""

ALIGNED = 16
"""Float32 elements: at multiples of 64 bytes, where PyTorch's own tensors lie. The order of MKL's sums depends on where
the operands lie in some products of few rows."""


@dataclass(frozen=True)
class Loaded:
    """A prepared model. No parameter asks for gradients.

    Attributes:
        pad: number of the padding token.
        full: shapes of its tensors before the method changed anything, by name.
        initial: the values that it begins with, of all that is trained: not to be written to.
    """

    model: PreTrainedModel
    pad: int
    full: dict[str, tuple[int, ...]]
    structure: Structure
    scope: Scope
    initial: dict[str, torch.Tensor]


def load(
    settings: ModelSettings,
    task: Task,
    labels: Sequence[str],
    seed: int,
    method: Method,
    folder: SharedFolder | None = None,
    aligned: bool = True,
) -> Loaded:
    """The model of a run, on the CPU.

    Args:
        settings: which model.
        task: decides the head.
        labels: names of the head's outputs, in order.
        seed: of the run.
        method: what changes the model and says what is trained.
        folder: where the first of several workers writes the weights, for all to map into their memory; None where
            there is one worker.
        aligned: whether it stays on the CPU, and parameters are to lie where products are the same bits in every
            process. Of one worker they are then in memory of its own, not in the mapped checkpoint.

    Raises:
        ModelError, MethodError: as the model and the method do.
        SharedFolderError: if there is no room for the weights.
    """
    if folder is None:
        model, tokenizer = load_model(settings, task, labels, seed)
        full, structure, scope = _prepare(model, method, seed)
        if aligned:
            _align(model.parameters())
        initial = {name: model.get_parameter(name).detach().clone() for name in scope.trained}
        return Loaded(model, tokenizer.pad_token_id, full, structure, scope, initial)
    written = folder.path / WRITTEN
    with folder.alone("weights"):
        first = not written.exists()
        if first:
            model, tokenizer = load_model(settings, task, labels, seed)
            full, structure, scope = _prepare(model, method, seed)
            shared = _shared(folder, model)
            for name, parameter in model.named_parameters():
                shared[name].copy_(parameter.detach())
            write_tensors(folder.path / BUFFERS, dict(model.named_buffers()))
            write_text(written, json.dumps(sorted(getattr(model, "fresh_parameters", ()))))
    if not first:
        tokenizer = load_tokenizer(settings)
        model = empty_model(settings, task, labels, tokenizer, json.loads(written.read_text()))
        full, structure, scope = _prepare(model, method, seed)
        shared = _shared(folder, model)
        buffers = load_file(folder.path / BUFFERS)
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    _align(parameter for name, parameter in model.named_parameters() if name in scope.changing)
    for name, parameter in model.named_parameters():
        if name not in scope.changing:
            parameter.data = shared[name]
        elif not first:
            parameter.data.copy_(shared[name])
    initial = {name: shared[name] for name in scope.trained}
    return Loaded(model, tokenizer.pad_token_id, full, structure, scope, initial)


def _shared(folder: SharedFolder, model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The parameters as all workers of the folder see them, by name."""
    parameters = dict(model.named_parameters())
    room = [ceil(parameter.numel() / ALIGNED) * ALIGNED for parameter in parameters.values()]
    parts = folder.tensor("weights", sum(room), torch.float32).split(room)
    return {
        name: part[: parameter.numel()].view(parameter.shape)
        for (name, parameter), part in zip(parameters.items(), parts, strict=True)
    }


def _align(parameters: Iterable[nn.Parameter]) -> None:
    """Move those that lie elsewhere, such as in a mapped checkpoint, to where PyTorch's own tensors lie."""
    for parameter in parameters:
        if parameter.data_ptr() % (4 * ALIGNED) or not parameter.is_contiguous():
            parameter.data = parameter.detach().clone(memory_format=torch.contiguous_format)


def _prepare(model: PreTrainedModel, method: Method, seed: int) -> tuple[dict[str, tuple[int, ...]], Structure, Scope]:
    """Change the model as the method wants it; the shapes before, by name, the structure after, and the scope."""
    full = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    with seeds.torch_draws(seed, "method"):
        method.prepare(model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    structure = find_structure(model)
    return full, structure, method.scope(structure)
