"""Centralized training, the upper bound: all examples pooled in one place, the whole model trained there.

Nothing is exchanged. One round is `train.local_epochs` passes over the pooled training split (or `train.local_steps`
times the cohort's size steps), with the same local optimizer and schedule as the clients of the federated methods; the
optimizer starts anew each round, as theirs does. Where only a part of the clients takes part in each round, this bound
still sees all examples each round, more than the federated methods do.
"""

from typing import ClassVar

from simulate.method import Method, Scope
from simulate.models.structure import Structure


class Centralized(Method):
    title: ClassVar[str] = "Centralized"
    pooled: ClassVar[bool] = True

    def scope(self, structure: Structure) -> Scope:
        return Scope(exchanged=(), personal=structure.names)
