"""Simulated faults: what goes wrong at which client in which round, pure functions of (seed, round, client).

A client may be away, so that no cohort is drawn with it; drop out after its download; send its update too late; have it
damaged on the way; or send something else on purpose. What it has sent is counted in bytes in any case. An update that
does not count leaves no trace: neither in the sums, nor in what the client keeps for its next visit (a method's memory,
personal tensors).
"""

import math
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator

from simulate import seeds
from simulate.exchange.channel import Float32Channel, Payload, State
from simulate.method import Turn
from simulate.settings import Settings

Probability = Annotated[float, Field(ge=0, lt=1)]

ELEMENTS = {"nan": math.nan, "infinite": math.inf, "oversized": 1e30}
"""What damage does to one element of an update."""

DAMAGES = (*ELEMENTS, "truncated")


class FaultSettings(Settings):
    """Simulated faults, and what the server does about updates that it cannot use. A pooled method has no clients, and
    so no faults.

    Attributes:
        availability: probability that a client can be drawn into a cohort.
        persistence: rounds for which a client stays, or stays away, at a time; from client to client they begin at
            different rounds.
        dropout: probability that a client of the cohort is gone after its download: it neither trains nor sends.
        slowness: how unequal the clients are: each has a factor of its own for all rounds, exp(slowness z) with z
            standard normal, so that the median is 1. With 0.5 one client in six takes 1.65 times as long or more.
        deadline: how long a round waits: an update of (local steps x factor) above it is sent, but comes too late.
        corrupted: probability that an update is damaged on its way to the server.
        damage: how: one element becomes nan, infinite or oversized (1e30), half of the bytes are missing (truncated),
            or any of these.
        byzantine: fraction of all clients, rounded, that send something else than what they learned, in all rounds.
        attack: what: their update times -strength (sign_flip) or strength (scale), or normal noise whose expected
            norm is that of each tensor times strength (noise).
        strength: see `attack`.
        max_norm: an update of a larger L2 norm, over all that the client sent, is rejected.
        reject: whether an update that is not finite or too large is rejected and recorded, as it always is where
            updates are corrupted, clients byzantine, or `max_norm` set. Otherwise such an update ends the run.
        min_clients: a round in which fewer updates can be averaged is skipped: the global model stays as it was.
    """

    availability: Annotated[float, Field(gt=0, le=1)] = 1.0
    persistence: Annotated[int, Field(ge=1)] = 1
    dropout: Probability = 0.0
    slowness: Annotated[float, Field(ge=0)] = 0.0
    deadline: Annotated[float, Field(gt=0)] | None = None
    corrupted: Probability = 0.0
    damage: Literal["any", "nan", "infinite", "oversized", "truncated"] = "any"
    byzantine: Probability = 0.0
    attack: Literal["sign_flip", "scale", "noise"] = "sign_flip"
    strength: Annotated[float, Field(gt=0)] = 1.0
    max_norm: Annotated[float, Field(gt=0)] | None = None
    reject: bool = False
    min_clients: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.slowness and self.deadline is None:
            raise ValueError(f"slowness = {self.slowness:g} makes nobody late without a deadline (in local steps)")
        return self

    @property
    def rejects(self) -> bool:
        """Whether an update that cannot be used is left out, rather than ending the run."""
        return self.reject or self.max_norm is not None or bool(self.corrupted or self.byzantine)

    def available(self, turn: Turn) -> bool:
        """Whether a client can be drawn in a round."""
        if self.availability == 1:
            return True
        offset = int(seeds.generator(turn.seed, "faults.offset", turn.client).integers(self.persistence))
        period = (turn.round + offset) // self.persistence
        return seeds.generator(turn.seed, "faults.available", period, turn.client).random() < self.availability

    def drops(self, turn: Turn) -> bool:
        """Whether a client of the cohort is gone after its download."""
        return self._strikes(self.dropout, "faults.dropout", turn)

    def time(self, turn: Turn, steps: int) -> float:
        """How long a client takes for so many local steps, in those of a client of factor 1."""
        return steps * math.exp(self.slowness * seeds.generator(turn.seed, "faults.slowness", turn.client).normal())

    def liars(self, clients: int) -> int:
        """How many of the clients are byzantine."""
        return int(self.byzantine * clients + 0.5)

    def lies(self, turn: Turn, clients: int) -> bool:
        """Whether a client is one of the byzantine ones among so many."""
        if not self.byzantine:
            return False
        order = seeds.generator(turn.seed, "faults.byzantine").permutation(clients)
        return turn.client in order[: self.liars(clients)]

    def lie(self, turn: Turn, update: State) -> State:
        """What a byzantine client sends in place of its update: the same names and shapes."""
        if self.attack != "noise":
            sign = -1 if self.attack == "sign_flip" else 1
            return {name: sign * self.strength * tensor for name, tensor in update.items()}
        rng = seeds.generator(turn.seed, "faults.noise", turn.round, turn.client)
        sent = {}
        for name, tensor in update.items():
            spread = self.strength * float(tensor.double().square().mean().sqrt()) if tensor.numel() else 0.0
            sent[name] = torch.from_numpy(rng.normal(size=tuple(tensor.shape))).to(tensor) * spread
        return sent

    def arrives(self, turn: Turn, payload: Payload) -> Payload:
        """What arrives of an encoded update, which is damaged in place."""
        if not len(payload) or not self._strikes(self.corrupted, "faults.corrupted", turn):
            return payload
        rng = seeds.generator(turn.seed, "faults.damage", turn.round, turn.client)
        kind = DAMAGES[rng.integers(len(DAMAGES))] if self.damage == "any" else self.damage
        if kind == "truncated":
            return payload[: len(payload) // 2]
        state = Float32Channel().decode(payload)
        names = sorted(name for name, tensor in state.items() if tensor.numel())
        struck = state[names[rng.integers(len(names))]].view(-1)
        struck[int(rng.integers(struck.numel()))] = ELEMENTS[kind]
        return payload

    def _strikes(self, probability: float, purpose: str, turn: Turn) -> bool:
        return probability > 0 and seeds.generator(turn.seed, purpose, turn.round, turn.client).random() < probability
