"""Interrupted and resumed is uninterrupted, bit for bit; damaged checkpoints; one process a folder."""

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock

from simulate.api import replay, simulate
from simulate.config import ConfigError, resumable
from simulate.engine.checkpoint import FORMAT, Checkpoints
from simulate.engine.records import RunFolder, RunFolderError, check_unused, environment
from simulate.engine.serial_executor import SerialExecutor
from simulate.errors import one_line
from simulate.experiment import forget_corpora
from tests.runs import FAULTS, IN_ROUND_4, SGD, Mortal, Stopped, experiment, interrupted, run, same_results

ROOT = Path(__file__).parents[2]
HALF = {"cohort": {"count": 2}}
DECODER = "tiny_decoder", "ner_corpus"


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
    method = {"name": "fedper", "layers": 2, "personal_layers": 1}
    changes = {"aggregation": "median", "server": {"name": "adam", "lr": 0.01}, "faults": FAULTS | {"min_clients": 3}}
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


def test_what_is_counted_by_the_last_process_alone_says_since_when(tiny_decoder, ner_corpus, tmp_path):
    """Stopped in round 2 of 2: what the first process had served is not counted."""
    what = experiment(tiny_decoder, ner_corpus)
    whole = run(what, tmp_path / "whole")
    resumed = run(what, interrupted(what, tmp_path / "run", 9))
    for summary, since in ((whole, 0), (resumed, 1)):
        assert summary["peak_memory_since_round"] == summary["prefix_cache"]["since_round"] == since
    assert resumed["prefix_cache"]["windows_served"] < whole["prefix_cache"]["windows_served"]


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
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        interrupted(what, folder, 1 if every else 2)  # also right after the beginning
        run(what, folder)
    begins = "begins again, 3 rounds had been done, but there is no checkpoint to go on from (engine.checkpoint_every)"
    assert [str(warning.message) for warning in told] == ([] if every else [f"{folder}: {begins}"])
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


@pytest.mark.parametrize("other", [None, FORMAT + 1])
def test_a_checkpoint_of_another_format_is_refused(other, stopped):
    """Of an older version, which gave none a number, or of a newer one: by its number, not by what it may lack."""
    what, folder, whole = stopped
    for round_ in (2, 3):
        manifest = files_of(folder, round_)["manifest"]
        body = json.loads(manifest.read_text())
        del body["sha256"], body["facts"]["ledger"], body["format"]
        body |= {} if other is None else {"format": other}
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        manifest.write_text(json.dumps({"sha256": digest, **body}))
    kept = sorted(file.name for file in (folder / "checkpoint").iterdir())
    told = (
        rf"round3\.json: a checkpoint of format {other or 1}, where this version of skipfl reads format {FORMAT}: "
        r"go on with the version that began this run \(.*\), or remove .*checkpoint to begin the run again$"
    )
    for go_on in (lambda: run(what, folder), lambda: replay(folder, 4, 1)):
        with pytest.raises(RunFolderError, match=told):
            go_on()
    assert sorted(file.name for file in (folder / "checkpoint").iterdir()) == kept
    shutil.rmtree(folder / "checkpoint")
    run(what, folder)
    same_results(folder, whole)


def test_whoever_changes_what_is_remembered_raises_the_format(stopped):
    """This is format 2: a run goes on only from a checkpoint of its own format, and in tables of its columns."""
    _, folder, _ = stopped
    body = json.loads(files_of(folder, 3)["manifest"].read_text())
    assert (body["format"], FORMAT) == (2, 2)
    assert set(body) == {"sha256", "format", "experiment", "round", "tensors", "clients", "files", "tables", "facts"}
    assert set(body["facts"]) == {
        *("changes", "ledger", "visited", "transfers"),
        *("totals", "faults", "history", "stopped", "seconds_total", "lost_workers"),
    }
    assert set(body["facts"]["faults"]) == {"dropped", "late", "rejected", "rejected_scores", "skipped"}
    rounds, clients = (pd.read_csv(folder / f"{table}.csv") for table in ("rounds", "clients"))
    assert [column for column in rounds if not column.startswith(("validation_", "test_"))] == [
        *("round", "train_loss", "bytes_up", "bytes_down", "bytes_setup", "bytes_total", "bytes_setup_total"),
        *("clients", "dropped", "late", "rejected", "rejected_scores", "skipped"),
        *("seconds_train", "seconds_aggregate", "seconds_evaluate", "seconds_worker_load", "seconds_worker_prefix"),
        *("seconds_worker_steps", "seconds_worker_send", "seconds_total", "epsilon"),
    ]
    assert list(clients) == [
        *("round", "client", "examples", "steps", "loss", "update_norm", "layers"),
        *("bytes_up", "bytes_down", "bytes_setup", "seconds", "status", "reason", "scores_status", "scores_reason"),
    ]


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


@pytest.fixture
def own_model(tiny_decoder, tmp_path):
    """A copy of the small model that a test may change."""
    return Path(shutil.copytree(tiny_decoder, tmp_path / "model"))


def test_a_model_that_changed_is_noticed(own_model, ner_corpus, tmp_path):
    """The last bit of the weights, a setting, a word of the vocabulary, and files of the tokenizer come and gone; a
    model that is back, by way of a link to where it has been moved, is the one that the run began with."""
    (own_model / "merges.txt").touch()
    what = experiment(own_model, ner_corpus, rounds=3)
    run(what, tmp_path / "whole")
    folder = interrupted(what, tmp_path / "run", 9)
    before = {file: file.read_bytes() for file in own_model.iterdir()}
    changes = {
        "model.safetensors": lambda old: old[:-1] + bytes([old[-1] ^ 1]),
        "config.json": lambda old: old.replace(b'"rms_norm_eps": 1e-06', b'"rms_norm_eps": 2e-06'),
        "tokenizer.json": lambda old: old.replace(b'"word3"', b'"wordz"'),
        "merges.txt": None,
        "vocab.txt": lambda old: b"word1",
    }
    for name, change in changes.items():
        file = own_model / name
        if change is None:
            file.unlink()
            now = "is gone"
        else:
            old = before.get(file, b"")
            file.write_bytes(change(old))
            assert file.read_bytes() != old
            now = "has changed" if file in before else "is new"
        for go_on in (lambda: run(what, folder), lambda: replay(folder, 1, 0)):
            forget_corpora()
            with pytest.raises(RunFolderError, match=rf"run: {name} of the model {now} since this run began: restore"):
                go_on()
        file.unlink(missing_ok=True)
        if file in before:
            file.write_bytes(before[file])
    forget_corpora()
    own_model.rename(tmp_path / "elsewhere")
    own_model.symlink_to(tmp_path / "elsewhere")
    run(what, folder)
    assert resumed_after(folder) == [1]
    same_results(folder, tmp_path / "whole")


def test_a_study_is_refused_before_its_first_run(stopped, tmp_path):
    """The second of two runs was interrupted, and its model is another now: the first is not begun."""
    what, folder, _ = stopped
    file = folder / "environment.json"
    record = json.loads(file.read_text())
    record["model_sha256"]["model.safetensors"] = "0" * 64
    file.write_text(json.dumps(record))
    with pytest.raises(RunFolderError, match=r"cut: model\.safetensors of the model has changed"):
        simulate({tmp_path / "first": what.model_copy(update={"seed": 1}), folder: what})
    assert not (tmp_path / "first").exists()


def test_random_weights_do_not_depend_on_those_in_the_folder(own_model, ner_corpus, tmp_path):
    what = experiment(own_model, ner_corpus, reading={"max_length": 32, "pretrained": False})
    folder = interrupted(what, tmp_path / "run", 9)
    recorded = json.loads((folder / "environment.json").read_text())["model_sha256"]
    assert set(recorded) == {"config.json", "tokenizer.json", "tokenizer_config.json"}
    (own_model / "model.safetensors").unlink()
    run(what, folder)
    assert resumed_after(folder) == [1]


@pytest.mark.parametrize(
    ("before", "here", "remedy"),
    [
        ("cuda", "cpu", "go on where there is a GPU"),
        ("cpu", "cuda", r"hide the GPU \(CUDA_VISIBLE_DEVICES=\)"),
    ],
)
def test_a_run_does_not_go_on_on_another_device(before, here, remedy, stopped):
    """As `engine.device: auto` may have it; what is recorded is that of the process that went on last."""
    what, folder, whole = stopped
    file = folder / "environment.json"
    record = json.loads(file.read_text())
    assert record["device"] == "cpu"
    file.write_text(json.dumps(record | {"resumed": [*record.get("resumed", []), record | {"device": before}]}))
    executor = SerialExecutor(what.engine)
    executor.device = here
    told = rf"was on {before} so far, and would not come to the same results on {here}: {remedy}, or begin another run"
    with pytest.raises(RunFolderError, match=told):
        run(what, folder, executor)
    file.write_text(json.dumps(record))
    run(what, folder)
    same_results(folder, whole)


def test_a_record_without_digests_and_device_is_that_of_an_older_run(stopped):
    what, folder, whole = stopped
    for name, keys in {"partition": ["corpus_sha256"], "environment": ["model_sha256", "device", "commit"]}.items():
        file = folder / f"{name}.json"
        record = json.loads(file.read_text())
        file.write_text(json.dumps({key: value for key, value in record.items() if key not in keys}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(what, folder)
    same_results(folder, whole)
    assert "corpus_sha256" in json.loads((folder / "partition.json").read_text())
    record = json.loads((folder / "environment.json").read_text())
    assert set(record["model_sha256"]) >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert record["resumed"][-1]["device"] == "cpu"
    assert "device" not in record  # nobody knows where it began


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


@pytest.mark.parametrize("kind", [errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_told(kind, tiny_decoder, ner_corpus, tmp_path, monkeypatch):
    """In its words, raised by hand; a folder that is only read needs none. No marker file takes a lock's place."""

    def refuse(descriptor, operation):
        raise OSError(kind, os.strerror(kind))

    what = experiment(tiny_decoder, ner_corpus)
    folder = interrupted(what, tmp_path / "run", 9)
    assert (folder / ".lock").exists()
    with monkeypatch.context() as patch:
        patch.setattr("simulate.one_writer.fcntl.flock", refuse)
        check_unused(folder)
        with pytest.raises(OSError, match=os.strerror(kind)) as error, RunFolder(folder, what.resolved()):
            pass
    assert one_line(error.value) == f"{folder / '.lock'}: {os.strerror(kind)}"
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
    environment["processor"] = "abacus"
    environment["code"] = "0" * 64  # of the same commit: edited
    (folder / "environment.json").write_text(json.dumps(environment))
    with pytest.warns(UserWarning, match="goes on with other packages and processor and code than it began with"):
        run(what, folder)


def test_edited_code_and_the_processor_are_recorded(tmp_path):
    """A copy of the sources, and the same with another line in a method."""
    for package in ("baselines", "partitions", "simulate", "results"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("reference", "tiny_llama"))
    program = "import json, simulate.engine.records as records; print(json.dumps(records.environment()))"

    def recorded() -> dict:
        command = [sys.executable, "-c", program]
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True
        )
        return json.loads(done.stdout)

    first = recorded()
    assert first["code"] == environment()["code"]
    with (tmp_path / "baselines" / "fedavg.py").open("a") as stream:
        stream.write("# edited\n")
    assert recorded()["code"] != first["code"]
    assert first["processor"] == environment()["processor"] != ""


def test_checkpoints_go_when_what_came_out_is_on_the_disk(tiny_decoder, ner_corpus, tmp_path, monkeypatch):
    """The names of the model's files and of the summary are synced, in this order, before a checkpoint is removed."""
    done = []

    def noted(kind, name, what):
        original = getattr(kind, name)

        def wrapped(*arguments, **options):
            done.append((name, what(*arguments)))
            return original(*arguments, **options)

        monkeypatch.setattr(kind, name, wrapped)

    noted(os, "fsync", lambda descriptor: os.fstat(descriptor).st_ino)
    noted(Path, "replace", lambda file, target: target.name)
    noted(shutil, "rmtree", lambda folder, **_: folder.name)
    folder = tmp_path / "run"
    run(experiment(tiny_decoder, ner_corpus), folder)
    last = {what: place for place, what in enumerate(done)}
    places = [
        last["replace", "exchanged.safetensors"],
        last["fsync", (folder / "model").stat().st_ino],
        last["fsync", folder.stat().st_ino],
        last["rmtree", "checkpoint"],
    ]
    assert places == sorted(places)
    assert places[0] < last["replace", "summary.json"] < places[2]
