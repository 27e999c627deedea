"""The scope of layer skipping: chosen blocks, the final norm and the head. Methods compose with it by inheriting it."""

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from baselines.policies import POLICIES
from simulate.method import Method, MethodError, Scope
from simulate.models.structure import Structure
from simulate.registry import suggest


class LayerScope(Method):
    """Trains and exchanges some blocks, the final norm and the head; embeddings and the other blocks stay frozen.

    Without `layers` and `skip_ratio` the whole model is trained, embeddings included.

    Attributes:
        layers: number of trained blocks, 0 (final norm and head only) to all.
        skip_ratio: frozen blocks / all blocks, instead of `layers`; gives the nearest whole number of trained blocks.
        policy: which blocks those are, see `baselines.policies`.
    """

    layers: Annotated[int, Field(ge=0)] | None = None
    skip_ratio: Annotated[float, Field(ge=0, le=1)] | None = None
    policy: str = "top"

    @field_validator("policy")
    @classmethod
    def _known_policy(cls, policy: str) -> str:
        if policy not in POLICIES:
            raise ValueError(f"unknown policy {policy!r}{suggest(policy, POLICIES)}")
        return policy

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.layers is not None and self.skip_ratio is not None:
            raise ValueError("give layers or skip_ratio, not both")
        return self

    def trained_layers(self, depth: int) -> int | None:
        """How many of `depth` blocks are trained; None for the whole model, embeddings included.

        Raises:
            MethodError: if more layers are asked for than the model has.
        """
        if self.skip_ratio is not None:
            return int(depth * (1 - self.skip_ratio) + 0.5)
        if self.layers is not None and self.layers > depth:
            raise MethodError(f"method.layers = {self.layers}, but the model has {depth} layers")
        return self.layers

    def scope(self, structure: Structure) -> Scope:
        depth = len(structure.blocks)
        layers = self.trained_layers(depth)
        if layers is None:
            return Scope(exchanged=structure.names)
        chosen = [name for block in POLICIES[self.policy](depth, layers) for name in structure.blocks[block]]
        return Scope(exchanged=(*chosen, *structure.final, *structure.head))

    def label(self, structure: Structure) -> str:
        depth = len(structure.blocks)
        layers = self.trained_layers(depth)
        if layers is None:
            return self.title
        which = "" if self.policy == "top" else f"{self.policy} "
        return f"{self.title} ({which}{layers}/{depth} layers)"
