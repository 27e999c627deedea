"""Evaluation of the global model, or of every client's own, with the work spread over the workers."""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from simulate.clients.tasks import ClientTask
from simulate.engine.executors import Executor, Task
from simulate.models.tokenize import Encoded
from simulate.settings import Settings

CHUNK = 4
"""Batches of one task: few enough that workers finish together, many enough that calls cost nothing."""


class EvaluateSettings(Settings):
    """Evaluation on validation and test: every `every` rounds and after the last, in batches of `batch_size`."""

    every: Annotated[int, Field(ge=1)] = 1
    batch_size: Annotated[int, Field(ge=1)] = 32


class Evaluator:
    """Scores splits.

    Batches are fixed once, by length, so that they (and float sums over them) do not depend on the number of workers.

    Args:
        settings: batch size.
        task: how predictions are scored.
        splits: the encoded splits to score, by name.
    """

    def __init__(self, settings: EvaluateSettings, task: ClientTask, splits: Mapping[str, Encoded]) -> None:
        self.task = task
        self.splits = splits
        self.batches: list[tuple[str, list[np.ndarray]]] = []
        for name, split in splits.items():
            order = np.argsort(split.lengths, kind="stable")[::-1]
            batches = [order[i : i + settings.batch_size] for i in range(0, len(order), settings.batch_size)]
            self.batches += [(name, batches[i : i + CHUNK]) for i in range(0, len(batches), CHUNK)]

    def score(self, executor: Executor, clients: list[int] | None = None) -> dict[str, dict[str, float]]:
        """Metrics of each split.

        Args:
            executor: whose workers hold the global values.
            clients: score each of these clients' own model instead, and average every metric over the clients.

        Returns:
            Split -> metric -> value; metrics are fractions, the loss is the mean cross-entropy a label (nats).
        """
        models: list[int | None] = [None] if clients is None else list(clients)
        jobs = [(model, chunk) for model in models for chunk in self.batches]
        tasks = [Task("evaluate", (split, batches), client=model) for model, (split, batches) in jobs]
        results = dict(executor.run(tasks))
        of_model: dict[int | None, list[tuple[str, list[np.ndarray], Any]]] = {}
        for index, (model, (split, batches)) in enumerate(jobs):
            of_model.setdefault(model, []).append((split, batches, results[index]))
        scores = [self._score_one(parts) for parts in of_model.values()]
        return {
            split: {key: float(np.mean([score[split][key] for score in scores])) for key in scores[0][split]}
            for split in self.splits
        }

    def _score_one(self, parts: list[tuple[str, list[np.ndarray], Any]]) -> dict[str, dict[str, float]]:
        scores = {}
        for name, split in self.splits.items():
            rows: list[int] = []
            predictions: list[Any] = []
            loss, labels = 0.0, 0
            for part, batches, results in parts:
                if part == name:
                    for batch, (predicted, batch_loss, batch_labels) in zip(batches, results, strict=True):
                        rows += batch.tolist()
                        predictions += predicted
                        loss += batch_loss
                        labels += batch_labels
            scores[name] = {"loss": loss / max(1, labels), **self.task.score(split, rows, predictions)}
        return scores
