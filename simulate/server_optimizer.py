"""The protocol of a server optimizer: how the global model follows what the cohort found."""

from abc import abstractmethod
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from simulate.exchange.channel import State


class ServerOptimizer(BaseModel):
    """One server optimizer: its settings are its fields. It composes with every method and scope.

    A tensor that no client of the cohort trained is left alone, and so is what the optimizer remembers of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    title: ClassVar[str]
    """What tables and figures add to the method's name; empty for nothing."""

    @abstractmethod
    def step(self, state: State, proposed: State, memory: State) -> State:
        """The new global values.

        Args:
            state: the global values.
            proposed: the method's new values of those tensors that changed; proposed - state is what the papers call
                the pseudo-gradient (with the sign of a step).
            memory: what the optimizer remembers, by names of its own; changed in place.
        """
