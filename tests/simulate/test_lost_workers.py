"""Worker processes that are killed: the same bits; and when it is always the same client, its name."""

import os
import re
import shlex
import signal
import sys
import warnings

import pytest
import torch

from simulate.cli import main
from simulate.engine.executors import EngineError, MemoryShortageError
from simulate.engine.serial_executor import SerialExecutor
from simulate.engine.worker import Worker
from tests.runs import experiment, run, same_results

SGD = {"train": {"lr": 0.05, "batch_size": 4, "optimizer": "sgd", "weight_decay": 0, "clip_norm": None}}


class Killer:
    """Within the block, SIGKILL for the actor in a place, each time that so many more results have come."""

    def __init__(self, executor, moments, place: int = 0) -> None:
        self.executor, self.moments, self.place = executor, list(moments), place
        self.get, self.results, self.killed = executor._get, 0, 0

    def __enter__(self):
        self.executor._get = self
        return self

    def __exit__(self, *_) -> None:
        self.executor._get = self.get

    def __call__(self, reference):
        result = self.get(reference)
        self.results += 1
        if self.moments and self.results >= self.moments[0]:
            self.moments.pop(0)
            self.killed += 1
            actor = self.executor._actors[self.place]
            os.kill(self.get(actor.call.remote("peak"))[0], signal.SIGKILL)
        return result


@pytest.mark.parametrize(
    ("method", "family", "changes"),
    [
        ({"name": "scaffold", "layers": 2}, "tiny_decoder", SGD),
        pytest.param({"name": "fedper", "layers": 2}, "tiny_encoder", {}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_killed_actors_change_nothing(method, family, changes, tmp_path, request, actors, ner_corpus):
    """One actor killed in training; of two actors, one killed in training and one when personal models are scored."""
    what = experiment(request.getfixturevalue(family), ner_corpus, method, rounds=2, **changes)
    assert run(what, tmp_path / "serial")["lost_workers"] == 0
    for name, moments in (("one", (8,)), ("two", (9, 19))):
        with Killer(actors[name], moments) as killer, warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            summary = run(what, tmp_path / name, actors[name])
        assert killer.killed == summary["lost_workers"] == len(moments)
        said = [str(warning.message) for warning in told if "died" in str(warning.message)]
        assert re.search(r"replaced; what it did for clients? [\d, ]+ in round 1 is done again", said[0])
        same_results(tmp_path / name, tmp_path / "serial")


def deadly(self, turn, *arguments):
    """A worker's `train`, of which client 2 does not come back."""
    if turn.client == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return Worker.trains(self, turn, *arguments)


@pytest.mark.filterwarnings("ignore:a worker process died")
def test_a_client_that_always_ends_its_worker_is_named(tmp_path, tiny_decoder, ner_corpus, actors, monkeypatch, capsys):
    """The real actors, in which `deadly` stands for a client whose batch crashes the process; and what is advised."""
    what = experiment(tiny_decoder, ner_corpus)
    two = actors["two"]
    start = two.start

    def started(job):
        start(job)
        two._ray.get([actor.__ray_call__.remote(_poison) for actor in two._actors])

    replace = two.replace

    def replaced(place, *arguments, **options):
        replace(place, *arguments, **options)
        two._ray.get(two._actors[place].__ray_call__.remote(_poison))

    two.start, two.replace = started, replaced
    try:
        with pytest.raises(EngineError) as error:
            run(what, tmp_path / "run", two)
    finally:
        two.start, two.replace = start, replace
    told = re.search(r"client 2 in round 1: .* 3 times .*debugger: skipfl (.*)", str(error.value))
    monkeypatch.setattr(sys, "argv", ["skipfl", *shlex.split(told[1])])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    said = capsys.readouterr().out
    assert "client 2 in round 1 is redone" in said
    assert "clients.csv has no such row: the run did not get so far" in said


def _poison(actor) -> None:
    kind = type(actor.worker)
    if not hasattr(kind, "trains"):
        kind.trains, kind.train = kind.train, deadly


def test_a_full_gpu_is_told_with_what_to_change(tmp_path, tiny_decoder, ner_corpus, monkeypatch):
    """On the CPU the error is raised by hand."""

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Worker, "train", full)
    what = experiment(tiny_decoder, ner_corpus)
    with pytest.raises(MemoryShortageError, match=r"no memory left: take a smaller train\.batch_size .*`skipfl plan`"):
        run(what, tmp_path / "run", SerialExecutor(what.engine))


def test_what_has_no_fixed_order_on_a_gpu_is_told(tmp_path, tiny_decoder, ner_corpus, monkeypatch):
    """Raised by hand, in PyTorch's words."""

    def unordered(*_):
        raise RuntimeError(
            "cumsum_cuda_kernel does not have a deterministic implementation, but you set "
            "'torch.use_deterministic_algorithms(True)'. You can turn off determinism just for this operation."
        )

    monkeypatch.setattr(Worker, "train", unordered)
    what = experiment(tiny_decoder, ner_corpus, engine={"executor": "serial", "deterministic": True})
    with pytest.raises(
        EngineError, match=r"^engine\.deterministic = true, but .* cumsum_cuda_kernel .*; set it to false"
    ):
        run(what, tmp_path / "run")
