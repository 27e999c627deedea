"""FedAdagrad, FedAdam and FedYogi (Reddi et al. 2021, arXiv 2003.00295, Algorithm 2): an adaptive step for each weight.

With d the cohort's mean change of w: m <- beta1 m + (1 - beta1) d; v <- v + d^2 (FedAdagrad),
v - (1 - beta2) d^2 sign(v - d^2) (FedYogi) or beta2 v + (1 - beta2) d^2 (FedAdam); and w <- w + lr m / (sqrt(v) + tau).
The second moment is of d itself, not of m; m begins at 0 and v at tau^2, without bias correction. Nothing beside w is
exchanged. Each weight moves by up to about lr a round, whatever the clients' learning rate: choose lr near the size of
a change that helps (1e-3 to 1e-2 for fine-tuning), and tau below the typical d.
"""

from abc import abstractmethod
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from simulate.exchange.channel import State
from simulate.server_optimizer import ServerOptimizer


class _Adaptive(ServerOptimizer):
    """Attributes:
    lr: server learning rate.
    beta1: momentum.
    tau: adaptivity: the smaller, the more each weight has a step of its own.
    """

    lr: Annotated[float, Field(gt=0)] = 1e-3
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    tau: Annotated[float, Field(gt=0)] = 1e-3

    @abstractmethod
    def second_moment(self, v: torch.Tensor, squared: torch.Tensor) -> torch.Tensor:
        """The new second moment from the old one and the squared change."""

    def step(self, state: State, proposed: State, memory: State) -> State:
        new = {}
        for name, value in proposed.items():
            change = value - state[name]
            m = memory.get(f"m/{name}", torch.zeros_like(change))
            v = memory.get(f"v/{name}", torch.full_like(change, self.tau**2))
            memory[f"m/{name}"] = m = self.beta1 * m + (1 - self.beta1) * change
            memory[f"v/{name}"] = v = self.second_moment(v, change.square())
            new[name] = state[name] + self.lr * m / (v.sqrt() + self.tau)
        return new


class FedAdagrad(_Adaptive):
    """The second moment is the sum of all squared changes, so that steps shrink."""

    title: ClassVar[str] = "FedAdagrad"

    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def second_moment(self, v: torch.Tensor, squared: torch.Tensor) -> torch.Tensor:
        return v + squared


class _Decaying(_Adaptive):
    """Attributes:
    beta2: how long squared changes are remembered.
    """

    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.99


class FedAdam(_Decaying):
    """The second moment is an exponential mean of squared changes."""

    title: ClassVar[str] = "FedAdam"

    def second_moment(self, v: torch.Tensor, squared: torch.Tensor) -> torch.Tensor:
        return self.beta2 * v + (1 - self.beta2) * squared


class FedYogi(_Decaying):
    """The second moment grows and shrinks by at most (1 - beta2) squared changes, whatever its size."""

    title: ClassVar[str] = "FedYogi"

    def second_moment(self, v: torch.Tensor, squared: torch.Tensor) -> torch.Tensor:
        return v - (1 - self.beta2) * squared * torch.sign(v - squared)
