"""The two tasks: how examples become batches, outputs predictions, and predictions scores."""

from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
import torch
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2
from sklearn.metrics import accuracy_score, f1_score
from torch.nn import functional

from simulate.clients.training import Batch
from simulate.models.tokenize import IGNORED, Encoded, iob2_tags

Prediction = tuple[list[np.ndarray], float, int]
"""For each example its predicted label numbers, the summed cross-entropy of the batch (nats), and the labels in it."""


class ClientTask(Protocol):
    """What the engine asks of a task."""

    metric: ClassVar[str]
    """The score that rounds are compared by."""
    model_labels: tuple[str, ...]
    """Names of the model's outputs."""

    def __init__(self, labels: Sequence[str]) -> None: ...

    def collate(self, split: Encoded, rows: np.ndarray, pad: int) -> Batch:
        """The batch of some examples, padded on the right: int64 tensors of (examples, longest)."""
        ...

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean cross-entropy over the labels of a batch; 0 where it has none."""
        ...

    def predict(self, logits: torch.Tensor, labels: torch.Tensor, split: Encoded, rows: np.ndarray) -> Prediction:
        """Read a model's logits for a batch of some examples."""
        ...

    def score(self, split: Encoded, rows: Sequence[int], predictions: Sequence[np.ndarray]) -> dict[str, float]:
        """Metrics, as fractions, of the predictions for some examples."""
        ...


def _padded(split: Encoded, rows: np.ndarray, pad: int) -> Batch:
    lengths = split.lengths[rows]
    ids = np.full((len(rows), int(lengths.max())), pad, dtype=np.int64)
    for place, row in enumerate(rows):
        ids[place, : lengths[place]] = split.ids[split.offsets[row] : split.offsets[row + 1]]
    mask = np.arange(ids.shape[1]) < lengths[:, None]
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}


def _cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Summed over all labels, in float32, nats."""
    flat = logits.float().flatten(0, -2)
    return functional.cross_entropy(flat, labels.flatten(), ignore_index=IGNORED, reduction="sum")


class Ner:
    """Tagging of words with IOB2 tags, scored by exact entities: strict IOB2 micro F1 (seqeval)."""

    metric: ClassVar[str] = "f1"

    def __init__(self, labels: Sequence[str]) -> None:
        self.types = tuple(labels)
        self.model_labels = iob2_tags(labels)

    def collate(self, split: Encoded, rows: np.ndarray, pad: int) -> Batch:
        batch = _padded(split, rows, pad)
        labels = np.full(batch["input_ids"].shape, IGNORED, dtype=np.int64)
        for place, row in enumerate(rows):
            own = split.labels[split.offsets[row] : split.offsets[row + 1]]
            labels[place, : len(own)] = own
        return {**batch, "labels": torch.from_numpy(labels)}

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return _cross_entropy(logits, labels) / (labels != IGNORED).sum().clamp(min=1)

    def predict(self, logits: torch.Tensor, labels: torch.Tensor, split: Encoded, rows: np.ndarray) -> Prediction:
        """Tags of all words of each example; a word that was cut off counts as "O"."""
        best, labelled = logits.argmax(-1).cpu().numpy(), (labels != IGNORED).cpu().numpy()
        words = np.diff(split.word_offsets)[rows]
        predictions = []
        for place in range(len(rows)):
            tags = np.zeros(words[place], dtype=np.int64)
            kept = best[place][labelled[place]]
            tags[: len(kept)] = kept
            predictions.append(tags)
        return predictions, float(_cross_entropy(logits, labels)), int(labelled.sum())

    def score(self, split: Encoded, rows: Sequence[int], predictions: Sequence[np.ndarray]) -> dict[str, float]:
        tags = np.array(self.model_labels, dtype=object)
        gold = [tags[split.gold[split.word_offsets[row] : split.word_offsets[row + 1]]].tolist() for row in rows]
        predicted = [tags[prediction].tolist() for prediction in predictions]
        if not any(tag != "O" for sentence in gold + predicted for tag in sentence):
            return dict.fromkeys(("f1", "precision", "recall", *(f"f1_{kind}" for kind in self.types)), 0.0)
        report = classification_report(gold, predicted, mode="strict", scheme=IOB2, output_dict=True, zero_division=0)
        micro = report["micro avg"]
        of_type = {f"f1_{kind}": float(report.get(kind, {"f1-score": 0.0})["f1-score"]) for kind in self.types}
        return {
            "f1": float(micro["f1-score"]),
            "precision": float(micro["precision"]),
            "recall": float(micro["recall"]),
            **of_type,
        }


class Classification:
    """One label a text, scored by macro F1 and accuracy."""

    metric: ClassVar[str] = "macro_f1"

    def __init__(self, labels: Sequence[str]) -> None:
        self.model_labels = tuple(labels)

    def collate(self, split: Encoded, rows: np.ndarray, pad: int) -> Batch:
        return {**_padded(split, rows, pad), "labels": torch.from_numpy(split.labels[rows])}

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return _cross_entropy(logits, labels) / len(labels)

    def predict(self, logits: torch.Tensor, labels: torch.Tensor, split: Encoded, rows: np.ndarray) -> Prediction:
        return list(logits.argmax(-1, keepdim=True).cpu().numpy()), float(_cross_entropy(logits, labels)), len(labels)

    def score(self, split: Encoded, rows: Sequence[int], predictions: Sequence[np.ndarray]) -> dict[str, float]:
        gold, predicted = split.gold[list(rows)], np.concatenate(list(predictions))
        every = np.arange(len(self.model_labels))
        return {
            "macro_f1": float(f1_score(gold, predicted, labels=every, average="macro", zero_division=0)),
            "accuracy": float(accuracy_score(gold, predicted)),
        }


TASKS: dict[str, type[ClientTask]] = {"ner": Ner, "classification": Classification}
"""Task of a corpus -> class."""
