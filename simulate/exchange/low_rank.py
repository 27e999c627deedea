"""Changes of low rank: what a client downloads of a weight that the server changed by left @ right."""

import torch

Factors = tuple[torch.Tensor, torch.Tensor]
"""(left, right) of shapes (m, r) and (r, n), whose product is the change of an m x n weight."""


class LowRankChanges:
    """The last changes of one weight, as factors.

    A client that missed some downloads their factors side by side, which is the exact sum of the changes. Only as many
    are kept as are together smaller than the weight: who missed more downloads the weight itself.

    Args:
        elements: of the weight.
    """

    def __init__(self, elements: int) -> None:
        self.elements = elements
        self.kept: list[Factors] = []

    def add(self, factors: Factors) -> None:
        """The server has made one more change."""
        self.kept.append(factors)
        while sum(left.numel() + right.numel() for left, right in self.kept) >= self.elements:
            self.kept.pop(0)

    def last(self, count: int) -> Factors | None:
        """The last `count` changes as one; None where the weight itself is smaller."""
        if count > len(self.kept):
            return None
        lefts, rights = zip(*self.kept[len(self.kept) - count :], strict=True)
        return torch.cat(lefts, dim=1), torch.cat(rights, dim=0)
