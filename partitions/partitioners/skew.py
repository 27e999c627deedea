"""What partitioners that skew by a category share: the choice of label, natural group or text cluster."""

from typing import Annotated

import numpy as np
from pydantic import Field

from partitions.category import Category, Kind
from partitions.partitioners.base import Partitioner
from partitions.traits import Traits


class SkewPartitioner(Partitioner):
    """A partitioner that gives clients unequal mixtures of a category.

    Attributes:
        by: ``label``: the class, or for NER the dominant entity type of a sentence (label skew); ``group``: the natural
            origin, such as the hospital, so that clients differ in how their notes are written (feature skew);
            ``cluster``: what the text is about, for multi-label text and where nothing else is known.
        clusters: how many clusters of texts ``by: cluster`` makes.
    """

    by: Kind = "label"
    clusters: Annotated[int, Field(ge=2)] = 20

    def category(self, traits: Traits, rng: np.random.Generator) -> Category:
        """What examples are told apart by.

        Raises:
            PartitionError: if the examples have several labels, no groups, or too few texts for so many clusters.
        """
        if self.by != "cluster":
            return traits.category(self.by)
        return traits.category(self.by, self.clusters, int(rng.integers(2**31)))
