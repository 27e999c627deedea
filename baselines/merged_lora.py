"""What FedEx-LoRA and FLoRA share: the server merges changes of low rank, made of all clients' adapters, into W.

The server needs each client's A_i and B_i, not only their averages. It sees them one client at a time, so that each
client's contribution to the sums has names of its own: the sum of one tensor is that tensor.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from baselines.lora import ADAPTER, LoRA
from simulate.clients.training import TrainSettings
from simulate.exchange.channel import State
from simulate.exchange.low_rank import Factors
from simulate.method import Method, MethodError, Scope, Turn
from simulate.models.structure import Structure
from simulate.server_optimizer import ServerOptimizer

A, B, BASE = ".lora_A.default.weight", ".lora_B.default.weight", ".base_layer.weight"


@dataclass(frozen=True)
class Adapter:
    """One client's adapter of one layer, as received.

    Attributes:
        share: its weight, the client's part of the examples of all who sent this adapter.
        a: of shape (rank, inputs).
        b: of shape (outputs, rank).
    """

    share: float
    a: torch.Tensor
    b: torch.Tensor


class MergedLoRA(LoRA):
    """LoRA whose base weights change too. The saved result is merged: plain weights, which need no peft."""

    needs_mean: ClassVar[str] = "it merges exact means of products into the weights"

    def check(self, train: TrainSettings, server: ServerOptimizer) -> None:
        if server.title:
            raise MethodError(
                f"{self.title} merges exact averages into the weights, which {server.title} would not touch: "
                "set server=average"
            )

    def prepare(self, model: nn.Module) -> None:
        super().prepare(model)
        layers = [module.base_layer for module in model.modules() if isinstance(module, LoraLayer)]
        if any(isinstance(layer, Conv1D) for layer in layers):
            raise MethodError(f"{self.title} merges into nn.Linear, and this model has Conv1D layers; use method=lora")

    def scope(self, structure: Structure) -> Scope:
        exchanged = super().scope(structure).exchanged
        return Scope(exchanged, merged=tuple(name.replace(A, BASE) for name in exchanged if name.endswith(A)))

    def contribution(self, received: State, turn: Turn) -> State:
        return {f"{name}@{turn.client}" if ADAPTER in name else name: tensor for name, tensor in received.items()}

    def server_step(self, state: State, update: State, participation: Mapping[str, float]) -> State:
        return super().server_step(state, {name: update[name] for name in update if "@" not in name}, participation)

    def merges(self, update: State, weights: Mapping[str, int]) -> dict[str, Factors]:
        senders: dict[str, list[int]] = {}
        for name in update:
            layer, of_a, client = name.partition(f"{A}@")
            if of_a:
                senders.setdefault(layer, []).append(int(client))
        changes = {}
        for layer, clients in senders.items():
            total = sum(weights[f"{layer}{A}@{client}"] for client in clients)
            left, right = self.change(
                [
                    Adapter(
                        weights[f"{layer}{A}@{client}"] / total,
                        update[f"{layer}{A}@{client}"],
                        update[f"{layer}{B}@{client}"],
                    )
                    for client in sorted(clients)
                ]
            )
            if left.shape[1]:
                changes[f"{layer}{BASE}"] = (self.scaling * left, right)
        return changes

    @abstractmethod
    def change(self, adapters: Sequence[Adapter]) -> Factors:
        """The change of a layer's weight, before its scaling by alpha / rank."""

    imports: ClassVar[tuple[str, ...]] = Method.imports
    loading: ClassVar[tuple[str, ...]] = Method.loading

    def save(self, state: State, structure: Structure, folder: Path) -> None:
        """Write the adapted weights with their adapters merged, under their plain names, and the head."""
        merged = {name: state[name] for name in structure.head if name in state}
        for name in state:
            layer, is_base, _ = name.partition(BASE)
            if is_base:
                product = state[f"{layer}{B}"] @ state[f"{layer}{A}"]
                merged[f"{layer}.weight"] = state[name] + self.scaling * product
        Method.save(self, merged, structure, folder)
