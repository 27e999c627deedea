"""FedAvgM (Hsu et al. 2019, arXiv 1909.06335, section 4.3): momentum over the rounds' mean updates.

v <- beta v + d and w <- w + lr v, with d the cohort's mean change of w. Nothing beside w is exchanged.
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field

from simulate.exchange.channel import State
from simulate.server_optimizer import ServerOptimizer


class FedAvgM(ServerOptimizer):
    """Attributes:
    lr: server learning rate; with beta 0 and lr 1 this is plain averaging. About 1 - beta keeps the mean step.
    beta: momentum; 0.9 is common, less where few rounds are run.
    """

    title: ClassVar[str] = "FedAvgM"

    lr: Annotated[float, Field(gt=0)] = 1.0
    beta: Annotated[float, Field(ge=0, lt=1)] = 0.9

    def step(self, state: State, proposed: State, memory: State) -> State:
        new = {}
        for name, value in proposed.items():
            change = value - state[name]
            velocity = self.beta * memory.get(f"velocity/{name}", torch.zeros_like(change)) + change
            memory[f"velocity/{name}"] = velocity
            new[name] = state[name] + self.lr * velocity
        return new
