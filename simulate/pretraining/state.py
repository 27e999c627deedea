"""A training run between two steps: kept in one safetensors file, written atomically, read back bit for bit."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import LlamaForCausalLM


@dataclass
class State:
    """What the next step depends on.

    Attributes:
        model: float32 weights.
        optimizer: AdamW over `model`.
        step: steps done.
        end: the step at which the decay ends.
        seconds: wall clock of the steps done, over all sessions.
        losses: (step, layers, mean training loss in nats since the entry before).
    """

    model: LlamaForCausalLM
    optimizer: torch.optim.AdamW
    step: int
    end: int
    seconds: float = 0.0
    losses: list[tuple[int, int, float]] = field(default_factory=list)


def adamw(model: LlamaForCausalLM, weight_decay: float) -> torch.optim.AdamW:
    """A fresh AdamW; decay applies to matrices, not to norm scales."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    scales = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": scales, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-8, fused=True)


def save(state: State, file: Path) -> None:
    """Write the state; a crash leaves the file as it was or as it shall be."""
    tensors = {}
    for name, parameter in state.model.named_parameters():
        tensors[f"model/{name}"] = parameter.detach()
        for key, value in state.optimizer.state[parameter].items():
            tensors[f"optimizer/{key}/{name}"] = value
    position = {"step": state.step, "end": state.end, "seconds": state.seconds, "losses": state.losses}
    metadata = {"position": json.dumps(position), "layers": str(state.model.config.num_hidden_layers)}
    partial = file.with_suffix(".partial")
    save_file(tensors, partial, metadata=metadata)
    partial.replace(file)


def saved_layers(file: Path) -> int:
    """The depth of the saved model."""
    with safe_open(file, "pt") as tensors:
        return int(tensors.metadata()["layers"])


@torch.no_grad()
def load(model: LlamaForCausalLM, optimizer: torch.optim.AdamW, file: Path) -> State:
    """The saved state, in a model of its depth and a fresh optimizer over it."""
    with safe_open(file, "pt") as tensors:
        stored = set(tensors.keys())
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors.get_tensor(f"model/{name}"))
            keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"optimizer/{key}/{name}" in stored]
            if keys:
                optimizer.state[parameter] = {key: tensors.get_tensor(f"optimizer/{key}/{name}") for key in keys}
        position = json.loads(tensors.metadata()["position"])
    position["losses"] = [tuple(entry) for entry in position["losses"]]
    return State(model, optimizer, **position)
