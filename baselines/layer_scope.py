"""The scope of layer skipping: chosen blocks, the final norm and the head. Methods compose with it by inheriting it."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator
from torch import nn

from baselines.importance import MEASURES
from baselines.importance.attention import check as check_attention
from baselines.parts import PARTS, Part
from baselines.policies import FIXED, MOVING, POLICIES
from simulate.method import Measure, Method, MethodError, Scope, Turn
from simulate.models.structure import Structure
from simulate.registry import suggest

Count = Annotated[int, Field(ge=0)]


class LayerScope(Method):
    """Trains and exchanges some blocks, the final norm and the head; embeddings and the other blocks stay frozen.

    Without `layers`, `skip_ratio` and `budgets` the whole model is trained, embeddings included.

    Attributes:
        layers: number of trained blocks, 0 (final norm and head only) to all; or a list of the blocks, from 0.
        skip_ratio: frozen blocks / all blocks, instead of `layers`; gives the nearest whole number of trained blocks.
        policy: which blocks those are, see `baselines.policies`.
        last_layers: the number of trained blocks in the last round; it grows or shrinks linearly from `layers`.
        budgets: blocks that each client can train, instead of `layers`: client i those of number i modulo the length.
            Each block is averaged over the clients that trained it.
        warmup_rounds: rounds at the beginning in which all blocks are trained.
        parts: train only the attention, the mlp, or the norms and biases of the chosen blocks.
    """

    layers: Count | Annotated[tuple[Count, ...], Field(min_length=1)] | None = None
    skip_ratio: Annotated[float, Field(ge=0, le=1)] | None = None
    policy: str = "top"
    last_layers: Count | None = None
    budgets: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None
    warmup_rounds: Annotated[int, Field(ge=0)] = 0
    parts: Part = "all"

    @field_validator("policy")
    @classmethod
    def _known_policy(cls, policy: str) -> str:
        if policy not in POLICIES:
            raise ValueError(f"unknown policy {policy!r}{suggest(policy, POLICIES)}")
        return policy

    @model_validator(mode="after")
    def _fits(self) -> Self:
        given = [name for name in ("layers", "skip_ratio", "budgets") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give {' or '.join(given)}, not {'both' if len(given) == 2 else 'all'}")
        if isinstance(self.layers, tuple) and (len(set(self.layers)) < len(self.layers) or self.policy != "top"):
            raise ValueError(f"layers = {list(self.layers)}: expected different blocks, and no policy beside them")
        if self.last_layers is not None and not isinstance(self.layers, int):
            raise ValueError(f"last_layers = {self.last_layers} needs layers, the number of blocks to begin with")
        chooses = self.policy != "top" or self.warmup_rounds or self.parts != "all"
        if chooses and not given:
            raise ValueError("policy, warmup_rounds and parts choose among blocks; give layers, skip_ratio or budgets")
        if self.policy == "round_robin" and (self.last_layers is not None or len(set(self.budgets or ())) > 1):
            raise ValueError("policy = round_robin takes groups of one size in turn, not last_layers or unlike budgets")
        if self.policy == "weight_change" and not self.warmup_rounds:
            raise ValueError("policy = weight_change compares what has moved; set warmup_rounds to 1 or more")
        return self

    def prepare(self, model: nn.Module) -> None:
        if self.policy == "attention":
            check_attention(model)

    def trained_layers(self, depth: int) -> int | None:
        """How many of `depth` blocks are trained, where that is one number; None where it is not, or for all tensors.

        Raises:
            MethodError: if more layers are asked for than the model has.
        """
        if self.skip_ratio is not None:
            return int(depth * (1 - self.skip_ratio) + 0.5)
        if isinstance(self.layers, tuple):
            if max(self.layers) >= depth:
                raise MethodError(f"method.layers = {list(self.layers)}, but the model's blocks are 0 to {depth - 1}")
            return len(self.layers)
        for name, wanted in (("layers", self.layers), ("last_layers", self.last_layers)):
            self._check(name, wanted, depth)
        for wanted in self.budgets or ():
            self._check("budgets", wanted, depth)
        return self.layers if self.last_layers is None else None

    def scope(self, structure: Structure) -> Scope:
        counts = self._counts(len(structure.blocks))
        if counts is None:
            return Scope(exchanged=structure.names)
        if self.policy in MOVING or self.warmup_rounds:
            return Scope(exchanged=self._names(structure, range(len(structure.blocks))))
        if self.last_layers is not None:
            counts = list(range(min(counts), max(counts) + 1))
        blocks = {block for count in counts for block in self._fixed(len(structure.blocks), count)}
        return Scope(exchanged=self._names(structure, sorted(blocks)))

    def selected(self, structure: Structure, turn: Turn) -> tuple[str, ...]:
        depth = len(structure.blocks)
        if self._counts(depth) is None:
            return structure.names
        if turn.round <= self.warmup_rounds:
            return self._names(structure, range(depth))
        count = self._count(depth, turn)
        if self.policy in MOVING:
            after = replace(turn, round=turn.round - self.warmup_rounds)
            return self._names(structure, self._moving(depth, count, after))
        return self._names(structure, self._fixed(depth, count))

    def measure(self, turn: Turn) -> Measure | None:
        return MEASURES.get(self.policy) if turn.round > self.warmup_rounds else None

    def follows_change(self, turn: Turn) -> bool:
        return self.policy == "weight_change" and turn.round > self.warmup_rounds

    def label(self, structure: Structure) -> str:
        depth = len(structure.blocks)
        counts = self._counts(depth)
        if counts is None:
            return self.title
        said = [] if self.policy == "top" or isinstance(self.layers, tuple) else [self.policy.replace("_", " ")]
        said += [] if self.parts == "all" else [self.parts.replace("_", " ")]
        if isinstance(self.layers, tuple):
            said += [f"layers {', '.join(map(str, sorted(self.layers)))} of {depth}"]
        else:
            between = " to " if self.budgets is None else "–"
            said += [f"{between.join(map(str, counts if self.budgets is None else sorted(counts)))}/{depth} layers"]
        said += [f"{self.warmup_rounds} warm-up round{'s' * (self.warmup_rounds > 1)}"] if self.warmup_rounds else []
        return f"{self.title} ({', '.join(said)})"

    def _counts(self, depth: int) -> list[int] | None:
        """The different numbers of trained blocks that can occur; None for the whole model."""
        number = self.trained_layers(depth)
        if self.budgets is not None:
            return list(dict.fromkeys(self.budgets))
        if self.last_layers is not None:
            assert isinstance(self.layers, int)
            return [self.layers, self.last_layers]
        return None if number is None else [number]

    def _count(self, depth: int, turn: Turn) -> int:
        """How many blocks a client trains in a round."""
        if self.budgets is not None:
            return self.budgets[turn.client % len(self.budgets)]
        if self.last_layers is not None:
            assert isinstance(self.layers, int)
            first, steps = self.warmup_rounds + 1, turn.rounds - self.warmup_rounds - 1
            progress = (turn.round - first) / steps if steps else 1.0
            return int(self.layers + (self.last_layers - self.layers) * progress + 0.5)
        number = self.trained_layers(depth)
        assert number is not None
        return number

    def _fixed(self, depth: int, count: int) -> Sequence[int]:
        return sorted(self.layers) if isinstance(self.layers, tuple) else FIXED[self.policy](depth, count)

    def _moving(self, depth: int, count: int, turn: Turn) -> Sequence[int]:
        return MOVING[self.policy](depth, count, turn)

    def _names(self, structure: Structure, blocks: Iterable[int]) -> tuple[str, ...]:
        """The chosen parts of some blocks, and what lies above all blocks."""
        chosen = (name for block in blocks for name in structure.blocks[block] if PARTS[self.parts](name))
        return (*chosen, *structure.final, *structure.head)

    def _check(self, name: str, wanted: int | None, depth: int) -> None:
        if wanted is not None and wanted > depth:
            raise MethodError(f"method.{name} = {wanted}, but the model has {depth} layers")
