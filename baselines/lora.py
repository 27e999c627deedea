"""Federated LoRA (FedIT, Zhang et al. 2023, arXiv 2305.05644): low-rank adapters beside frozen weights are averaged.

Each adapted weight becomes W + (alpha / rank) B A (Hu et al. 2021, arXiv 2106.09685, section 4.1), A random and B zero
at the start. Exchanged, up and down: every A and B, and the task head. The server averages A and B separately, which
is not the average of the products B A. Adapters are warm: they are kept across rounds, never merged and drawn anew.

With the settings of layer skipping (`layers`, `skip_ratio`, `policy` and so on, see `baselines.layer_scope`) only the
chosen blocks have adapters; nothing else but the head is trained, so that no gradient flows below the lowest of them.
"""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from peft import LoraConfig, inject_adapter_in_model
from pydantic import Field, field_validator
from torch import nn
from transformers.pytorch_utils import Conv1D

from baselines.fedprox import Proximal
from baselines.layer_scope import LayerScope
from simulate.exchange.channel import State
from simulate.files import write_tensors
from simulate.method import MethodError, Scope, Turn
from simulate.models.structure import Structure, find_structure

ADAPTER = ".lora_"
"""In the name of every adapter tensor, after the path of the adapted layer."""


class LoRA(Proximal, LayerScope):
    """Attributes:
    rank: columns of B and rows of A; 4 to 64 are common.
    alpha: the adapters are scaled by alpha / rank; None takes 2 x rank.
    mu: weight of FedProx's proximal term on what is exchanged; 0 leaves it out.
    target_modules: names of the adapted linear layers of the blocks, such as q_proj,v_proj (or a list); or all-linear.
    """

    title: ClassVar[str] = "LoRA"

    rank: Annotated[int, Field(ge=1)] = 8
    alpha: Annotated[float, Field(gt=0)] | None = None
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"

    @field_validator("target_modules", mode="before")
    @classmethod
    def _split(cls, given: object) -> object:
        if isinstance(given, str) and given != "all-linear":
            return tuple(name.strip() for name in given.split(","))
        return given

    @property
    def scaling(self) -> float:
        return (self.alpha or 2 * self.rank) / self.rank

    def prepare(self, model: nn.Module) -> None:
        super().prepare(model)
        structure = find_structure(model)
        linear = [
            name
            for name, module in model.named_modules()
            if name.startswith(f"{structure.block_path}.") and isinstance(module, nn.Linear | Conv1D)
        ]
        if self.target_modules != "all-linear":
            known = sorted({name.split(".")[-1] for name in linear})
            if lost := [name for name in self.target_modules if name not in known]:
                raise MethodError(f"method.target_modules = {lost} matches no linear layer; known: {', '.join(known)}")
            linear = [name for name in linear if name.split(".")[-1] in self.target_modules]
        trained = set(super().scope(structure).exchanged)
        targets = [name for name in linear if f"{name}.weight" in trained]
        if not targets:
            raise MethodError("method.layers, target_modules and parts leave no linear layer to adapt; choose more")
        inject_adapter_in_model(self._config(targets), model)

    def scope(self, structure: Structure) -> Scope:
        return Scope(exchanged=_adapters_and_head(super().scope(structure).exchanged, structure))

    def selected(self, structure: Structure, turn: Turn) -> tuple[str, ...]:
        return _adapters_and_head(super().selected(structure, turn), structure)

    imports: ClassVar[tuple[str, ...]] = ("from peft import PeftModel",)
    loading: ClassVar[tuple[str, ...]] = ('model = PeftModel.from_pretrained(model, ".")',)

    def save(self, state: State, structure: Structure, folder: Path) -> None:
        """Write a peft adapter: its tensors, the head among them, and its configuration."""
        config = self._config(sorted({name.partition(ADAPTER)[0] for name in state if ADAPTER in name}))
        config.modules_to_save = sorted({name.rpartition(".")[0] for name in structure.head})
        config.save_pretrained(folder)
        write_tensors(
            folder / "adapter_model.safetensors",
            {f"base_model.model.{name.replace('.default.', '.')}": tensor for name, tensor in state.items()},
        )

    def _config(self, targets: list[str]) -> LoraConfig:
        return LoraConfig(r=self.rank, lora_alpha=self.alpha or 2 * self.rank, target_modules=targets)

    def label(self, structure: Structure) -> str:
        scope = super().label(structure).removesuffix(")")
        proximal = f", FedProx mu {self.mu:g}" if self.mu else ""
        return f"{scope}{', ' if '(' in scope else ' ('}{self._rank_label()}{proximal})"

    def _rank_label(self) -> str:
        return f"rank {self.rank}"


def _adapters_and_head(names: tuple[str, ...], structure: Structure) -> tuple[str, ...]:
    return (*(name for name in names if ADAPTER in name), *structure.head)
