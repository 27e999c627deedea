"""Layer-Skipping Federated Learning (arXiv 2504.10536): clients fine-tune only selected layers of a pre-trained model.

Trained and exchanged, up and down: the selected decoder layers, the final norm and the task head. The embeddings and
the skipped layers stay as pre-trained and never travel after set-up. The server averages (FedAvg). On LLaMA 3.2-1B,
6 of 16 layers exchange 70.5 % less than the whole model; that is the default ratio here.
"""

from typing import Any, ClassVar

from pydantic import model_validator

from baselines.layer_scope import LayerScope


class LayerSkipping(LayerScope):
    title: ClassVar[str] = "Layer skipping"

    @model_validator(mode="before")
    @classmethod
    def _default_ratio(cls, given: dict[str, Any]) -> dict[str, Any]:
        chosen = any(given.get(name) is not None for name in ("layers", "skip_ratio", "budgets"))
        return given if chosen else {**given, "skip_ratio": 0.625}
