"""Worker processes that are killed: the same bits; and when it is always the same client, its name."""

import os
import re
import shlex
import signal
import sys
import warnings
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
import torch

from simulate.api import simulate
from simulate.cli import main
from simulate.engine.executors import EngineError, MemoryShortageError, gpu_error
from simulate.engine.resident import ResidentWorker
from simulate.engine.worker import Worker
from simulate.plan import make_plan
from tests.kills import Killer
from tests.runs import SGD, experiment, run, same_results


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
    return Worker.original(self, turn, *arguments)


def deadly_thrice(folder: Path):
    """A worker's `train`, of which the first client of all does not come back three times: each leaves a file."""

    def train(self, turn, *arguments):
        with suppress(FileExistsError), (folder / "first").open("x") as file:
            file.write(str(turn.client))
        if turn.client == int((folder / "first").read_text()) and len(list(folder.iterdir())) <= 3:
            (folder / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Worker.original(self, turn, *arguments)

    return train


def deadly_evaluate(self, split, batches, state):
    """A worker's `evaluate`, of which no client that has a state of its own comes back."""
    if state is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return Worker.original(self, split, batches, state)


def _poison(actor, method: str, instead) -> None:
    if not hasattr(Worker, "original"):
        Worker.original = getattr(Worker, method)
        setattr(Worker, method, instead)


def _heal(actor, method: str) -> None:
    setattr(Worker, method, Worker.original)
    del Worker.original


@contextmanager
def poisoned(executor, method: str, instead):
    """Within the block the actors' workers, those that take a lost one's place too, have another method."""
    start, replace = executor.start, executor.replace

    def poison(actors) -> None:
        ray.get([actor.__ray_call__.remote(_poison, method, instead) for actor in actors])

    def started(job) -> None:
        start(job)
        poison(executor._actors)

    def replaced(place, *arguments, **options) -> None:
        replace(place, *arguments, **options)
        poison([executor._actors[place]])

    executor.start, executor.replace = started, replaced
    try:
        yield
    finally:
        executor.start, executor.replace = start, replace
        for actor in executor._actors:
            with suppress(ray.exceptions.RayActorError):
                ray.get(actor.__ray_call__.remote(_heal, method))


def command(line: str, monkeypatch) -> None:
    """Type what a message advises."""
    monkeypatch.setattr(sys, "argv", shlex.split(line))
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code


@pytest.mark.filterwarnings("ignore:a worker process died")
def test_a_client_that_always_ends_its_worker_is_named(tmp_path, tiny_decoder, ner_corpus, actors, monkeypatch, capsys):
    """The real actors, in which `deadly` stands for a client whose batch crashes the process; and what is advised."""
    what = experiment(tiny_decoder, ner_corpus)
    with poisoned(actors["two"], "train", deadly), pytest.raises(EngineError) as error:
        run(what, tmp_path / "run", actors["two"])
    told = re.search(
        r"^client 2 in round 1: worker processes died 3 times at one task, perhaps for want of memory; try a smaller "
        r"engine.workers or train.batch_size. In one process, for a debugger: (skipfl replay .*)$",
        str(error.value),
    )
    command(told[1], monkeypatch)
    said = capsys.readouterr().out
    assert "client 2 in round 1 is redone" in said
    assert "clients.csv has no such row: the run did not get so far" in said


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:a worker process died")
def test_a_client_is_not_blamed_for_those_that_were_handed_out_with_it(tmp_path, tiny_decoder, ner_corpus, actors):
    """Of 20 clients one actor is handed five at once: the loss of these counts against none of them."""
    partition = {"name": "dirichlet", "clients": 20, "alpha": 5, "min_size": 1}
    what = experiment(tiny_decoder, ner_corpus, partition=partition, rounds=1)
    (folder := tmp_path / "deaths").mkdir()
    with poisoned(actors["one"], "train", deadly_thrice(folder)):
        assert run(what, tmp_path / "run", actors["one"])["lost_workers"] == 3
    run(what, tmp_path / "serial")
    same_results(tmp_path / "run", tmp_path / "serial")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:a worker process died")
def test_a_client_whose_evaluation_always_ends_its_worker_is_named(
    tmp_path, tiny_decoder, ner_corpus, actors, monkeypatch
):
    """FedPer's clients have models of their own. What is advised redoes the round and the evaluation, to the end."""
    what = experiment(tiny_decoder, ner_corpus, {"name": "fedper", "layers": 2})
    with poisoned(actors["two"], "evaluate", deadly_evaluate), pytest.raises(EngineError) as error:
        run(what, tmp_path / "run", actors["two"])
    told = re.search(
        r"^evaluation of client \d after round 1: worker processes died 3 times at one task, .*engine.workers or "
        r"evaluate.batch_size. In one process, for a debugger: (skipfl run --resume \S+ engine.executor=serial)$",
        str(error.value),
    )
    command(told[1], monkeypatch)
    run(what, tmp_path / "serial")
    same_results(tmp_path / "run", tmp_path / "serial")


class Fragile(ResidentWorker):
    """Dies when it is told of the global values, until so many have died: each leaves a file."""

    def __init__(self, gpu: float, folder: Path, deaths: int) -> None:
        super().__init__(gpu)
        self.folder, self.deaths = folder, deaths

    def call(self, method, *arguments):
        if method == "receive" and len(list(self.folder.iterdir())) < self.deaths:
            (self.folder / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().call(method, *arguments)


@contextmanager
def successors(executor, kind, *arguments):
    """Within the block, actors of another kind take the place of lost ones."""
    new, executor._new = executor._new, partial(ray.remote(kind).options(num_cpus=1).remote, 0.0, *arguments)
    try:
        yield
    finally:
        executor._new = new
        executor.replace(0, restart=False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:a worker process died")
def test_those_that_take_a_lost_ones_place_may_die_too(tmp_path, tiny_decoder, ner_corpus, actors):
    """Twice changes nothing; always is told as it is."""
    what = experiment(tiny_decoder, ner_corpus)
    run(what, tmp_path / "serial")
    for deaths in (2, 100):
        (folder := tmp_path / f"deaths{deaths}").mkdir()
        with successors(actors["one"], Fragile, folder, deaths), Killer(actors["one"], (8,)):
            if deaths == 2:
                assert run(what, tmp_path / "run", actors["one"])["lost_workers"] == 3
                same_results(tmp_path / "run", tmp_path / "serial")
                continue
            with pytest.raises(EngineError, match=r"^worker processes died 3 times as they took the place of a lost"):
                run(what, tmp_path / "never", actors["one"])
        assert len(list(folder.iterdir())) == 3


@pytest.mark.filterwarnings("ignore:a worker process died")
def test_a_worker_that_cannot_begin_tells_why(tmp_path, tiny_decoder, ner_corpus, actors):
    """It is no loss: nothing is tried again."""

    class Broken:
        def __init__(self, gpu):
            raise ImportError("libmissing.so.1: cannot open shared object file")

        def start(self, job):
            pass

    told = r"^a worker process cannot begin: ImportError: libmissing\.so\.1: cannot open"
    with successors(actors["one"], Broken):
        with Killer(actors["one"], (8,)), pytest.raises(EngineError, match=told):
            run(experiment(tiny_decoder, ner_corpus), tmp_path / "run", actors["one"])
        assert actors["one"].lost == 1


@pytest.mark.parametrize("method", ["_begin_job", "train"])
def test_a_full_gpu_is_told_with_what_to_change(method, tmp_path, tiny_decoder, ner_corpus, actors, monkeypatch):
    """And with what was estimated; as the model is loaded, too. On the CPU the error is raised by hand."""

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Worker, method, full)
    what = experiment(tiny_decoder, ner_corpus)
    with pytest.raises(MemoryShortageError) as error:
        simulate({tmp_path / "run": what})
    (estimated,) = [value for name, value in make_plan(what).rows() if name == "memory of a worker"]
    assert str(error.value) == (
        "the GPU has no memory left: take a smaller train.batch_size or train.batch_tokens (sub-words a step, instead "
        "of a number of texts), evaluate.batch_size or model.max_length; `skipfl plan` estimates "
        f"{estimated.removeprefix('about ')} a worker"
    )
    assert "fewer than engine.workers = 2, a smaller" in str(gpu_error(actors["two"], torch.OutOfMemoryError()))


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


def test_a_worker_fills_its_share_of_a_gpu_and_no_more(monkeypatch):
    """What it would tell CUDA, on a machine that has none: of 24 GB a quarter, of which CUDA itself takes 0.6 GB."""
    shares = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=24_000_000_000))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    ResidentWorker(0.25)
    ResidentWorker(0.0)
    assert shares == [0.225]
