"""What batches of similar lengths save on a corpus: padding, and the sub-words trained per second.

    python -m simulate.bench.padding CORPUS... [-o table.csv]

Each CORPUS is a folder of JSONL files. Its training examples are dealt out evenly to 20 clients, and batches are made
in three ways: in random order, by number (`train.batch_size`) and by sub-words (`train.batch_tokens`). Padding is that
of one local epoch of all clients. Then the embedded model trains whole visits of the same clients in each way, in turn,
on one thread, with nothing of the engine around it.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from simulate import seeds
from simulate.bench.measured import tell
from simulate.clients.batches import client_batches
from simulate.clients.training import TrainSettings, train_client
from simulate.config import build
from simulate.errors import USER_ERRORS
from simulate.experiment import Prepared, prepare
from simulate.models.backbone import load_model

CLIENTS = 20
SUBWORDS = 8_000
"""About as many are trained in each way and turn, padding not counted."""
TURNS = 3
RANDOM = "random order"
WAYS = {
    RANDOM: TrainSettings(batch_size=8),
    "batch_size=8": TrainSettings(batch_size=8),
    "batch_tokens=256": TrainSettings(batch_tokens=256),
}

FORMS = {"sub-words a text": "{:.1f}", "padding, %": "{:.1f}", "sub-words/s": "{:.0f}"}
FORMS |= dict.fromkeys(("× random", "lowest", "highest"), "{:.2f}")


def measure(folder: Path) -> list[dict[str, object]]:
    """A row for each way of making batches of a corpus.

    Raises:
        any of `USER_ERRORS`: if the folder does not hold a corpus.
    """
    prepared = prepare(
        build(
            {
                "name": "padding",
                "corpus": {"name": "jsonl", "path": str(folder)},
                "partition": {"name": "iid", "clients": CLIENTS},
                "method": {"name": "fedavg"},
            }
        )
    )
    lengths = prepared.splits["train"].lengths
    shards = [prepared.splits["train"].windows(prepared.partition.indices(client)) for client in range(CLIENTS)]
    enough = 1 + int(np.searchsorted(np.cumsum([lengths[shard].sum() for shard in shards]), SUBWORDS))
    speeds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(TURNS):
        for way in WAYS:
            trained = [batch for shard in shards[:enough] for batch in made(way, shard, lengths)]
            speeds[way].append(sum(int(lengths[batch].sum()) for batch in trained) / seconds(prepared, way, trained))
    rows: list[dict[str, object]] = []
    for way in WAYS:
        every = [batch for shard in shards for batch in made(way, shard, lengths)]
        padded = sum(len(batch) * int(lengths[batch].max()) for batch in every)
        ratios = np.array(speeds[way]) / np.array(speeds[RANDOM])
        rows.append(
            {
                "corpus": folder.resolve().name,
                "sub-words a text": float(lengths.mean()),
                "batches": way,
                "padding, %": 100 * (1 - int(lengths.sum()) / padded),
                "sub-words/s": float(np.median(speeds[way])),
                "× random": float(np.median(ratios)),
                "lowest": ratios.min(),
                "highest": ratios.max(),
            }
        )
    return rows


def made(way: str, shard: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """The batches of one visit."""
    settings, rng = WAYS[way], seeds.generator(0, "padding")
    if way == RANDOM:
        return np.split(rng.permutation(shard), range(settings.batch_size, len(shard), settings.batch_size))
    return client_batches(settings, shard, lengths, rng)


def seconds(prepared: Prepared, way: str, trained: list[np.ndarray]) -> float:
    """That it takes to train all of the embedded model on these batches."""
    experiment, task = prepared.experiment, prepared.task
    model, tokenizer = load_model(experiment.model, prepared.corpus.task, task.model_labels, experiment.seed)
    model.train()
    started = time.perf_counter()
    train_client(
        lambda batch: model(**batch).logits,
        dict(model.named_parameters()),
        (task.collate(prepared.splits["train"], windows, tokenizer.pad_token_id) for windows in trained),
        WAYS[way],
        1e-4,
        lambda trained: None,
        task.loss,
    )
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m simulate.bench.padding", description=__doc__.splitlines()[0])
    parser.add_argument("corpus", nargs="+", type=Path, help="a folder of JSONL files")
    parser.add_argument("-o", "--output", type=Path, help="CSV file to write the table to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    console, rows = Console(), []
    for place, folder in enumerate(arguments.corpus, start=1):
        console.print(f"{place}/{len(arguments.corpus)} {folder.name}")
        try:
            rows += measure(folder)
        except USER_ERRORS as error:
            raise SystemExit(f"error: {error}") from None
    tell(rows, FORMS, arguments.output, console)


if __name__ == "__main__":
    main()
