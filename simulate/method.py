"""The protocol of a federated method: what is trained and exchanged, what the client adds, what the server does."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from simulate.clients.training import Batch, LossOf, TrainSettings
from simulate.exchange.channel import State
from simulate.exchange.low_rank import Factors
from simulate.files import write_tensors
from simulate.models.structure import Structure
from simulate.server_optimizer import ServerOptimizer

Measure = Callable[[nn.Module, Structure, Iterable[Batch], LossOf], list[float]]
"""The importance of each block for a client: of the model, which holds the global values and keeps them, its structure,
batches of the client's examples, and the task's loss."""


class MethodError(ValueError):
    """Settings of a method that do not fit the model; the message names the setting, its value and what would fit."""


@dataclass(frozen=True)
class Scope:
    """The tensors a method trains, in the model's order.

    Attributes:
        exchanged: trained by the clients, averaged by the server.
        personal: trained, but never sent: each client keeps its own.
        frozen: the method's own constants: never trained, sent with the set-up only, saved with the result.
        merged: weights that no client trains, but into which the server merges changes of low rank (`Method.merges`).
    """

    exchanged: tuple[str, ...]
    personal: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    merged: tuple[str, ...] = ()

    @property
    def trained(self) -> tuple[str, ...]:
        return self.exchanged + self.personal

    @property
    def changing(self) -> set[str]:
        """All that is trained or written to at some time of a run."""
        return {*self.trained, *self.merged}


@dataclass(frozen=True)
class Turn:
    """One client's turn in one round: what may decide which tensors it trains.

    Attributes:
        seed: of the run.
        round: 1 to `rounds`.
        client: its number; -1 for what holds for the whole cohort.
        scores: the importance of each block that the server last agreed with the clients; empty before, and where
            nothing is measured.
    """

    seed: int
    round: int
    rounds: int
    client: int = -1
    scores: tuple[float, ...] = ()


@dataclass(frozen=True)
class Visit:
    """What a client's local training was, for what the method makes of its update.

    Attributes:
        start: the global values that it began with, the method's extra tensors among them.
        memory: what the method kept of this client's last visit; empty at its first.
        steps: local steps taken.
        lr: their learning rate.
        train: the settings of local training.
    """

    start: Mapping[str, torch.Tensor]
    memory: Mapping[str, torch.Tensor]
    steps: int
    lr: float
    train: TrainSettings


class Method(BaseModel):
    """One method: its settings are its fields, its behaviour these hooks.

    The defaults are plain federated averaging (McMahan et al. 2017, arXiv 1602.05629) of the whole model; a method
    overrides what it does differently. The task head belongs to every scope.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    title: ClassVar[str]
    """What tables and figures call the method."""

    pooled: ClassVar[bool] = False
    """Whether all clients' examples are handed to one client (the centralized bound)."""

    needs_mean: ClassVar[str] = ""
    """Why the method is only defined for the weighted mean of the updates; empty where any aggregation will do."""

    def check(self, train: TrainSettings, server: ServerOptimizer) -> None:
        """Refuse local training or a server optimizer for which the method is not defined; called before all else.

        Raises:
            MethodError: one line that names the settings and what to set instead.
        """

    def prepare(self, model: nn.Module) -> None:
        """Change the model before anything else, in place (LoRA adds its adapters here)."""

    def scope(self, structure: Structure) -> Scope:
        """The tensors that are trained, of the prepared model.

        Raises:
            MethodError: if the settings do not fit the model.
        """
        return Scope(exchanged=structure.names)

    def selected(self, structure: Structure, turn: Turn) -> tuple[str, ...]:
        """The exchanged tensors that a client trains and sends in a round: all of the scope, unless the method moves.

        A pure function, so that server and client, and a replay, find the same.
        """
        return self.scope(structure).exchanged

    def measure(self, turn: Turn) -> Measure | None:
        """How the cohort measures the importance of the blocks at the beginning of a round; None where it does not."""
        return None

    def follows_change(self, turn: Turn) -> bool:
        """Whether the server scores the blocks, by how far the global model's have moved since the first round."""
        return False

    def extras(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Tensors beside the model's that are exchanged too, zero at first: name -> shape.

        Args:
            shapes: of the scope's exchanged tensors.
        """
        return {}

    def begin(self, start: Mapping[str, torch.Tensor], turn: Turn) -> State:
        """Values of its own that a client begins its turn with, in place of the global ones in `start`."""
        return {}

    def local_term(
        self,
        trained: Mapping[str, nn.Parameter],
        start: Mapping[str, torch.Tensor],
        memory: Mapping[str, torch.Tensor],
    ) -> None:
        """Add the gradient of the method's own term of the local objective to the gradients, after each backward.

        Args:
            trained: the trained parameters; their ``.grad`` is added to in place.
            start: the values that the client began the round with, the method's extra tensors among them.
            memory: what the method kept of this client's last visit; empty at its first.
        """

    def upload(self, change: State, visit: Visit) -> tuple[State, State]:
        """What a client sends, and what it keeps for its next visit.

        Args:
            change: (local value - global value) of every exchanged tensor that it trained.
            visit: how it came about.

        Returns:
            The update, which may hold extra tensors; and the client's memory.
        """
        return change, {}

    def sent(self, shapes: Mapping[str, tuple[int, ...]], turn: Turn) -> Mapping[str, tuple[int, ...]]:
        """The shapes that `upload` gives tensors of these shapes: name -> shape; for plans, which hold no tensors."""
        return shapes

    def contribution(self, received: State, turn: Turn) -> State:
        """What a client's update, as the server received it, adds to the sums that are averaged.

        For what an average of the update itself cannot tell. Nothing of it is sent. The tensors received are views
        that the next client's overwrite: what is kept of them is copied.
        """
        return received

    def unweighted(self, names: Iterable[str]) -> frozenset[str]:
        """Those of the exchanged tensors that are averaged with equal weights, not by the clients' examples."""
        return frozenset()

    def server_step(self, state: State, update: State, participation: Mapping[str, float]) -> State:
        """The new values of the exchanged tensors.

        Args:
            state: the global state.
            update: the weighted mean of what the clients sent, for every tensor that some client sent.
            participation: the share of all clients that sent each of these tensors.
        """
        return {name: state[name] + delta for name, delta in update.items()}

    def merges(self, update: State, weights: Mapping[str, int]) -> dict[str, Factors]:
        """Low-rank changes of the scope's merged weights: name -> (left, right), of which left @ right is added.

        A client that missed some of them downloads their factors, stacked, or the weight itself where that is smaller.

        Args:
            update: the mean contribution to each tensor.
            weights: the sum of the weights behind each mean.
        """
        return {}

    def trained_layers(self, depth: int) -> int | None:
        """How many of `depth` blocks are trained, after any warm-up, where the method chooses blocks; else None."""
        return None

    imports: ClassVar[tuple[str, ...]] = ("from safetensors.torch import load_file",)
    loading: ClassVar[tuple[str, ...]] = ('model.load_state_dict(load_file("exchanged.safetensors"), strict=False)',)
    """How the files that `save` writes are loaded into the plain model, as Python lines."""

    def save(self, state: State, structure: Structure, folder: Path) -> None:
        """Write the final exchanged tensors into a folder."""
        write_tensors(folder / "exchanged.safetensors", state)

    def label(self, structure: Structure) -> str:
        """The method with the settings that matter, as figures print it."""
        return self.title
