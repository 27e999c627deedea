"""SCAFFOLD (Karimireddy et al. 2020, arXiv 1910.06378, Algorithm 1, option II): control variates against client drift.

From x, client i takes K steps y <- y - lr (g_i(y) - c_i + c) and then sets c_i <- c_i - c + (x - y) / (K lr), which is
the mean of the gradients g_i that it met. Over those S of the N clients that took part, the server takes
x <- x + mean (y - x) and c <- c + (|S| / N) mean (change of c_i), so that c stays the mean of all c_i. All variates
begin at zero. As in the paper each client counts alike in both means (the corrections c - c_i only cancel if x and c
are averaged in the same way), where FedAvg weighs clients by their examples.

Exchanged, up and down: the tensors of the scope and a variate for each, twice the bytes of FedAvg over that scope. The
client keeps its c_i between visits, also those of tensors that a moving scope leaves out for some rounds; a tensor's c
is changed by the share of clients that trained it.

(x - y) / (K lr) is a mean of gradients under plain SGD only, so that everything else is refused: AdamW, momentum,
weight decay, clipping (it acts on the corrected gradient, and what it takes away would be read as gradient), and a
learning rate that decays to 0. A good learning rate is FedAvg's under plain SGD, often 0.01 to 1 for transformers; the
more local steps and the more the clients differ, the more there is to win.
"""

from collections.abc import Iterable, Mapping
from typing import ClassVar

import torch
from torch import nn

from baselines.layer_scope import LayerScope
from simulate.clients.training import TrainSettings
from simulate.exchange.channel import State
from simulate.method import MethodError, Visit
from simulate.server_optimizer import ServerOptimizer

PLAIN_SGD = {"optimizer": "sgd", "momentum": 0, "weight_decay": 0, "clip_norm": None}

PREFIX = "variate/"
"""Before a tensor's name: its variate, c among the global values, c_i in a client's memory."""


class Scaffold(LayerScope):
    title: ClassVar[str] = "SCAFFOLD"
    needs_mean: ClassVar[str] = "the server's variate is the mean of the clients'"

    def check(self, train: TrainSettings, server: ServerOptimizer) -> None:
        unfit = {name: value for name, value in PLAIN_SGD.items() if getattr(train, name) != value}
        if train.decay != "none" and train.final_lr == 0:
            unfit["final_lr"] = 0.1
        if unfit:
            given = ", ".join(f"train.{name} = {getattr(train, name)}" for name in unfit)
            wanted = " ".join(f"train.{name}={'null' if value is None else value}" for name, value in unfit.items())
            raise MethodError(f"method scaffold needs plain SGD, not {given}: set {wanted}")

    def extras(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        return {PREFIX + name: shape for name, shape in shapes.items()}

    @torch.no_grad()
    def local_term(
        self,
        trained: Mapping[str, nn.Parameter],
        start: Mapping[str, torch.Tensor],
        memory: Mapping[str, torch.Tensor],
    ) -> None:
        for name, parameter in trained.items():
            if parameter.grad is not None:
                parameter.grad.add_(start[PREFIX + name])
                if PREFIX + name in memory:
                    parameter.grad.sub_(memory[PREFIX + name])

    def upload(self, change: State, visit: Visit) -> tuple[State, State]:
        distance = visit.steps * visit.lr
        corrections = {PREFIX + name: -visit.start[PREFIX + name] - delta / distance for name, delta in change.items()}
        own = {name: visit.memory.get(name, 0) + correction for name, correction in corrections.items()}
        return {**change, **corrections}, {**visit.memory, **own}

    def unweighted(self, names: Iterable[str]) -> frozenset[str]:
        return frozenset(names)

    def server_step(self, state: State, update: State, participation: Mapping[str, float]) -> State:
        return {
            name: state[name] + (participation[name] * delta if name.startswith(PREFIX) else delta)
            for name, delta in update.items()
        }
