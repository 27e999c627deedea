"""The benchmark's races: who runs when, in what copy, what is recorded, continued and refused."""

import dataclasses
import errno
import io
import json
import os
import platform
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from rich.console import Console

from simulate.bench import BenchError, environments, race
from simulate.bench.launch import launch
from simulate.bench.workloads import find_workload, variants_of
from simulate.cli import main
from tests.miniature import MINIATURE


def test_difference_is_relative_to_the_way_of_training():
    start = {"a": torch.tensor([1.0, 1.0]), "unused": torch.ones(3)}
    reference = {"a": torch.tensor([4.0, 5.0])}  # moved by (3, 4): 5
    final = {"a": torch.tensor([4.0, 5.5])}  # 0.5 away
    assert race.difference(final, reference, start) == pytest.approx(0.1)
    with pytest.raises(BenchError, match="exchanged other tensors: a"):
        race.difference({"b": final["a"]}, reference, start)


WHERE = "import results, simulate, baselines; print(results.__file__, simulate.__file__, baselines.__file__)"


def test_what_is_edited_during_a_race_changes_no_contestant(tmp_path, monkeypatch):
    """A race begins in a checkout; its contestants run in a copy that holds no links into it."""
    seen = []

    def show(command, *arguments):
        code = [sys.executable, "-c", WHERE]
        assert command[1] == "-m"  # of both ways Python looks first in the folder where it runs
        seen.append(launch(code, *arguments).code)
        source = tmp_path / "race" / "work" / "source"
        assert not [file for file in (source, *source.rglob("*")) if file.is_symlink()]
        seen.extend(Path(file).is_relative_to(source) for file in arguments[1].read_text().split())
        raise KeyboardInterrupt

    monkeypatch.setattr(race, "launch", show)
    asked = race.Race({"A": MINIATURE}, {"A": ["last5"]}, ["bare"], repeats=1, workers=2)
    with pytest.raises(KeyboardInterrupt):
        race.run_race(asked, tmp_path / "race", Console(file=io.StringIO()))
    assert seen == [0, True, True, True]


def test_a_race_leaves_a_record_of_each_run_and_is_continued(tmp_path):
    small = dataclasses.replace(MINIATURE, held_out=20, rounds=2)
    asked = race.Race({"A": small}, {"A": ["last5"]}, ["serial"], repeats=1, workers=2)
    console = Console(file=(tmp_path / "said").open("w"), width=200)
    file = race.run_race(asked, tmp_path / "race", console)
    (record,) = [json.loads(line) for line in file.read_text().splitlines()]
    assert (record["contestant"], record["status"]) == ("serial", "ok")
    assert record["steps"] == 2 * 3 * 3  # rounds x clients x steps
    assert len(record["round_seconds"]) == 2
    assert record["seconds_per_round"] == pytest.approx(record["round_seconds"][1])
    assert 0 < record["start_seconds"] < record["total_seconds"]
    largest = max(record["main_mb"])  # which the process itself has seen, after each round
    assert 0.8 * largest < record["peak_rss_mb"] < 1.5 * largest
    assert 0.5 * largest < record["peak_pss_mb"] <= record["peak_rss_mb"]
    assert record["weights_differ"] == 0  # the first is what others are compared with
    assert len(record["scores"]) == 2
    assert record["packages"]["torch"] == torch.__version__
    assert not (tmp_path / "race" / "work").exists()
    before, inode = file.read_text(), file.stat().st_ino
    assert race.run_race(asked, tmp_path / "race", console).read_text() == before
    assert file.stat().st_ino == inode  # where nothing is to be done nothing is written
    with (
        FileLock(tmp_path / "race" / ".lock"),
        pytest.raises(BenchError, match="another process is writing this bench"),
        race.held(tmp_path / "race"),
    ):
        pass
    with pytest.raises(BenchError, match="workload A with other settings; choose another folder"):
        race.run_race(dataclasses.replace(asked, workers=3), tmp_path / "race", console)


@pytest.fixture
def recorded(tmp_path, monkeypatch) -> tuple[race.Race, Path]:
    """A race whose contestants only leave a record at once, and its file with two repetitions of two contestants."""

    def run_one(asked, workload, plan, name, variant, repeat, contestant, *_) -> dict[str, object]:
        key = {"workload": name, "variant": variant, "contestant": contestant, "repeat": repeat}
        return key | {"status": "ok", "settings": race._settings(asked, workload), "total_seconds": 1.0}

    monkeypatch.setattr(race, "_run_one", run_one)
    monkeypatch.setattr(race, "_line", lambda record: "")
    asked = race.Race({"A": MINIATURE}, {"A": ["last5"]}, ["skipfl", "bare"], repeats=2, workers=2)
    return asked, race.run_race(asked, tmp_path / "race", Console(file=io.StringIO()))


def runs_in(file: Path) -> list[tuple[int, str]]:
    records = [json.loads(line) for line in file.read_text().splitlines()]
    return [(record["repeat"], record["contestant"]) for record in records]


IN_TURN = [(1, "skipfl"), (1, "bare"), (2, "bare"), (2, "skipfl")]


def test_a_line_cut_short_is_dropped_and_its_repetition_done_again(recorded):
    asked, file = recorded
    assert runs_in(file) == IN_TURN
    whole = file.read_bytes()
    said = io.StringIO()
    file.write_bytes(whole[:-40])
    race.run_race(asked, file.parent, Console(file=said, width=300))
    assert runs_in(file) == IN_TURN
    assert "measured again, of repetitions that lack a contestant: 1" in said.getvalue()
    file.write_bytes(whole[:-1])  # all but the end of the line
    race.run_race(asked, file.parent, Console(file=said))
    assert runs_in(file) == IN_TURN
    file.write_bytes(b"{}\n" + whole)
    with pytest.raises(BenchError, match=r"records.jsonl, line 1: is no record of a run; remove it, or choose another"):
        race.run_race(asked, file.parent, Console(file=said))
    assert file.read_bytes() == b"{}\n" + whole


def test_records_survive_a_full_disk(recorded, monkeypatch):
    """What there was is there until the file that takes its place is whole."""
    asked, file = recorded
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:3]))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left on device.*records.jsonl"):
            race.run_race(asked, file.parent, Console(file=io.StringIO()))
    assert file.read_bytes() == b"".join(lines[:3])
    race.run_race(asked, file.parent, Console(file=io.StringIO()))
    assert runs_in(file) == IN_TURN


FAULTS = """
import resource
held = bytearray(64_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    del held
    held = bytearray(64_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
@pytest.mark.parametrize(("name", "kept"), [("bare", True), ("loop", True), ("loop-threads", True), ("flower", False)])
def test_bare_loops_keep_freed_memory_as_our_workers_do(name, kept, tmp_path):
    """64 MB are 15 625 pages of 4 kB; what is freed and kept costs no page fault when it is used again."""
    environment = race._environment(race.CONTESTANTS[name], tmp_path, 1)
    assert ("hugetlb=1" in environment.get("GLIBC_TUNABLES", "")) == kept
    said = subprocess.run([sys.executable, "-c", FAULTS], env=environment, capture_output=True, check=True).stdout
    assert (int(said) < 1000) == kept


def test_each_repetition_begins_with_another_contestant():
    assert [race._order(["a", "b", "c"], repeat) for repeat in (1, 2, 3, 4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


def test_time_left_is_that_of_the_same_run_or_the_mean_of_all():
    durations = {("A", "full", "bare"): [10.0, 20.0], ("A", "full", "pfl"): [60.0]}
    # bare again: 15; one never seen: (10 + 20 + 60) / 3 = 30
    assert race._left(durations, [("A", "full", "bare"), ("B", "full", "bare")]) == 45


def test_wrong_requests_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    with pytest.raises(BenchError, match="unknown peer 'flowr'; did you mean 'flower'"):
        race.check_peers(["bare", "flowr"])
    with pytest.raises(BenchError, match=r"flower: no environment .*flower; make it with `python -m simulate.bench.en"):
        race.check_peers(["bare", "flower"])
    with pytest.raises(BenchError, match="unknown workload 'E'; known: A, B, C"):
        find_workload("E")
    with pytest.raises(BenchError, match="--cohort 200: workload A has 100 clients"):
        find_workload("A", cohort=200)
    with pytest.raises(BenchError, match="--variants 'lora': workload C has full"):
        variants_of("C", ["lora"])
    with pytest.raises(BenchError, match="unknown peer 'x'; known: flower, pfl"):
        environments.make("x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--peers", "bare,flower"],
            "flower: no environment .bench/flower; make it with `python -m simulate.bench.environments flower`",
        ),
        (["--workload", ","], "--workload ',': expected names separated by commas"),
        (["--peers", ","], "--peers ',': expected names separated by commas"),
        (["--peers", "bear"], "unknown peer 'bear'; did you mean 'bare'?"),
        (["--workload", "C", "--variants", "last5"], "--variants 'last5': workload C has full"),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["skipfl", "bench", *arguments, "-o", "out"])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the command sets its own
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines() == [f"error: {message}"]
    assert not (tmp_path / "out").exists()
