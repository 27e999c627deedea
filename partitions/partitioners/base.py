"""What all partitioners share: clients, whole documents, and a smallest client size that is always kept."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from partitions.category import Category
from partitions.partition import Partition, PartitionError
from partitions.partitioners import documents
from partitions.partitioners.dealing import Owners, Shares, deal, fill_up
from partitions.traits import Traits


class Partitioner(BaseModel):
    """Spreads examples over clients: of each class (label, group, ...) every client gets a share.

    A partitioner says what the classes are (`category`, by default all examples are one class) and in which shares
    the clients hold them (`shares`); dealing the examples out, whole documents and the smallest size are settled here.

    Attributes:
        clients: number of clients.
        min_size: the fewest examples a client may hold. Clients that their shares leave below it are filled up with
            examples of the largest clients, and so take on some of their mixture.
        whole_documents: keep all examples of a document (or patient, where the corpus names patients) on one client. A
            document counts as its most frequent class; an example without a document stands alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    clients: Annotated[int, Field(ge=1)] = 10
    min_size: Annotated[int, Field(ge=1)] = 1
    whole_documents: bool = False

    def split(self, traits: Traits, rng: np.random.Generator) -> Partition:
        """Spread examples over clients.

        Args:
            traits: of the n examples.
            rng: source of all randomness; equal traits and an equal state give an equal partition.

        Raises:
            PartitionError: if n examples, or their documents, cannot give every client ``min_size`` examples, or
                the traits lack what the partitioner goes by.
        """
        if self.clients * self.min_size > len(traits):
            raise PartitionError(
                f"{self.clients} clients of at least {self.min_size} examples each (partition.clients, "
                f"partition.min_size) need {self.clients * self.min_size} examples; there are {len(traits)}"
            )
        category = self.category(traits, rng)
        classes = np.zeros(len(traits), dtype=np.intp) if category is None else category.codes
        if self.whole_documents:
            document = documents.of_examples(traits.documents)
            sizes = np.bincount(document)
            owners = self._deal(documents.main_class(document, classes), sizes, rng)
            owners = documents.fill_up(owners, sizes, self.clients, self.min_size, rng)[document]
        else:
            owners = self._deal(classes, np.ones(len(traits), dtype=np.int64), rng)
            owners = fill_up(owners, self.clients, self.min_size, rng)
        return Partition(self.clients, owners, category)

    def category(self, traits: Traits, rng: np.random.Generator) -> Category | None:
        """What examples are told apart by; None where all are alike.

        Raises:
            PartitionError: if the traits lack it.
        """
        return None

    @abstractmethod
    def shares(self, sizes: npt.NDArray[np.int64], rng: np.random.Generator) -> Iterable[Shares]:
        """For each class, in order, how the clients share it.

        Args:
            sizes: examples of each class, none empty, shape (c,).
            rng: source of all randomness.

        Returns:
            c rows of non-negative weights, shape (clients,) each, whose ratios are the clients' shares.

        Raises:
            PartitionError: if the classes cannot be shared as the settings ask.
        """

    def _deal(self, classes: npt.NDArray[np.intp], sizes: npt.NDArray[np.int64], rng: np.random.Generator) -> Owners:
        """A client for each unit (document or example) of a class and size, whatever the sizes of the clients."""
        owners = np.empty(len(classes), dtype=np.int64)
        members_of_all = np.split(np.argsort(classes, kind="stable"), np.cumsum(np.bincount(classes))[:-1])
        totals = np.array([sizes[members].sum() for members in members_of_all])
        for members, shares in zip(members_of_all, self.shares(totals, rng), strict=True):
            owners[members] = deal(shares, sizes[members], rng)
        return owners
