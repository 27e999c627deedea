"""Interrupted and resumed is uninterrupted, bit for bit; damaged checkpoints; one process a folder."""

import errno
import hashlib
import json
import re
import shutil
import warnings
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock

from simulate.api import replay
from simulate.config import ConfigError, resumable
from simulate.engine.checkpoint import Checkpoints
from simulate.engine.records import RunFolder, RunFolderError
from simulate.engine.serial_executor import SerialExecutor
from simulate.experiment import forget_corpora
from tests.runs import experiment, run, same_results

SGD = {"train": {"lr": 0.05, "batch_size": 4, "optimizer": "sgd", "weight_decay": 0, "clip_norm": None}}
HALF = {"cohort": {"count": 2}}
DECODER = "tiny_decoder", "ner_corpus"


class Stopped(Exception):
    """What ends a run in these tests; real signals do in `test_signals.py` and `test_kills.py`."""


class Mortal(SerialExecutor):
    """Ends the run when it has done so many tasks."""

    def __init__(self, settings, tasks: int) -> None:
        super().__init__(settings)
        self.left = tasks

    def run(self, tasks):
        for done in super().run(tasks):
            self.left -= 1
            if not self.left:
                raise Stopped
            yield done


IN_ROUND_4 = 2 + 3 * (2 + 2) + 1
"""Tasks of a run with cohorts of two: validation and test of the untrained model, three rounds, and one client."""


def interrupted(what, folder, tasks: int):
    """A run that ends after so many tasks, of training or evaluation."""
    with pytest.raises(Stopped):
        run(what, folder, Mortal(what.engine, tasks))
    return folder


def resumed_after(folder) -> list[int]:
    """After which round each process but the first went on."""
    starts = json.loads((folder / "environment.json").read_text())["resumed"]
    return [start["after_round"] for start in starts if start["after_round"] is not None]


@pytest.mark.parametrize(
    ("method", "family", "task", "changes"),
    [
        ("layer_skipping", "tiny_encoder", "ner_corpus", {"server": {"name": "adam", "lr": 0.01}}),
        ({"name": "fedper", "layers": 2, "personal_layers": 1}, "tiny_decoder", "ner_corpus", {}),
        ({"name": "flora", "ranks": [1, 2]}, "tiny_decoder", "text_corpus", {"evaluate": {"every": 2}}),
        ({"name": "fedex_lora", "rank": 1}, "tiny_decoder", "text_corpus", {"server": {"name": "average"}}),
        ({"name": "layer_skipping", "layers": 2, "policy": "weight_change", "warmup_rounds": 1}, *DECODER, {}),
        ({"name": "scaffold", "layers": 2, "policy": "random"}, *DECODER, SGD),
    ],
    ids=str,
)
def test_interrupted_is_uninterrupted(method, family, task, changes, tmp_path, request):
    """Three rounds, stopped in the third: rounds 1 and 2 are not done again."""
    what = experiment(
        request.getfixturevalue(family), request.getfixturevalue(task), method, rounds=3, **HALF, **changes
    )
    executor = Mortal(what.engine, 10_000)
    run(what, tmp_path / "whole", executor)
    tasks = 10_000 - executor.left
    folder = interrupted(what, tmp_path / "cut", tasks - 2)
    run(what, folder)
    same_results(folder, tmp_path / "whole")
    assert resumed_after(folder) == [2]
    assert not (folder / "checkpoint").exists()
    assert not (folder / ".lock").exists()


def test_simulated_faults_go_on_as_they_began(tiny_decoder, ner_corpus, tmp_path):
    """Updates lost in every way, personal layers, a robust aggregation and Adam at the server; stopped in round 5."""
    faults = {"availability": 0.9, "dropout": 0.2, "corrupted": 0.2, "slowness": 0.5, "deadline": 8, "min_clients": 3}
    method = {"name": "fedper", "layers": 2, "personal_layers": 1}
    changes = {"aggregation": "median", "server": {"name": "adam", "lr": 0.01}, "faults": faults}
    what = experiment(tiny_decoder, ner_corpus, method, rounds=6, **changes)
    executor = Mortal(what.engine, 10_000)
    run(what, tmp_path / "whole", executor)
    clients = pd.read_csv(tmp_path / "whole" / "clients.csv")
    assert {"ok", "dropped", "late", "rejected", "skipped"} == set(clients["status"])
    tasks = 10_000 - executor.left
    evaluated = 2 * len(clients[clients["status"] == "ok"]["client"].unique())
    last = (clients[clients["round"] == 6]["status"] != "dropped").sum() + evaluated
    folder = interrupted(what, tmp_path / "cut", tasks - last - 1)
    run(what, folder)
    same_results(folder, tmp_path / "whole")
    assert resumed_after(folder) == [4]


def test_early_stopping_counts_the_rounds_before_the_interruption(tiny_decoder, text_corpus, tmp_path):
    settings = {"rounds": 7, "evaluate": {"patience": 2}, "train": {"lr": 1e-12, "optimizer": "sgd"}}
    what = experiment(tiny_decoder, text_corpus, "fedavg", **settings)
    assert run(what, tmp_path / "whole")["rounds"] == 3
    tasks = 2 + 2 * (4 + 2)  # the untrained model's splits, and two rounds of four clients
    folder = interrupted(what, tmp_path / "cut", tasks + 1)
    assert run(what, folder)["stopped"]
    same_results(folder, tmp_path / "whole")
    assert resumed_after(folder) == [2]


def test_workers_lost_before_the_interruption_count(tiny_decoder, ner_corpus, tmp_path):
    what = experiment(tiny_decoder, ner_corpus)
    first = Mortal(what.engine, 9)
    first.lost = 2
    with pytest.raises(Stopped):
        run(what, tmp_path / "run", first)
    assert run(what, tmp_path / "run")["lost_workers"] == 2


def test_a_run_that_had_stopped_is_not_trained_further(tiny_decoder, text_corpus, tmp_path, monkeypatch):
    settings = {"rounds": 7, "evaluate": {"patience": 1}, "train": {"lr": 1e-12, "optimizer": "sgd"}}
    what = experiment(tiny_decoder, text_corpus, "fedavg", **settings)

    def stop(*_):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr("simulate.experiment.export", stop)
        with pytest.raises(Stopped):
            run(what, tmp_path / "run")
    assert run(what, tmp_path / "run", Mortal(what.engine, 1))["rounds"] == 2  # one task would end it


@pytest.fixture(scope="module")
def scaffold(tiny_decoder, ner_corpus, tmp_path_factory):
    """Four rounds of SCAFFOLD, half of four clients in each: the experiment, the run, and it stopped in round 4."""
    what = experiment(tiny_decoder, ner_corpus, {"name": "scaffold", "layers": 2}, rounds=4, **SGD, **HALF)
    folder = tmp_path_factory.mktemp("scaffold")
    run(what, folder / "whole")
    return what, folder / "whole", interrupted(what, folder / "cut", IN_ROUND_4)


@pytest.fixture
def stopped(scaffold, tmp_path):
    """The experiment, a copy of the stopped run, and what it would have become."""
    what, whole, cut = scaffold
    return what, Path(shutil.copytree(cut, tmp_path / "cut")), whole


@pytest.mark.parametrize(("every", "after"), [(2, 2), (None, 0)])
def test_checkpoints_every_other_round_and_never(every, after, scaffold, tmp_path):
    """Stopped in round 4: with a checkpoint every two rounds it goes on after round 2, with none it begins again."""
    what, whole, _ = scaffold
    what = what.model_copy(update={"engine": what.engine.model_copy(update={"checkpoint_every": every})})
    folder = interrupted(what, tmp_path / "cut", IN_ROUND_4)
    assert (folder / "checkpoint").is_dir() == bool(every)
    interrupted(what, folder, 1 if every else 2)  # also right after the beginning
    run(what, folder)
    assert resumed_after(folder) == [after, after]
    same_results(folder, whole)


def files_of(folder, round_: int) -> dict[str, object]:
    """What a checkpoint consists of, by kind."""
    manifest = folder / "checkpoint" / f"round{round_}.json"
    body = json.loads(manifest.read_text())
    own = {name for name in body["files"] if name.endswith(f"round{round_}.safetensors")}
    clients = sorted(name for name in own if name.startswith("client"))
    return {"manifest": manifest, "tensors": manifest.parent / body["tensors"], "client": manifest.parent / clients[0]}


def test_a_checkpoint_holds_what_clients_keep_once(stopped):
    """Rounds 2 and 3 are kept; a client's file is that of the round in which it trained last."""
    _, folder, _ = stopped
    clients = pd.read_csv(folder / "clients.csv")
    expected = {"round2.json", "round2.safetensors", "round3.json", "round3.safetensors"}
    for last in (2, 3):
        latest = clients[clients["round"] <= last].groupby("client")["round"].max()
        expected |= {f"client{client}-round{round_}.safetensors" for client, round_ in latest.items()}
    assert {file.name for file in (folder / "checkpoint").iterdir()} == expected


@pytest.mark.parametrize("harm", ["cut", "changed", "gone"])
@pytest.mark.parametrize("part", ["manifest", "tensors", "client"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(part, harm, stopped):
    what, folder, whole = stopped
    file = files_of(folder, 3)[part]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(content[: len(content) // 2] if harm == "cut" else content)
    with warnings.catch_warnings(record=True) as caught, RunFolder(folder, what.resolved()) as records:
        found = Checkpoints(records, 1).resume()
    assert found is not None
    assert found.round == 2
    told = [str(warning.message) for warning in caught]
    if (part, harm) == ("manifest", "gone"):
        assert not told  # nothing says that there ever was one
    else:
        assert len(told) == 1
        assert re.search(r"round3\.json: damaged \(.*\); what was done since is redone, from round 3 on", told[0])
    assert {file.stem.split("round")[1] for file in found.clients.values()} <= {"1", "2"}
    if (part, harm) == ("client", "changed"):
        run(what, folder)
        assert resumed_after(folder)[-1] == 2
        same_results(folder, whole)


def test_without_a_whole_checkpoint_nothing_is_removed_until_the_user_does(stopped):
    what, folder, whole = stopped
    for round_ in (2, 3):
        files_of(folder, round_)["tensors"].unlink()
    (folder / "checkpoint" / "round3 (copy).json").write_text("[]")  # no manifest
    left = sorted(file.name for file in folder.rglob("*"))
    with (
        pytest.warns(UserWarning, match=r"round\d\.json: damaged \(round\d\.safetensors is gone\)$") as told,
        pytest.raises(RunFolderError, match="no checkpoint in it is whole; remove this folder to begin the run again"),
    ):
        run(what, folder)
    assert len(told) == 2
    assert set(left) <= {file.name for file in folder.rglob("*")}
    shutil.rmtree(folder / "checkpoint")
    run(what, folder)
    assert resumed_after(folder)[-1] == 0
    same_results(folder, whole)


def test_what_cannot_be_read_now_is_no_damage(stopped, monkeypatch):
    """An error of the file system passes: nothing is redone or removed for it."""
    what, folder, whole = stopped
    kept = sorted(file.name for file in (folder / "checkpoint").iterdir())

    def failing(stream, algorithm):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", failing)
        with pytest.raises(RunFolderError, match=r"safetensors: cannot be read \(Input/output error\)"):
            run(what, folder)
    assert sorted(file.name for file in (folder / "checkpoint").iterdir()) == kept
    run(what, folder)
    same_results(folder, whole)


@pytest.mark.parametrize("table", ["rounds.csv", "clients.csv"])
def test_records_that_lost_rows_are_noticed(table, stopped):
    """The last row of round 3 is half gone: its checkpoint counts as damaged, that of round 2 does not."""
    what, folder, whole = stopped
    file = folder / table
    lines = file.read_bytes().splitlines(keepends=True)
    assert lines[-1].startswith(b"3,")
    file.write_bytes(b"".join(lines[:-1]) + lines[-1][:5])
    with pytest.warns(UserWarning, match=rf"{table} no longer holds the rows of 3 rounds"):
        run(what, folder)
    same_results(folder, whole)


def test_rows_after_the_checkpoint_are_cut(stopped):
    what, folder, whole = stopped
    with (folder / "rounds.csv").open("a") as stream:
        stream.write("4,0.5,0.3")
    with (folder / "clients.csv").open("a") as stream:
        stream.write("4,0,15,3,0.7,1.0,\n4,1,1")
    run(what, folder)
    same_results(folder, whole)


def test_a_checkpoint_of_another_experiment_is_refused(stopped, tiny_decoder, ner_corpus, tmp_path):
    what, folder, _ = stopped
    other = experiment(tiny_decoder, ner_corpus, rounds=4, seed=1)
    interrupted(other, tmp_path / "other", 2 + 3 * (4 + 2) + 1)
    for file in (folder / "checkpoint").iterdir():
        file.unlink()
    for file in (tmp_path / "other" / "checkpoint").iterdir():
        file.rename(folder / "checkpoint" / file.name)
    with pytest.raises(RunFolderError, match=r"round3\.json: a checkpoint of another experiment; remove .*checkpoint"):
        run(what, folder)


@pytest.mark.parametrize(
    ("split", "change"),
    [
        ("train", lambda lines: lines[:-5]),
        ("train", lambda lines: [lines[0].replace("word", "ward"), *lines[1:]]),
        ("test", lambda lines: [*lines[:-1], lines[-1].replace("word", "ward")]),
    ],
    ids=["fewer examples", "another word", "another word of the test split"],
)
def test_a_corpus_that_changed_is_noticed(split, change, tiny_decoder, ner_corpus, tmp_path):
    corpus = tmp_path / "corpus"
    shutil.copytree(ner_corpus, corpus)
    file = corpus / f"{split}.jsonl"
    before = file.read_text()
    what = experiment(tiny_decoder, corpus, rounds=3)
    folder = interrupted(what, tmp_path / "run", 9)
    forget_corpora()
    lines = before.splitlines(keepends=True)
    file.write_text("".join(change(lines)))
    assert (len(file.read_text()) == len(before)) == (len(change(lines)) == len(lines))
    assert file.read_text() != before
    for go_on in (lambda: run(what, folder), lambda: replay(folder, 1, 0)):
        with pytest.raises(
            RunFolderError, match="the corpus, or what the clients hold of it, is no longer what it was"
        ):
            go_on()
        forget_corpora()
    file.write_text(before)
    run(what, folder)
    assert resumed_after(folder)[-1] == 1


def test_a_record_without_digests_of_the_corpus_is_that_of_an_older_run(tiny_decoder, ner_corpus, tmp_path):
    what = experiment(tiny_decoder, ner_corpus)
    folder = interrupted(what, tmp_path / "run", 9)
    record = json.loads((folder / "partition.json").read_text())
    del record["corpus_sha256"]
    (folder / "partition.json").write_text(json.dumps(record))
    run(what, folder)
    assert "corpus_sha256" in json.loads((folder / "partition.json").read_text())


def test_a_killed_start_leaves_a_folder_that_can_be_used(tiny_decoder, ner_corpus, tmp_path):
    """Killed before config.yaml was renamed, before environment.json was written, and before the first round."""
    what = experiment(tiny_decoder, ner_corpus)
    run(what, tmp_path / "whole")
    early, late = tmp_path / "early", tmp_path / "late"
    early.mkdir()
    (early / ".config.yaml.tmp").write_text("name: ti")
    (early / ".lock").touch()
    late.mkdir()
    (late / "config.yaml").write_bytes((tmp_path / "whole" / "config.yaml").read_bytes())
    (late / ".environment.json.tmp").write_text("{")
    for folder in (early, late):
        run(what, folder)
        same_results(folder, tmp_path / "whole")
        assert not list(folder.glob(".*"))


def test_one_process_writes_a_folder(tiny_decoder, ner_corpus, tmp_path):
    what = experiment(tiny_decoder, ner_corpus)
    folder = interrupted(what, tmp_path / "run", 5)
    with FileLock(folder / ".lock"), pytest.raises(RunFolderError, match="another process is writing this run"):
        run(what, folder)
    run(what, folder)


def test_engine_settings_that_change_nothing_may_change(tiny_decoder, ner_corpus, tmp_path):
    what = experiment(tiny_decoder, ner_corpus, engine={"executor": "ray", "workers": 2})
    folder = interrupted(what, tmp_path / "run", 9)
    again = resumable(folder, ["engine.executor=serial", "engine.workers=1"])
    assert (again.engine.executor, again.rounds) == ("serial", what.rounds)
    run(again, folder)
    assert resumed_after(folder) == [1]
    for override in ("rounds=9", "engine.threads=2", "train.lr=1"):
        with pytest.raises(ConfigError, match=f"{override.partition('=')[0]} cannot be changed in a run that goes on"):
            resumable(folder, [override])
    with pytest.raises(ConfigError, match=r"nowhere: holds no run: there is no config\.yaml in it"):
        resumable(tmp_path / "nowhere")


def test_other_versions_are_told_of(tiny_decoder, ner_corpus, tmp_path):
    what = experiment(tiny_decoder, ner_corpus)
    folder = interrupted(what, tmp_path / "run", 9)
    environment = json.loads((folder / "environment.json").read_text())
    environment["packages"]["torch"] = "1.0"
    (folder / "environment.json").write_text(json.dumps(environment))
    with pytest.warns(UserWarning, match="goes on with other packages than it began with"):
        run(what, folder)
