"""Local-only training, the lower bound: each client trains the whole model on its own examples and keeps it.

Nothing is exchanged. Every client's model is evaluated on the whole evaluation split and the metric is averaged over
the clients that have trained so far (all of them, where all take part in each round).
"""

from typing import ClassVar

from simulate.method import Method, Scope
from simulate.models.structure import Structure


class LocalOnly(Method):
    title: ClassVar[str] = "Local only"

    def scope(self, structure: Structure) -> Scope:
        return Scope(exchanged=(), personal=structure.names)
