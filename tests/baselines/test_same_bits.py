"""Methods with extra tensors, client memory or personal tensors: the same bits serially, on one and on two actors."""

import pandas as pd
import pytest
import ray

from simulate.engine.executors import EngineSettings, make_executor
from tests.runs import experiment, run, tensors, timeless

SGD = {"train": {"lr": 0.05, "batch_size": 4, "optimizer": "sgd", "weight_decay": 0, "clip_norm": None}}
HALF = {"cohort": {"count": 2}, "rounds": 3}


@pytest.fixture(scope="module")
def actors():
    """Executors of one and of two Ray actors."""
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    with make_executor(EngineSettings(workers=1)) as one, make_executor(EngineSettings(workers=2)) as two:
        yield one, two
    ray.shutdown()


@pytest.mark.parametrize(
    ("method", "family", "task", "changes"),
    [
        ({"name": "scaffold"}, "tiny_decoder", "ner_corpus", SGD | HALF),
        ({"name": "scaffold", "layers": 2, "policy": "random"}, "tiny_encoder", "text_corpus", SGD | HALF),
        ({"name": "scaffold", "budgets": [1, 2]}, "tiny_decoder", "text_corpus", SGD | HALF),
        ({"name": "fednova"}, "tiny_encoder", "ner_corpus", {}),
        ({"name": "fednova", "budgets": [1, 3]}, "tiny_decoder", "text_corpus", HALF),
        ({"name": "fedper"}, "tiny_decoder", "ner_corpus", HALF),
        ({"name": "fedper", "layers": 2, "personal_layers": 1}, "tiny_encoder", "text_corpus", HALF),
        ({"name": "head_only"}, "tiny_decoder", "text_corpus", {}),
        ({"name": "head_only"}, "tiny_encoder", "ner_corpus", HALF),
    ],
    ids=str,
)
def test_serial_one_actor_and_two_actors_give_the_same_bits(method, family, task, changes, tmp_path, request, actors):
    what = experiment(request.getfixturevalue(family), request.getfixturevalue(task), method, **changes)
    run(what, tmp_path / "serial")
    for name, executor in zip(("one", "two"), actors, strict=True):
        run(what, tmp_path / name, executor)
        assert tensors(tmp_path / name) == tensors(tmp_path / "serial")
        for table in ("rounds", "clients"):
            pd.testing.assert_frame_equal(
                timeless(tmp_path / name, table), timeless(tmp_path / "serial", table), check_exact=True
            )
