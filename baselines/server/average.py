"""Plain averaging: the global model becomes what the method proposes (FedAvg: the cohort's mean)."""

from typing import ClassVar

from simulate.exchange.channel import State
from simulate.server_optimizer import ServerOptimizer


class Average(ServerOptimizer):
    title: ClassVar[str] = ""

    def step(self, state: State, proposed: State, memory: State) -> State:
        return proposed
