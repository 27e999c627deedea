"""Early stopping: on validation alone, and recorded."""

import pandas as pd
import pytest

from results import frames
from simulate.config import ConfigError, build, load
from simulate.engine.evaluation import EvaluateSettings
from simulate.engine.serial_executor import SerialExecutor
from simulate.experiment import prepare, run


@pytest.mark.parametrize(
    ("values", "patience", "stops"),
    [
        ([0.5], 1, False),  # nothing to compare with
        ([0.5, 0.5], 1, True),  # as good is not better
        ([0.5, 0.6], 1, False),
        ([0.5, 0.4, 0.6], 2, False),  # the second evaluation without a better one never came
        ([0.5, 0.4, 0.5], 2, True),
        ([0.4, 0.5, 0.45], 2, False),
        ([0.9, 0.1, 0.2, 0.3], 3, True),  # rising again, but below the best
        ([0.5, 0.4, 0.3, 0.2], None, False),
    ],
)
def test_patience_by_hand(values, patience, stops):
    assert EvaluateSettings(patience=patience).exhausted(values) is stops


def test_a_patience_of_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"evaluate\.patience = 0"):
        load("demo", ["evaluate.patience=0"])


def experiment(model, corpus, lr, **evaluate):
    return build(
        {
            "name": "tiny",
            "rounds": 7,
            "corpus": {"name": "jsonl", "path": str(corpus)},
            "model": {"name": str(model), "max_length": 32},
            "partition": {"name": "iid", "clients": 2, "min_size": 3},
            "method": {"name": "fedavg"},
            "train": {"lr": lr, "optimizer": "sgd", "momentum": 0.0},
            "evaluate": evaluate,
            "engine": {"executor": "serial"},
        }
    )


def test_a_run_stops_when_validation_stands_still(tiny_decoder, text_corpus, tmp_path):
    """A learning rate of 1e-12 changes no prediction: evaluated every 2 rounds, rounds 4 and 6 are no better than 2,
    so a patience of 2 ends the run after round 6 of 7, and one of 1 after round 4."""
    notes = []
    for patience, last in ((1, 4), (2, 6), (3, 7)):
        what = experiment(tiny_decoder, text_corpus, 1e-12, every=2, patience=patience)
        folder = tmp_path / f"patience{patience}"
        summary = run(prepare(what), folder, SerialExecutor(what.engine), notes.append)
        assert (summary["rounds"], summary["stopped"]) == (last, last < 7)
        assert (summary["final"]["round"], summary["best"]["round"]) == (last, 2)
        rounds = pd.read_csv(folder / "rounds.csv")
        assert rounds["round"].tolist() == list(range(last + 1))
        assert rounds["bytes_total"].iloc[-1] == summary["bytes"]["total"]
        assert frames.load(folder).summaries["stopped"].tolist() == [last < 7]
    assert [round_.number for round_ in notes if round_.stopped] == [4, 6]
