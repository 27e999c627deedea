"""Federated LoRA (FedIT, Zhang et al. 2023, arXiv 2305.05644): low-rank adapters beside frozen weights are averaged.

Each adapted weight becomes W + (alpha / rank) B A (Hu et al. 2021, arXiv 2106.09685, section 4.1), A random and B zero
at the start. Exchanged, up and down: every A and B, and the task head. The server averages A and B separately, which
is not the average of the products B A. Adapters are warm: they are kept across rounds, never merged and drawn anew.
"""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from peft import LoraConfig, inject_adapter_in_model
from pydantic import Field
from safetensors.torch import save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from baselines.fedprox import Proximal
from simulate.exchange.channel import State
from simulate.method import MethodError, Scope
from simulate.models.structure import Structure, find_structure


class LoRA(Proximal):
    """Attributes:
    rank: columns of B and rows of A; 4 to 64 are common.
    alpha: the adapters are scaled by alpha / rank; None takes 2 x rank.
    mu: weight of FedProx's proximal term on what is exchanged; 0 leaves it out.
    target_modules: names of the adapted linear layers of the blocks, such as [q_proj, v_proj], or "all-linear".
    """

    title: ClassVar[str] = "LoRA"

    rank: Annotated[int, Field(ge=1)] = 8
    alpha: Annotated[float, Field(gt=0)] | None = None
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"

    def prepare(self, model: nn.Module) -> None:
        blocks = find_structure(model).block_path
        linear = [
            name
            for name, module in model.named_modules()
            if name.startswith(f"{blocks}.") and isinstance(module, nn.Linear | Conv1D)
        ]
        targets = [
            name for name in linear if self.target_modules == "all-linear" or name.split(".")[-1] in self.target_modules
        ]
        if not targets:
            known = sorted({name.split(".")[-1] for name in linear})
            given = list(self.target_modules)
            raise MethodError(f"method.target_modules = {given} matches no linear layer; known: {', '.join(known)}")
        inject_adapter_in_model(self._config(targets), model)

    def scope(self, structure: Structure) -> Scope:
        adapters = [name for name in structure.names if ".lora_" in name]
        return Scope(exchanged=(*adapters, *structure.head))

    imports: ClassVar[tuple[str, ...]] = ("from peft import PeftModel",)
    loading: ClassVar[tuple[str, ...]] = ('model = PeftModel.from_pretrained(model, ".")',)

    def save(self, state: State, structure: Structure, folder: Path) -> None:
        """Write a peft adapter: its tensors, the head among them, and its configuration."""
        adapters = [name for name in state if ".lora_" in name]
        config = self._config(sorted({name.partition(".lora_")[0] for name in adapters}))
        config.modules_to_save = sorted({name.rpartition(".")[0] for name in structure.head})
        config.save_pretrained(folder)
        save_file(
            {f"base_model.model.{name.replace('.default.', '.')}": tensor for name, tensor in state.items()},
            folder / "adapter_model.safetensors",
        )

    def _config(self, targets: list[str]) -> LoraConfig:
        return LoraConfig(r=self.rank, lora_alpha=self.alpha or 2 * self.rank, target_modules=targets)

    def label(self, structure: Structure) -> str:
        proximal = f", FedProx mu {self.mu:g}" if self.mu else ""
        return f"{self.title} (rank {self.rank}{proximal})"
