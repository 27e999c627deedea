"""FedNova (Wang et al. 2020, arXiv 2007.07481, section 4): clients that take more steps do not pull harder.

Client i's change is -lr G_i a_i, G_i being its gradients and a_i how much each of them counts. It sends the change
divided by ||a_i||_1; the server takes w <- w + tau_eff sum_i p_i change_i / ||a_i||_1, with p_i = n_i / n over the
cohort and tau_eff = sum_i p_i ||a_i||_1: a step about as long as FedAvg's, in which a client counts by its examples and
not also by its steps. For plain SGD a_i is all ones and ||a_i||_1 the number of steps tau; for SGD with momentum rho
the j-th of tau gradients counts (1 - rho^(tau - j + 1)) / (1 - rho) times, which sums to
(tau - rho (1 - rho^tau) / (1 - rho)) / (1 - rho). AdamW's change is no sum of gradients, but its steps are about
equally long: there the number of steps is taken, which is this project's choice, not the paper's.

Exchanged: the tensors of the scope, up and down, and ||a_i||_1 up (4 bytes and its header). Where clients train
different layers, each layer moves by tau_eff of the whole cohort. Nothing to choose: where all clients take equally
many steps this is FedAvg; it differs where examples are unequally spread and `train.local_epochs` counts, or where
`train.partial_work` makes clients slow.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch

from baselines.layer_scope import LayerScope
from simulate.clients.training import TrainSettings
from simulate.exchange.channel import State
from simulate.method import Visit

EFFECTIVE_STEPS = "effective_steps"
"""The extra tensor of one element, ||a_i||_1."""


def effective_steps(steps: int, train: TrainSettings) -> float:
    """||a_i||_1 of so many local steps."""
    rho = train.momentum
    return (steps - rho * (1 - rho**steps) / (1 - rho)) / (1 - rho)


class FedNova(LayerScope):
    title: ClassVar[str] = "FedNova"
    needs_mean: ClassVar[str] = "its step is the mean of normalised changes times the mean number of steps"

    def extras(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        return {EFFECTIVE_STEPS: (1,)}

    def upload(self, change: State, visit: Visit) -> tuple[State, State]:
        norm = effective_steps(visit.steps, visit.train)
        return {name: delta / norm for name, delta in change.items()} | {EFFECTIVE_STEPS: torch.tensor([norm])}, {}

    def server_step(self, state: State, update: State, participation: Mapping[str, float]) -> State:
        tau = float(update[EFFECTIVE_STEPS])
        return {name: state[name] + tau * delta for name, delta in update.items() if name != EFFECTIVE_STEPS}
