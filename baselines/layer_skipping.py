"""Layer-Skipping Federated Learning (arXiv 2504.10536): clients fine-tune only selected layers of a pre-trained model.

Trained and exchanged, up and down: the selected decoder layers, the final norm and the task head. The embeddings and
the skipped layers stay as pre-trained and never travel after set-up. The server averages (FedAvg). On LLaMA 3.2-1B,
6 of 16 layers exchange 70.5 % less than the whole model; that is the default ratio here.
"""

from typing import ClassVar, Self

from pydantic import model_validator

from baselines.layer_scope import LayerScope


class LayerSkipping(LayerScope):
    title: ClassVar[str] = "Layer skipping"

    @model_validator(mode="after")
    def _default_ratio(self) -> Self:
        if self.layers is None and self.skip_ratio is None and self.budgets is None:
            object.__setattr__(self, "skip_ratio", 0.625)
        return self
