"""The median of each number (Yin et al. 2018, arXiv 1803.01498, Definition 1); holds while less than half are liars.

Of an even number of clients it is the mean of the two in the middle. It is not the mean of honest clients either: where
these differ much, what few of them have learned is lost.
"""

from typing import ClassVar

import torch

from baselines.aggregation.coordinates import Coordinates


class Median(Coordinates):
    title: ClassVar[str] = "median"

    def combine(self, ordered: torch.Tensor) -> torch.Tensor:
        count = len(ordered)
        return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
