"""The mean of updates no longer than a bound (Sun et al. 2019, arXiv 1911.07963): liars count, but only so much.

Client i's update d_i becomes d_i min(1, bound / ||d_i||), with the L2 norm over all that it sent, and then counts by
its examples. No more memory than for the mean. A good bound is the norm of an honest update, which `update_norm` in
`clients.csv` of a run without faults tells.
"""

from typing import Annotated, ClassVar

from pydantic import Field

from simulate.aggregator import Aggregator
from simulate.exchange.aggregation import check_elements
from simulate.exchange.changes import l2_norm
from simulate.exchange.channel import State


class NormBound(Aggregator):
    """Attributes:
    bound: the largest L2 norm that counts in full.
    """

    title: ClassVar[str] = "norm bound"

    bound: Annotated[float, Field(gt=0)]

    def receive(self, update: State, client: int) -> State:
        norm = l2_norm(update)
        if not norm > self.bound:
            return update
        check_elements(update)  # what cannot be averaged as it is does not become good by being shortened
        return {name: tensor * (self.bound / norm) for name, tensor in update.items()}
