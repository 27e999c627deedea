"""FedProx (Li et al. 2020, arXiv 1812.06127, section 3.2): a proximal term holds clients near the global model.

Client i minimises h_i(w) = F_i(w) + (mu / 2) ||w - w_t||^2, so that its gradient gains mu (w - w_t). Exchanged, up and
down: what the scope says, the whole model unless `layers` or `skip_ratio` choose blocks. The server averages (FedAvg).
The paper's inexact local work, clients that take fewer steps and still count, is `train.partial_work` of every method.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import nn

from baselines.layer_scope import LayerScope
from simulate.method import Method
from simulate.models.structure import Structure


class Proximal(Method):
    """The proximal term over any scope.

    Attributes:
        mu: its weight; the paper tries 0.001 to 1, larger for more heterogeneous clients. 0 leaves it out.
    """

    mu: Annotated[float, Field(ge=0)] = 0.0

    @torch.no_grad()
    def local_term(
        self,
        trained: Mapping[str, nn.Parameter],
        start: Mapping[str, torch.Tensor],
        memory: Mapping[str, torch.Tensor],
    ) -> None:
        for name, parameter in trained.items() if self.mu else ():
            if parameter.grad is not None:
                parameter.grad.add_(parameter - start[name], alpha=self.mu)


class FedProx(Proximal, LayerScope):
    title: ClassVar[str] = "FedProx"

    mu: Annotated[float, Field(ge=0)] = 0.01

    def label(self, structure: Structure) -> str:
        return f"{super().label(structure)}, mu {self.mu:g}"
