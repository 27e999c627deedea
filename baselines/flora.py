"""FLoRA (Wang et al. 2024, arXiv 2409.05976): adapters of different ranks are stacked and merged, new ones every round.

Client i trains adapters of its own rank r_i from the beginning: A_i drawn anew in each round, B_i zero. The server
stacks what it receives, B = [B_1 ... B_k] side by side and A = [p_1 A_1; ...; p_k A_k] on top of each other, so that
B A = sum_i p_i B_i A_i exactly, whatever the ranks; and all add (alpha / rank) B A to their frozen weights.

Exchanged, up: every A_i and B_i, and the task head. Down: the stacked B and A, sum_i r_i (m + n) elements for an m x n
weight, and the head. Where that is no less than m n, the new weight itself is sent. Who was away downloads the stacks
of all rounds that it missed, or the weight.

All clients' adapters are scaled by alpha / (largest rank). As every round begins with B = 0, it takes enough local
steps to learn something in one; ranks from 4 to 64 are common.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field, model_validator

from baselines.lora import ADAPTER
from baselines.merged_lora import A, Adapter, B, MergedLoRA
from simulate import seeds
from simulate.exchange.channel import State
from simulate.exchange.low_rank import Factors
from simulate.method import Turn, Visit


class FLoRA(MergedLoRA):
    """The model that a worker holds has adapters of the largest rank; what is above a client's own rank is zero in A
    and B, so that its gradient is zero too, and is not sent.

    Attributes:
        ranks: of the clients: client i has that of number i modulo the length; empty gives all of them `rank`.
    """

    title: ClassVar[str] = "FLoRA"

    ranks: tuple[Annotated[int, Field(ge=1)], ...] = ()

    @model_validator(mode="after")
    def _largest(self) -> Self:
        if self.ranks:
            if "rank" in self.model_fields_set and self.rank != max(self.ranks):
                raise ValueError(f"rank = {self.rank} and ranks = {list(self.ranks)}: give one of them")
            object.__setattr__(self, "rank", max(self.ranks))
        return self

    def rank_of(self, client: int) -> int:
        return self.ranks[client % len(self.ranks)] if self.ranks else self.rank

    def begin(self, start: Mapping[str, torch.Tensor], turn: Turn) -> State:
        rank = self.rank_of(turn.client)
        rng = seeds.generator(turn.seed, "adapters", turn.round, turn.client)
        drawn = {}
        for name, tensor in start.items():
            if name.endswith(A):
                bound = tensor.shape[1] ** -0.5  # as LoRA draws A
                rows = torch.from_numpy(rng.uniform(-bound, bound, (rank, tensor.shape[1])))
                drawn[name] = torch.zeros_like(tensor)
                drawn[name][:rank] = rows.to(tensor)
        return drawn

    def upload(self, change: State, visit: Visit) -> tuple[State, State]:
        update = {}
        for name, tensor in change.items():
            layer, adapter, _ = name.partition(ADAPTER)
            if adapter:
                own = visit.start[f"{layer}{A}"].any(dim=1)  # the rows within this client's rank
                tensor = (visit.start[name] + tensor)[own] if name.endswith(A) else tensor[:, own]
            update[name] = tensor
        return update, {}

    def sent(self, shapes: Mapping[str, tuple[int, ...]], turn: Turn) -> Mapping[str, tuple[int, ...]]:
        rank = self.rank_of(turn.client)
        of_a = {name: (rank, shape[1]) for name, shape in shapes.items() if name.endswith(A)}
        of_b = {name: (shape[0], rank) for name, shape in shapes.items() if name.endswith(B)}
        return {**shapes, **of_a, **of_b}

    def change(self, adapters: Sequence[Adapter]) -> Factors:
        left = torch.cat([adapter.b for adapter in adapters], dim=1)
        return left, torch.cat([adapter.share * adapter.a for adapter in adapters], dim=0)

    def _rank_label(self) -> str:
        return f"ranks {'/'.join(map(str, self.ranks))}" if self.ranks else super()._rank_label()
