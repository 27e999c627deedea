"""`engine.deterministic`: PyTorch is asked for a fixed order, on the CPU to the same bits; and it is part of a run."""

import os

import pytest
import torch

from simulate.config import ConfigError, resumable
from simulate.engine.records import identity
from simulate.engine.worker import Worker
from tests.runs import experiment, run, same_results


@pytest.mark.parametrize("method", ["layer_skipping", {"name": "lora", "rank": 2}], ids=str)
def test_on_the_cpu_it_changes_nothing(method, tmp_path, tiny_encoder, ner_corpus, monkeypatch):
    """Dropout, prefix cache and server optimizer included; and the next run is as it asks for, too."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    asked = []
    train = Worker.train

    def watched(self, *arguments):
        asked.append((torch.are_deterministic_algorithms_enabled(), os.environ.get("CUBLAS_WORKSPACE_CONFIG")))
        return train(self, *arguments)

    monkeypatch.setattr(Worker, "train", watched)
    settings = {"server": {"name": "adam", "lr": 0.01}, "rounds": 2}
    for name, deterministic in (("fixed", True), ("free", False)):
        engine = {"executor": "serial", "deterministic": deterministic}
        run(experiment(tiny_encoder, ner_corpus, method, engine=engine, **settings), tmp_path / name)
    assert asked[:8] == [(True, ":4096:8")] * 8
    assert [deterministic for deterministic, _ in asked[8:]] == [False] * 8
    same_results(tmp_path / "fixed", tmp_path / "free")


def test_it_is_part_of_what_a_run_is(tmp_path, tiny_decoder, ner_corpus):
    """What began in no fixed order does not go on as if it had been in one."""
    free = experiment(tiny_decoder, ner_corpus)
    fixed = experiment(tiny_decoder, ner_corpus, engine={"executor": "serial", "deterministic": True})
    assert identity(free.resolved()) != identity(fixed.resolved())
    run(free, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"engine\.deterministic cannot be changed in a run that goes on"):
        resumable(tmp_path / "run", ["engine.deterministic=true"])
