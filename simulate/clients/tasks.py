"""The tasks: how examples become batches, and outputs predictions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch.nn import functional

from simulate.clients import scores
from simulate.clients.training import Batch
from simulate.models.encoded import IGNORED, Encoded

Prediction = tuple[list[np.ndarray], float, int]
"""What is predicted for each window of a batch, the summed loss of the batch (nats), and the labels in it."""


class ClientTask(Protocol):
    """What the engine asks of a task."""

    metric: ClassVar[str]
    """The score that rounds are compared by."""
    model_labels: tuple[str, ...]
    """Names of the model's outputs."""

    def __init__(self, labels: Sequence[str]) -> None: ...

    def collate(self, split: Encoded, windows: np.ndarray, pad: int) -> Batch:
        """The batch of some windows, padded on the right: int64 tensors of (windows, longest)."""
        ...

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean loss over the labels of a batch; 0 where it has none."""
        ...

    def predict(self, logits: torch.Tensor, labels: torch.Tensor) -> Prediction:
        """Read a model's logits for a batch."""
        ...

    def score(self, split: Encoded, predictions: Sequence[np.ndarray]) -> dict[str, float]:
        """Metrics of a split, as fractions, from what was predicted for each of its windows."""
        ...


def _padded(split: Encoded, windows: np.ndarray, pad: int) -> Batch:
    lengths = split.offsets[windows + 1] - split.offsets[windows]
    ids = np.full((len(windows), int(lengths.max())), pad, dtype=np.int64)
    for place, window in enumerate(windows):
        ids[place, : lengths[place]] = split.ids[split.offsets[window] : split.offsets[window + 1]]
    mask = np.arange(ids.shape[1]) < lengths[:, None]
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}


def _cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Summed over all labels, in float32, nats."""
    flat = logits.float().flatten(0, -2)
    return functional.cross_entropy(flat, labels.flatten(), ignore_index=IGNORED, reduction="sum")


def _binary_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Summed over all yes-or-no labels, in float32, nats."""
    return functional.binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="sum")


def _text_logits(split: Encoded, predictions: Sequence[np.ndarray]) -> np.ndarray:
    """The logits of each text, float64, (texts, outputs): the mean over its windows."""
    logits = np.stack(predictions).astype(np.float64)
    counts = np.diff(split.window_offsets)
    return np.add.reduceat(logits, split.window_offsets[:-1], axis=0) / counts[:, None]


def iob2_tags(types: Sequence[str]) -> tuple[str, ...]:
    """The IOB2 tags of entity types: "O" first, then B- and I- of each type."""
    return ("O", *(f"{prefix}-{entity}" for entity in types for prefix in "BI"))


class Ner:
    """Tagging of words with IOB2 tags, scored by exact entities: strict IOB2 micro F1 (seqeval)."""

    metric: ClassVar[str] = "f1"

    def __init__(self, labels: Sequence[str]) -> None:
        self.types = tuple(labels)
        self.model_labels = iob2_tags(labels)

    def collate(self, split: Encoded, windows: np.ndarray, pad: int) -> Batch:
        batch = _padded(split, windows, pad)
        labels = np.full(batch["input_ids"].shape, IGNORED, dtype=np.int64)
        for place, window in enumerate(windows):
            own = split.labels[split.offsets[window] : split.offsets[window + 1]]
            labels[place, : len(own)] = own
        return {**batch, "labels": torch.from_numpy(labels)}

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return _cross_entropy(logits, labels) / (labels != IGNORED).sum().clamp(min=1)

    def predict(self, logits: torch.Tensor, labels: torch.Tensor) -> Prediction:
        """The tags of the words that have their label in each window, in order."""
        best, labelled = logits.argmax(-1).cpu().numpy(), (labels != IGNORED).cpu().numpy()
        tags = [row[kept] for row, kept in zip(best, labelled, strict=True)]
        return tags, float(_cross_entropy(logits, labels)), int(labelled.sum())

    def score(self, split: Encoded, predictions: Sequence[np.ndarray]) -> dict[str, float]:
        """Metrics over all words of each example; a word that was cut off counts as "O"."""
        names = np.array(self.model_labels, dtype=object)
        gold, predicted = [], []
        for example in range(len(split)):
            tags = split.gold[split.word_offsets[example] : split.word_offsets[example + 1]]
            found = np.zeros_like(tags)
            kept = np.concatenate(predictions[split.window_offsets[example] : split.window_offsets[example + 1]])
            found[: len(kept)] = kept
            gold.append(names[tags].tolist())
            predicted.append(names[found].tolist())
        return scores.entities(gold, predicted, self.types)


class _Texts(ABC):
    """What the tasks of whole texts share."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.model_labels = tuple(labels)

    def collate(self, split: Encoded, windows: np.ndarray, pad: int) -> Batch:
        return {**_padded(split, windows, pad), "labels": torch.from_numpy(split.labels[windows])}

    @staticmethod
    @abstractmethod
    def summed_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss summed over all labels of a batch, in float32, nats."""

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.summed_loss(logits, labels) / labels.numel()

    def predict(self, logits: torch.Tensor, labels: torch.Tensor) -> Prediction:
        """The logits of each window."""
        return list(logits.float().cpu().numpy()), float(self.summed_loss(logits, labels)), labels.numel()


class Classification(_Texts):
    """One label a text, scored by macro F1 and accuracy, and of two classes also by ranking."""

    metric: ClassVar[str] = "macro_f1"
    summed_loss = staticmethod(_cross_entropy)

    def score(self, split: Encoded, predictions: Sequence[np.ndarray]) -> dict[str, float]:
        return scores.classes(split.gold, _text_logits(split, predictions))


class Multilabel(_Texts):
    """Any number of labels a text, each a yes-or-no decision, scored by micro F1 and by ranking."""

    metric: ClassVar[str] = "micro_f1"
    summed_loss = staticmethod(_binary_cross_entropy)

    def score(self, split: Encoded, predictions: Sequence[np.ndarray]) -> dict[str, float]:
        return scores.label_sets(split.gold, _text_logits(split, predictions))


TASKS: dict[str, type[ClientTask]] = {"ner": Ner, "classification": Classification, "multilabel": Multilabel}
"""Task of a corpus -> class."""
