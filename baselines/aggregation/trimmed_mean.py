"""The mean of each number without the largest and smallest (Yin et al. 2018, arXiv 1803.01498, Definition 2).

Of m clients that sent a tensor, at least `trim` m are left out at each end, rounded up, but never so many that none is
left; so it holds while the liars are at most that part, however few clients are left of a cohort.
"""

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from baselines.aggregation.coordinates import Coordinates


class TrimmedMean(Coordinates):
    """Attributes:
    trim: part of the clients left out at each end; at least the part that may lie.
    """

    title: ClassVar[str] = "trimmed mean"

    trim: Annotated[float, Field(gt=0, lt=0.5)] = 0.2

    def combine(self, ordered: torch.Tensor) -> torch.Tensor:
        count = len(ordered)
        cut = min(math.ceil(self.trim * count - 1e-9), (count - 1) // 2)
        return ordered[cut : count - cut].double().mean(dim=0).float()
