"""FFA-LoRA (Sun et al. 2024, arXiv 2403.12313, section 4): every A is drawn once and frozen, only B is trained.

Each adapted weight is W + (alpha / rank) B A as in LoRA, with the same random A at every client for the whole run. The
average of the products is then exact: sum_i p_i (B_i A) = (sum_i p_i B_i) A. Exchanged, up and down: every B, and the
task head, about half of what LoRA of this rank exchanges; A travels once, with the set-up. Rank and alpha as for LoRA;
alpha matters little, since it does no more than scale the steps.
"""

from typing import ClassVar

from baselines.lora import LoRA
from simulate.method import Scope, Turn
from simulate.models.structure import Structure

A = ".lora_A."


class FFALoRA(LoRA):
    title: ClassVar[str] = "FFA-LoRA"

    def scope(self, structure: Structure) -> Scope:
        adapters = super().scope(structure).exchanged
        return Scope(exchanged=_without_a(adapters), frozen=tuple(name for name in adapters if A in name))

    def selected(self, structure: Structure, turn: Turn) -> tuple[str, ...]:
        return _without_a(super().selected(structure, turn))


def _without_a(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if A not in name)
