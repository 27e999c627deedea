"""A trial of an experiment: what it measures is counted as a run counts it, and what it forecasts is arithmetic."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from transformers import GPT2Config, GPT2LMHeadModel

from simulate.engine.job import STAGES
from simulate.trial import Trial, _duration, _spread, measure
from tests.command import quick
from tests.conftest import save_with_tokenizer
from tests.runs import experiment, run

TRIAL = Trial(
    examples=10,
    steps=4,
    first={"load": 1.0, "prefix": 5.0, "steps": 9.0, "send": 1.0},
    again={"load": 0.5, "prefix": 0.25, "steps": 2.0, "send": 0.25},
    measure=2.0,
    score=3.0,
    kept_bytes=2_000_000,
    limit_gb=20.0,
    worker_bytes=30_000_000_000,
    device_bytes=80_000_000_000,
    devices=2,
    cores=16,
    visits=100,
    measured=50,
    visit_steps=6.0,
    shown=200,
    scores=4,
    workers=2,
)


def test_a_forecast_by_hand():
    """100 visits of 1 s beside 6 steps of 0.5 s, 0.475 s once for each of 200 examples, and 50 times importance over 6
    batches of 0.5 s; by two workers."""
    assert TRIAL.training_seconds == pytest.approx((100 * (1 + 6 * 0.5) + 200 * 0.475 + 50 * 6 * 0.5) / 2)
    assert TRIAL.evaluation_seconds == 6
    assert TRIAL.room == 4  # two of 30 GB on each of two GPUs of 80 GB
    text = " ".join(value for _, value in TRIAL.rows())
    assert "10 examples, 4 steps: 16 s, again: 3 s, of which 500 ms a step" in text
    assert "5.5 min on 2 workers, 6 s of it evaluation" in text
    assert "2 MB of hidden states in all, prefix_cache.limit_gb = 20" in text
    assert "30 GB of 80 GB: engine.workers up to 4" in text


def test_what_does_not_fit_is_said():
    kept = dict(Trial(**{**vars(TRIAL), "limit_gb": 0.001}).rows())["kept"]
    assert kept.endswith("limit_gb = 0.001: not all is kept, and the run takes longer than forecast")


def test_room_is_for_one_at_least_and_no_more_than_there_are_cores():
    assert Trial(**{**vars(TRIAL), "worker_bytes": 100_000_000_000}).room == 1
    assert Trial(**{**vars(TRIAL), "cores": 3}).room == 3


def test_durations():
    assert [_duration(seconds) for seconds in (0.4, 59, 61, 5400)] == ["0 s", "59 s", "1.0 min", "1.5 h"]


def test_the_examples_of_a_trial_are_of_all_lengths():
    lengths = np.array([5, 1, 4, 2, 3])
    assert lengths[_spread(lengths, 3)].tolist() == [5, 3, 1]
    assert sorted(_spread(lengths, 99).tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ({"name": "layer_skipping", "layers": 2}, {"rounds": 3, "evaluate": {"every": 2}}),
        ({"name": "layer_skipping", "layers": 2, "policy": "gradient_norm"}, {"train": {"local_epochs": 2}}),
        ({"name": "fedper", "layers": 2, "personal_layers": 1}, {"train": {"batch_tokens": 32}}),
        ("scaffold", {"train": {"optimizer": "sgd", "weight_decay": 0, "clip_norm": None, "local_steps": 3}}),
        ("centralized", {}),
    ],
    ids=str,
)
def test_a_trial_counts_as_a_run_does(method, changes, tmp_path, tiny_decoder, ner_corpus):
    what = experiment(tiny_decoder, ner_corpus, method, **({"rounds": 2} | changes))
    trial = measure(what)
    run(what, tmp_path / "run")
    clients = pd.read_csv(tmp_path / "run" / "clients.csv")
    rounds = pd.read_csv(tmp_path / "run" / "rounds.csv")
    kept = json.loads((tmp_path / "run" / "summary.json").read_text())["prefix_cache"]
    assert trial.kept_bytes == kept.get("bytes_kept", 0)
    measuring = "gradient_norm" in str(method)
    assert (trial.measured, trial.measure > 0) == (len(clients) * measuring, measuring)
    assert trial.visits == len(clients)
    assert trial.visit_steps == pytest.approx(clients["steps"].mean(), rel=0.2)  # batches by sub-words vary
    assert trial.shown == clients[clients["round"] == 1]["examples"].sum()
    scored = rounds["validation_f1"].notna().sum()
    assert trial.scores == (1 + 4 * (scored - 1) if "personal_layers" in method else scored)
    assert set(trial.first) == set(trial.again) == set(STAGES)
    assert 0 < trial.again["steps"] < 60
    assert trial.worker_bytes > 50e6


def test_a_model_whose_configuration_has_other_names(tmp_path, ner_corpus):
    """GPT-2 writes n_embd."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=40, n_embd=16, n_layer=4, n_head=2, n_positions=64, pad_token_id=0, eos_token_id=2)
    model = save_with_tokenizer(GPT2LMHeadModel(config), tmp_path)
    trial = measure(experiment(model, ner_corpus))
    assert trial.kept_bytes % (16 * 4) == 0 < trial.kept_bytes


def test_the_command_says_what_a_trial_found(tmp_path, tiny_decoder, ner_corpus):
    """Whatever the executor of the run will be, the trial needs no Ray."""
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(experiment(tiny_decoder, ner_corpus, engine={"workers": 3}).resolved()))
    result = quick("plan", str(file), "--measure", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    text = " ".join(result.stdout.split())
    assert "a visit of 32 examples, 8 steps: " in text
    assert " on 3 workers, " in text
    assert "engine.workers up to " in text
    assert list(tmp_path.iterdir()) == [file]
