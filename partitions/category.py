"""What examples are told apart by when they are spread unequally: their label, natural group, or text cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

Kind = Literal["label", "group", "cluster"]


@dataclass(frozen=True, eq=False)
class Category:
    """A label, group or cluster for each of n examples.

    Attributes:
        kind: which of these.
        names: the different values, sorted.
        codes: each example's value as its place among the names, shape (n,).
    """

    kind: Kind
    names: list[str]
    codes: npt.NDArray[np.intp]

    @classmethod
    def of(cls, kind: Kind, values: Sequence[str]) -> "Category":
        """The category that has these values, one an example."""
        codes, names = pd.factorize(np.asarray(values, dtype=object), sort=True)
        return cls(kind, list(names), codes)
