"""The protocol of a federated method: what is trained and exchanged, what the client adds, what the server does."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import save_file
from torch import nn

from simulate.exchange.channel import State
from simulate.models.structure import Structure


class MethodError(ValueError):
    """Settings of a method that do not fit the model; the message names the setting, its value and what would fit."""


@dataclass(frozen=True)
class Scope:
    """The tensors a method trains, in the model's order.

    Attributes:
        exchanged: trained by the clients, averaged by the server.
        personal: trained, but never sent: each client keeps its own.
    """

    exchanged: tuple[str, ...]
    personal: tuple[str, ...] = ()

    @property
    def trained(self) -> tuple[str, ...]:
        return self.exchanged + self.personal


class Method(BaseModel):
    """One method: its settings are its fields, its behaviour these hooks.

    The defaults are plain federated averaging (McMahan et al. 2017, arXiv 1602.05629) of the whole model; a method
    overrides what it does differently. The task head belongs to every scope.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: ClassVar[str]
    """What tables and figures call the method."""

    pooled: ClassVar[bool] = False
    """Whether all clients' examples are handed to one client (the centralized bound)."""

    def prepare(self, model: nn.Module) -> None:
        """Change the model before anything else, in place (LoRA adds its adapters here)."""

    def scope(self, structure: Structure) -> Scope:
        """The tensors that are trained, of the prepared model.

        Raises:
            MethodError: if the settings do not fit the model.
        """
        return Scope(exchanged=structure.names)

    def local_term(self, trained: Mapping[str, nn.Parameter], start: Mapping[str, torch.Tensor]) -> None:
        """Add the gradient of the method's own term of the local objective to the gradients, after each backward.

        Args:
            trained: the trained parameters; their ``.grad`` is added to in place.
            start: the values that the client began the round with.
        """

    def server_step(self, state: State, update: State) -> State:
        """The new values of the exchanged tensors.

        Args:
            state: the global state.
            update: the weighted mean of (local value - global value), for every tensor that some client trained.
        """
        return {name: state[name] + delta for name, delta in update.items()}

    def trained_layers(self, depth: int) -> int | None:
        """How many of `depth` blocks are trained, where the method chooses blocks; else None."""
        return None

    imports: ClassVar[tuple[str, ...]] = ("from safetensors.torch import load_file",)
    loading: ClassVar[tuple[str, ...]] = ('model.load_state_dict(load_file("exchanged.safetensors"), strict=False)',)
    """How the files that `save` writes are loaded into the plain model, as Python lines."""

    def save(self, state: State, structure: Structure, folder: Path) -> None:
        """Write the final exchanged tensors into a folder."""
        save_file(state, folder / "exchanged.safetensors")

    def label(self, structure: Structure) -> str:
        """The method with the settings that matter, as figures print it."""
        return self.title
