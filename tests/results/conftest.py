"""Run folders made by hand, for everything that reads them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

DENOMINATOR = "the full model: embeddings, 16 decoder layers, final norm and head, 1000000 bytes a transfer"
FULL_MODEL_BYTES = 1_000_000
CLIENTS = 5


def write_run(
    folder: Path,
    test: list[float],
    *,
    method: str = "fedavg",
    label: str = "FedAvg",
    seed: int = 0,
    saving: float | None = 0.0,
    skip_ratio: float | None = None,
    metric: str = "f1",
    task: str = "ner",
    corpus: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    seconds_a_round: float = 2.0,
    status: str = "finished",
    test_sha256: str | None = None,
) -> Path:
    """A run folder whose test metric after round r is ``test[r]`` (``test[0]``: untrained).

    Validation is one point below test. Each of `CLIENTS` clients receives and sends the full model less the saving
    each round; ``saving=None`` sends nothing.
    """
    folder.mkdir(parents=True)
    rounds = len(test) - 1
    up = 0 if saving is None else round(CLIENTS * FULL_MODEL_BYTES * (1 - saving))
    setup = 0 if saving is None else CLIENTS * FULL_MODEL_BYTES
    rows = [
        {
            "round": r,
            "train_loss": "" if r == 0 else 1 / r,
            f"validation_{metric}": value - 0.01,
            f"test_{metric}": value,
            "bytes_up": up if r else 0,
            "bytes_down": up if r else 0,
            "bytes_setup": setup if r == 1 else 0,
            "bytes_total": 2 * up * r,
            "bytes_setup_total": setup if r else 0,
            "clients": CLIENTS if r else 0,
            "seconds_total": 0.5 + seconds_a_round * r,
            "epsilon": "",
        }
        for r, value in enumerate(test)
    ]
    pd.DataFrame(rows).to_csv(folder / "rounds.csv", index=False)

    def at(r: int) -> dict[str, Any]:
        return {"round": r, "validation": {metric: test[r] - 0.01}, "test": {metric: test[r]}}

    summary = {
        "name": "demo",
        "seed": seed,
        "task": task,
        "metric": metric,
        "method": method,
        "label": label,
        "skip_ratio": skip_ratio,
        "rounds": rounds,
        "stopped": rounds < (settings or {}).get("rounds", rounds),
        "final": at(rounds),
        "best": at(int(np.argmax(test))),
        "bytes": {"up": up * rounds, "down": up * rounds, "setup": setup, "total": 2 * up * rounds + setup},
        "saving": saving,
        "saving_denominator": None if saving is None else DENOMINATOR,
        "parameters": {"total": 250_000, "trained": 250_000, "exchanged": 250_000},
        "seconds": 0.5 + seconds_a_round * rounds,
        "peak_memory_mb": 400.0 + seed,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    config = {
        "name": "demo",
        "seed": seed,
        "rounds": rounds,
        "corpus": corpus or {"name": "synthetic", "seed": seed},
        "method": {"name": method, "skip_ratio": skip_ratio},
        "engine": {"workers": seed + 1},
    } | (settings or {})
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "environment.json").write_text(json.dumps({"status": status}))
    if test_sha256 is not None:
        (folder / "partition.json").write_text(json.dumps({"corpus_sha256": {"test": test_sha256}}))
    return folder


def write_study(root: Path, rounds: int = 20) -> Path:
    """Six methods with three seeds each: saturating curves with a little noise."""
    r = np.arange(rounds + 1)
    methods = [
        ("layer_skipping", "Layer skipping (6/16 layers)", 0.705, 0.625, 0.84, 4.0, 1.4),
        ("fedavg", "FedAvg", 0.0, None, 0.845, 5.0, 2.6),
        ("fedprox", "FedProx (μ = 0.01)", 0.0, None, 0.835, 5.5, 2.9),
        ("lora", "LoRA (rank 16)", 0.991, None, 0.79, 7.0, 2.2),
        ("centralized", "Centralized", None, None, 0.862, 2.0, 1.2),
        ("local_only", "Local only", None, None, 0.61, 3.0, 2.4),
    ]
    for method, label, saving, skip_ratio, top, pace, seconds in methods:
        for seed in range(3):
            noise = np.random.default_rng([seed, len(label)]).normal(0, 0.008, size=rounds + 1)
            curve = np.clip(top * (1 - np.exp(-r / pace)) + noise * (r > 0) + 0.004 * seed, 0, 1)
            write_run(
                root / f"{method}-{seed}",
                curve.round(4).tolist(),
                method=method,
                label=label,
                seed=seed,
                saving=saving,
                skip_ratio=skip_ratio,
                seconds_a_round=seconds * (1 + 0.05 * seed),
            )
    return root


def write_ablation(root: Path, seeds: int = 2) -> Path:
    """Layer skipping at six ratios, and centralized training."""
    for ratio, saving, quality in [
        (0.0, 0.213, 0.85),
        (0.25, 0.409, 0.853),
        (0.5, 0.606, 0.848),
        (0.625, 0.705, 0.84),
        (0.75, 0.803, 0.82),
        (0.875, 0.902, 0.78),
    ]:
        kept = round(16 * (1 - ratio))
        for seed in range(seeds):
            write_run(
                root / f"skip-{ratio}-{seed}",
                [0.0, quality / 2, quality + 0.006 * seed],
                method="layer_skipping",
                label=f"Layer skipping ({kept}/16 layers)",
                seed=seed,
                saving=saving,
                skip_ratio=ratio,
            )
    for seed in range(seeds):
        write_run(
            root / f"centralized-{seed}",
            [0.0, 0.5, 0.86],
            method="centralized",
            label="Centralized",
            seed=seed,
            saving=None,
        )
    return root


def write_partition(file: Path, clients: int = 10, labels: int = 4, alpha: float = 0.5) -> Path:
    """A Dirichlet split by label."""
    generator = np.random.default_rng(7)
    names = [f"label {i}" for i in range(labels)]
    counts = np.stack([generator.multinomial(400, generator.dirichlet([alpha] * clients)) for _ in names], axis=1)
    record = {
        "labels": names,
        "split": "train",
        "statistics": {},
        "clients": [
            {"client": k, "examples": int(row.sum()), "label_counts": dict(zip(names, map(int, row), strict=True))}
            for k, row in enumerate(counts)
        ],
    }
    file.write_text(json.dumps(record))
    return file


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """`write_run` below ``tmp_path``: ``make_run("fedavg-0", [0.0, 0.8], seed=1)``."""
    return lambda name, test, **values: write_run(tmp_path / name, test, **values)


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="session")
def ablation_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ablation(tmp_path_factory.mktemp("ablation"))


@pytest.fixture(scope="session")
def partition_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_partition(tmp_path_factory.mktemp("partition") / "partition.json")
