"""FedAvg (McMahan et al. 2017, arXiv 1602.05629, Algorithm 1): the whole model is trained, exchanged and averaged.

Exchanged, up and down: every tensor. The server takes w <- w + sum_i (n_i / n) (w_i - w) over the cohort, n_i being
client i's number of examples.
"""

from typing import ClassVar

from simulate.method import Method


class FedAvg(Method):
    title: ClassVar[str] = "FedAvg"
