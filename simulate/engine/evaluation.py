"""Evaluation of the global model, or of every client's own, with the work spread over the workers."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from simulate.clients.tasks import ClientTask
from simulate.engine.executors import Executor, Task
from simulate.models.encoded import Encoded
from simulate.settings import Settings

MODELS = 32
"""Clients whose own models are scored together: what they predict is held until then."""

CHUNK = 4
"""Batches of one task: few enough that workers finish together, many enough that calls cost nothing."""


Scores = dict[str, dict[str, float]]
"""Split -> metric -> value; metrics are fractions, the loss is the mean cross-entropy a label (nats)."""


class EvaluateSettings(Settings):
    """Evaluation on validation and test: every `every` rounds and after the last, in batches of `batch_size`.

    With `patience` a run stops after as many evaluations without a better validation metric; 3 to 10 are common.
    """

    every: Annotated[int, Field(ge=1)] = 1
    batch_size: Annotated[int, Field(ge=1)] = 32
    patience: Annotated[int, Field(ge=1)] | None = None

    def exhausted(self, values: Sequence[float]) -> bool:
        """Whether to stop after these values of the validation metric, the untrained model's not among them."""
        count = self.patience
        return count is not None and len(values) > count and max(values[-count:]) <= max(values[:-count])


class Evaluator:
    """Scores splits.

    Batches are fixed once, by length, so that they (and float sums over them) do not depend on the number of workers.

    Args:
        settings: batch size; when to evaluate and to stop.
        task: how predictions are scored.
        splits: the encoded splits to score, by name.
    """

    def __init__(self, settings: EvaluateSettings, task: ClientTask, splits: Mapping[str, Encoded]) -> None:
        self.settings = settings
        self.task = task
        self.splits = splits
        self.batches: list[tuple[str, list[np.ndarray]]] = []
        for name, split in splits.items():
            order = np.argsort(split.lengths, kind="stable")[::-1]
            batches = [order[i : i + settings.batch_size] for i in range(0, len(order), settings.batch_size)]
            self.batches += [(name, batches[i : i + CHUNK]) for i in range(0, len(batches), CHUNK)]

    def score(self, executor: Executor, clients: Sequence[int] | None = None) -> list[Scores]:
        """Metrics of each split.

        Args:
            executor: whose workers hold the global values.
            clients: score each of these clients' own model instead.

        Returns:
            The scores of the global model, or of each client's, in the order of `clients`.
        """
        models: list[int | None] = [None] if clients is None else list(clients)
        together = [models[first : first + MODELS] for first in range(0, len(models), MODELS)]
        return [scores for some in together for scores in self._score_together(executor, some)]

    def _score_together(self, executor: Executor, models: Sequence[int | None]) -> list[Scores]:
        jobs = [(model, chunk) for model in models for chunk in self.batches]
        tasks = [Task("evaluate", (split, batches), client=model) for model, (split, batches) in jobs]
        results = dict(executor.run(tasks))
        each = len(self.batches)
        return [
            self._score_one([results[first + place] for place in range(each)]) for first in range(0, len(jobs), each)
        ]

    def _score_one(self, results: list[list[Any]]) -> Scores:
        """The metrics of one model from the results of `batches`, in their order."""
        predictions = {name: [np.empty(0)] * len(split.lengths) for name, split in self.splits.items()}
        loss, labels = dict.fromkeys(self.splits, 0.0), dict.fromkeys(self.splits, 0)
        batches = ((name, windows) for name, chunk in self.batches for windows in chunk)
        for (name, windows), (predicted, batch_loss, batch_labels) in zip(batches, chain(*results), strict=True):
            for window, prediction in zip(windows, predicted, strict=True):
                predictions[name][window] = prediction
            loss[name] += batch_loss
            labels[name] += batch_labels
        return {
            name: {"loss": loss[name] / max(1, labels[name]), **self.task.score(split, predictions[name])}
            for name, split in self.splits.items()
        }


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """The mean of each metric over several models."""
    return {
        split: {key: float(np.mean([each[split][key] for each in scores])) for key in metrics}
        for split, metrics in scores[0].items()
    }
