"""FedEx-LoRA (Singhal et al. 2024, arXiv 2410.09432): what averaging A and B gets wrong is added to the base weights.

Clients train A and B as in LoRA, and the server averages them separately. The average of the products differs from the
product of the averages by a residue, which the server adds to the frozen weight of every client:

    W <- W + (alpha / rank) R,   R = sum_i p_i B_i A_i - (sum_i p_i B_i) (sum_i p_i A_i)

so that the model that all start the next round with is exactly the mean of the clients' models.

Exchanged, up: every A and B, and the task head, as in LoRA. Down: their averages, and the residue. With dA_i and dB_i
the clients' changes and dB their mean, R = sum_{i<k} p_i (dB_i - dB) (dA_i - dA_k): for k clients, factors of rank
(k - 1) rank, found without decomposing anything. For an m x n weight these are (k - 1) rank (m + n) elements more than
LoRA sends down. Where that is no less than m n, the new weight itself is sent; with many clients, a large rank or a
narrow model that is the rule, and most of the saving of LoRA is gone on the way down. Who was away downloads the
residues of all rounds that it missed, or the weight. Rank and alpha as for LoRA.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch

from baselines.merged_lora import Adapter, MergedLoRA
from simulate.exchange.channel import State
from simulate.exchange.low_rank import Factors
from simulate.method import Turn


class FedExLoRA(MergedLoRA):
    title: ClassVar[str] = "FedEx-LoRA"

    def contribution(self, received: State, turn: Turn) -> State:
        return {**received, **super().contribution(received, turn)}

    def change(self, adapters: Sequence[Adapter]) -> Factors:
        *others, last = adapters
        mean = torch.stack([adapter.share * adapter.b for adapter in adapters]).sum(dim=0)
        left = [adapter.share * (adapter.b - mean) for adapter in others]
        right = [adapter.a - last.a for adapter in others]
        return torch.cat([mean[:, :0], *left], dim=1), torch.cat([last.a[:0], *right], dim=0)
