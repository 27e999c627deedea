"""Where the seconds of a round went: what takes longer shows in its own column, and in no other."""

import time

import pandas as pd
import pytest

from simulate.engine import worker
from simulate.engine.worker import Worker
from tests.runs import experiment, run

LONGER = 0.05
"""Seconds that a stage takes longer for each client."""


@pytest.mark.parametrize(
    ("stage", "place", "function"),
    [
        ("load", Worker, "_load"),
        ("prefix", Worker, "_batches"),
        ("steps", worker, "train_client"),
        ("send", Worker, "_submit"),
    ],
)
def test_a_stage_that_takes_longer_shows(stage, place, function, tiny_decoder, ner_corpus, tmp_path, monkeypatch):
    quick = getattr(place, function)

    def slow(*arguments, **named):
        time.sleep(LONGER)
        return quick(*arguments, **named)

    what = experiment(tiny_decoder, ner_corpus, evaluate={"every": 2})
    plain, slowed = tmp_path / "plain", tmp_path / "slowed"
    run(what, plain)
    monkeypatch.setattr(place, function, slow)
    run(what, slowed)
    columns = [f"seconds_worker_{name}" for name in ("load", "prefix", "steps", "send")]
    before, after = (pd.read_csv(folder / "rounds.csv").set_index("round") for folder in (plain, slowed))
    more = after.loc[2, columns] - before.loc[2, columns]  # the first round also prepares
    assert more[f"seconds_worker_{stage}"] > 0.9 * 4 * LONGER
    assert more.drop(f"seconds_worker_{stage}").abs().max() < 2 * LONGER
    assert after.loc[2, columns].sum() <= after.loc[2, "seconds_train"]
