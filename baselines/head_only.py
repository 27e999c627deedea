"""Head only (a linear probe): the task head is trained on the pre-trained model's features, which stay as they are.

Exchanged, up and down: the head's tensors, a few thousand numbers; the server averages (FedAvg). The cheapest method
there is, and the measure of what the others' bytes buy. The head begins at random and its gradient does not pass
through the model, so that learning rates well above those of the other methods fit, 1e-2 to 1e-1 for AdamW.
"""

from typing import ClassVar

from simulate.method import Method, Scope
from simulate.models.structure import Structure


class HeadOnly(Method):
    title: ClassVar[str] = "Head only"

    def scope(self, structure: Structure) -> Scope:
        return Scope(exchanged=structure.head)

    def trained_layers(self, depth: int) -> int | None:
        return 0
