"""FedPer (Arivazhagan et al. 2019, arXiv 1912.00818, section 3): a shared base, and layers that each client keeps.

Each client trains base and personal layers together by local training of the whole; the base is exchanged, up and down,
and averaged as in FedAvg; the personal layers stay where they are from visit to visit and are never sent. Personal is
the task head and, with `personal_layers` blocks, those nearest the head and the final norm that follows them.

Evaluated is each client's own model, the current base under its own personal layers, on the whole validation or test
split, and the metric is averaged over the clients that have trained so far. The splits are shared: where clients differ
this asks each for examples unlike its own, which is harder than the paper's test of each client on data like its own.

`layers`, `skip_ratio` and `budgets` say how many blocks a client trains, the personal ones among them; the policy
chooses the others, below them, which are what is exchanged.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from baselines.layer_scope import LayerScope
from simulate.method import MethodError, Scope, Turn
from simulate.models.structure import Structure


class FedPer(LayerScope):
    """Attributes:
    personal_layers: blocks that stay with the client beside its head; 0 to 2 are common, fewer for fewer examples.
    """

    title: ClassVar[str] = "FedPer"

    personal_layers: Annotated[int, Field(ge=0)] = 0

    def scope(self, structure: Structure) -> Scope:
        depth = len(structure.blocks)
        if self.personal_layers > depth:
            raise MethodError(f"method.personal_layers = {self.personal_layers}, but the model has {depth} layers")
        counts = self._counts(depth)
        fewest = depth if counts is None else min(counts)
        if self.personal_layers and fewest <= self.personal_layers:
            raise MethodError(
                f"method.personal_layers = {self.personal_layers} leaves nothing to exchange where {fewest} layers are "
                "trained; take fewer, or train more"
            )
        trained = super().scope(structure).exchanged
        kept = self._personal(structure)
        if missing := kept.difference(trained):
            raise MethodError(
                f"method.personal_layers = {self.personal_layers}, but {min(missing)} of them is not trained; "
                "name the blocks nearest the head in method.layers too"
            )
        return Scope(
            tuple(name for name in trained if name not in kept), tuple(name for name in trained if name in kept)
        )

    def selected(self, structure: Structure, turn: Turn) -> tuple[str, ...]:
        kept = self._personal(structure)
        return tuple(name for name in super().selected(structure, turn) if name not in kept)

    def _fixed(self, depth: int, count: int) -> Sequence[int]:
        if isinstance(self.layers, tuple):
            return super()._fixed(depth, count)
        below = depth - self.personal_layers
        return [*super()._fixed(below, count - self.personal_layers), *range(below, depth)]

    def _moving(self, depth: int, count: int, turn: Turn) -> Sequence[int]:
        below = depth - self.personal_layers
        return [*super()._moving(below, count - self.personal_layers, turn), *range(below, depth)]

    def _personal(self, structure: Structure) -> set[str]:
        """Names of what stays with the client."""
        if not self.personal_layers:
            return {*structure.head}
        depth = len(structure.blocks)
        return {*self._names(structure, range(depth - self.personal_layers, depth))}

    loading: ClassVar[tuple[str, ...]] = (
        *LayerScope.loading,
        "# the shared base; the head, and what else is personal, stayed with the clients: train your own",
    )

    def label(self, structure: Structure) -> str:
        blocks = f" and {self.personal_layers} layers" if self.personal_layers else ""
        return f"{super().label(structure)}, personal head{blocks}"
