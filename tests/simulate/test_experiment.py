"""Whole runs on tiny models: the same bits everywhere, measured bytes, equalities between methods."""

from pathlib import Path

import pandas as pd
import pytest
import ray
from safetensors.torch import load_file

from simulate.config import build
from simulate.engine.executors import EngineSettings, make_executor
from simulate.experiment import run


def experiment(model: Path, corpus: Path, method="layer_skipping", **changes):
    settings = {"name": method} if isinstance(method, str) else method
    if settings["name"] == "layer_skipping" and "skip_ratio" not in settings:
        settings = {"layers": 2, **settings}
    data = {
        "name": "tiny",
        "rounds": 2,
        "corpus": {"name": "jsonl", "path": str(corpus)},
        "model": {"name": str(model), "max_length": 32},
        "partition": {"name": "dirichlet", "clients": 4, "alpha": 0.5, "min_size": 3},
        "method": settings,
        "train": {"lr": 0.01, "batch_size": 4},
        "engine": {"executor": "serial"},
    }
    return build(data | changes)


def timeless(folder: Path, table: str) -> pd.DataFrame:
    frame = pd.read_csv(folder / f"{table}.csv")
    return frame[[column for column in frame if not column.startswith("seconds")]]


def tensors(folder: Path) -> dict[str, bytes]:
    (file,) = (folder / "model").glob("*.safetensors")
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(file).items()}


@pytest.fixture(scope="module")
def actors():
    """Executors of one and of two Ray actors."""
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    with make_executor(EngineSettings(workers=1)) as one, make_executor(EngineSettings(workers=2)) as two:
        yield one, two
    ray.shutdown()


@pytest.mark.parametrize("method", ["layer_skipping", "lora", "fedprox"])
@pytest.mark.parametrize("family", ["tiny_decoder", "tiny_encoder"])
def test_serial_one_actor_and_two_actors_give_the_same_bits(method, family, ner_corpus, tmp_path, request, actors):
    model = request.getfixturevalue(family)
    what = experiment(model, ner_corpus, method)
    run(what, tmp_path / "serial")
    run(what, tmp_path / "one", actors[0])
    run(what, tmp_path / "two", actors[1])
    for other in ("one", "two"):
        assert tensors(tmp_path / other) == tensors(tmp_path / "serial")
        for table in ("rounds", "clients"):
            pd.testing.assert_frame_equal(
                timeless(tmp_path / other, table), timeless(tmp_path / "serial", table), check_exact=True
            )
