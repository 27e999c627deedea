"""Four actors, on however few cores: the same bits as in one process, one of them killed included."""

import pytest

from simulate.engine.executors import EngineSettings
from simulate.engine.make import make_executor
from tests.kills import Killer
from tests.runs import FAULTS, SGD, experiment, run, same_results

TWELVE = {"partition": {"name": "dirichlet", "clients": 12, "alpha": 0.5, "min_size": 3}, "cohort": {"count": 10}}


@pytest.fixture(scope="module")
def four(ray_session):
    """In a Ray session of their own, which has as many CPUs as they ask for."""
    ray_session.close()
    with make_executor(EngineSettings(workers=4)) as executor:
        yield executor


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:a worker process died")
@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ({"name": "scaffold", "layers": 2}, SGD | {"faults": FAULTS}),
        ({"name": "fedper", "layers": 2, "personal_layers": 1}, {}),
        ({"name": "layer_skipping", "layers": 2, "policy": "gradient_norm"}, {"server": {"name": "adam", "lr": 0.01}}),
        ("lora", {"aggregation": "median", "faults": FAULTS}),
    ],
    ids=str,
)
def test_serial_and_four_actors_give_the_same_bits(method, changes, tmp_path, tiny_decoder, ner_corpus, four):
    """Twelve clients, of which up to ten take part in a round; then once more, and an actor dies in the second."""
    what = experiment(tiny_decoder, ner_corpus, method, **TWELVE, **changes)
    run(what, tmp_path / "serial")
    assert run(what, tmp_path / "four", four)["lost_workers"] == 0
    same_results(tmp_path / "four", tmp_path / "serial")
    with Killer(four, [12], place=2) as killer:
        summary = run(what, tmp_path / "killed", four)
    assert killer.killed == summary["lost_workers"] == 1
    same_results(tmp_path / "killed", tmp_path / "serial")
