"""The mean, in which clients count by their examples (FedAvg); one client that lies moves it as far as it likes."""

from typing import ClassVar

from simulate.aggregator import Aggregator


class Mean(Aggregator):
    title: ClassVar[str] = ""
