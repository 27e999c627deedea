"""The protocol of an aggregation: how the updates of a round's clients become one."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from simulate.exchange.aggregation import ExactSum
from simulate.exchange.channel import State


class Aggregator(BaseModel):
    """One way of aggregating: its settings are its fields, its behaviour these hooks. The default is the mean.

    It composes with every scope and server optimizer, and with all methods but those that are defined by the mean
    (`Method.needs_mean`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    title: ClassVar[str]
    """What tables and figures add to the method's name; empty for nothing."""

    apart: ClassVar[bool] = False
    """Whether the server keeps each client's update apart, a cohort's updates in memory, rather than their sum."""

    def receive(self, update: State, client: int) -> State:
        """What a client's update, as the server received it, adds to the sums."""
        return update

    def aggregate(self, total: ExactSum, clients: int) -> tuple[State, dict[str, float]]:
        """One update of the sums of all that was received, for every tensor that some client sent.

        Args:
            total: the sums.
            clients: how many there are at all.

        Returns:
            The update, and the share of all clients that sent each of its tensors.
        """
        return total.average(), total.participation(clients)
