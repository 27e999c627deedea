"""SIGINT and SIGTERM: the command stops within seconds, says how to go on, and leaves nothing behind."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch
from uuid import uuid4

import pytest

from simulate.signals import PATIENCE
from tests.command import SKIPFL
from tests.fault_suite import gone
from tests.kills import Victim
from tests.processes import MARK, forked, marked, shared_memory, write_config
from tests.runs import experiment, run, same_results

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def status(folder: Path) -> str:
    return json.loads((folder / "environment.json").read_text())["status"]


def wait_for(condition, seconds: float = 180) -> float:
    """How many seconds it took until something was so."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds
        time.sleep(0.02)
    return time.monotonic() - begin


def interrupt(victim: Victim, stage: str, number: int, round_: int = 1, step: str = "") -> None:
    """Send a signal to a process when it is at a stage of a round, or beyond, and there at a step."""
    sent = False
    for moment in victim.moments():
        if not sent and moment.round >= round_ and moment.stage == stage and step in ("", moment.step):
            os.kill(victim.process.pid, number)
            sent = True
    assert sent, (stage, step)


PLACES = [
    ("training", 1, ""),
    ("evaluation", 1, ""),
    ("records", 1, "sync 1"),
    ("checkpoint", 1, ""),
    ("resume", 0, ""),
    ("aggregation", 2, ""),
    ("export", 2, ""),
    ("export", 2, "rename 1"),
    ("finish", 2, "no. 1"),
    ("finish", 2, "sync 1"),
    ("finish", 2, "rename 1"),
    ("finish", 2, "rename 2"),
]
"""Where a run of two rounds is interrupted, in this order. At the last two all is written but for a name: that of
environment.json, which says that the run is finished, and that of summary.json, with which it is."""


def test_a_signal_at_any_stage(tiny_decoder, ner_corpus, tmp_path):
    """One run, interrupted again and again."""
    what = experiment(tiny_decoder, ner_corpus, {"name": "fedper", "layers": 2})
    run(what, tmp_path / "whole")
    command = ["run", write_config(what, tmp_path), "-o", "out"]
    for place, (stage, round_, step) in enumerate(PLACES):
        number = list(CODES)[place % 2]
        victim = Victim(*command, cwd=tmp_path)
        interrupt(victim, stage, number, round_, step)
        assert victim.process.exitcode == CODES[number], stage
        assert (tmp_path / "errors").read_text() == "interrupted; to go on: skipfl run --resume out\n"
        assert status(tmp_path / "out") == "interrupted"
        assert not (tmp_path / "out" / "summary.json").exists()
        assert not list((tmp_path / "out").rglob("*.tmp"))
        command = ["run", "--resume", "out"]
    victim = Victim(*command, cwd=tmp_path)
    interrupt(victim, "finish", signal.SIGTERM, 2, "unlink 1")  # as it tidies up after the summary
    assert victim.process.exitcode == CODES[signal.SIGTERM]
    assert status(tmp_path / "out") == "finished"
    same_results(tmp_path / "out", tmp_path / "whole")
    process = forked(*command, cwd=tmp_path)
    process.join(60)
    assert process.exitcode == 0
    assert "finished before, kept" in (tmp_path / "output").read_text()
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize(
    "given", ["run", "compare --methods fedavg", "ablate --skip-ratios 0.5", "tune --grid train.lr=1e-3"]
)
def test_the_command_that_goes_on_names_the_folder(given, tiny_decoder, ner_corpus, tmp_path):
    """Also where the user did not: the very command, with -o; here interrupted before a run has begun."""
    write_config(experiment(tiny_decoder, ner_corpus), tmp_path)
    command, *options = given.split()
    victim = Victim(command, "tiny.yaml", *options, cwd=tmp_path)
    interrupt(victim, "begin", signal.SIGINT, round_=0)
    assert victim.process.exitcode == 130
    told = re.fullmatch(r"interrupted; to go on: (.*)\n", (tmp_path / "errors").read_text())
    assert re.fullmatch(rf"skipfl {command} -o (runs/tiny-\S+) tiny.yaml {' '.join(options)}".strip(), told[1])
    if command == "compare":
        process = forked(*shlex.split(told[1])[1:], cwd=tmp_path)
        process.join(60)
        assert process.exitcode == 0


BENCH = ["--workload", "C", "--peers", "serial", "--clients", "2", "--cohort", "1", "--rounds", "2", "--repeats", "1"]


def test_an_interrupted_benchmark_says_how_to_go_on(tmp_path):
    """While it runs, no other writes its folder."""
    process = forked("bench", *BENCH, cwd=tmp_path)
    wait_for(lambda: list(tmp_path.glob("runs/bench-*/logs/*.log")))
    (folder,) = (tmp_path / "runs").iterdir()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    second = forked("bench", "-o", folder, *BENCH, cwd=elsewhere)
    second.join(60)
    assert second.exitcode == 2
    told = f"error: {folder}: another process is writing this benchmark; wait for it, or give another folder with -o\n"
    assert (elsewhere / "errors").read_text() == told
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 130
    told = f"interrupted; to go on: skipfl bench -o runs/{folder.name} {' '.join(BENCH)}\n"
    assert (tmp_path / "errors").read_text() == told


@pytest.mark.slow
def test_a_benchmark_that_was_killed_is_gone_on_with(tmp_path):
    """After the third of four runs: those of the first repetition are kept, those of the second done again."""
    twice = [*BENCH[:-1], "2"]
    process = forked("bench", "-o", "bench", *twice, cwd=tmp_path)
    file = tmp_path / "bench" / "records.jsonl"
    wait_for(lambda: file.is_file() and len(file.read_bytes().splitlines()) == 3)
    process.kill()
    process.join(60)
    before = file.read_text().splitlines()
    going_on = forked("bench", "-o", "bench", *twice, cwd=tmp_path)
    going_on.join(300)
    assert going_on.exitcode == 0
    after = file.read_text().splitlines()
    assert after[:2] == before[:2]
    records = [json.loads(line) for line in after]
    assert [(record["repeat"], record["contestant"], record["status"]) for record in records] == [
        (1, "skipfl", "ok"),
        (1, "serial", "ok"),
        (2, "serial", "ok"),
        (2, "skipfl", "ok"),
    ]
    assert (tmp_path / "bench" / "table.md").is_file()


@pytest.mark.slow
def test_a_second_signal_changes_nothing(tiny_decoder, ner_corpus, tmp_path):
    """Neither while the first is being seen to nor later, when it ends what has hung: no traceback in any case."""
    write_config(experiment(tiny_decoder, ner_corpus), tmp_path)
    slow = "import time, simulate.study as study\nstudy.forget_corpora = lambda: time.sleep(60)\n"
    code = f"{slow}from simulate.cli import main\nmain()"
    process = subprocess.Popen(
        [Path(SKIPFL).with_name("python"), "-c", code, "run", "tiny.yaml", "-o", "out", "rounds=1000"],
        cwd=tmp_path,
        text=True,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        wait_for(lambda: (tmp_path / "out" / "rounds.csv").exists())
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
        wait_for(lambda: status(tmp_path / "out") == "interrupted")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=10)[1] == "interrupted; to go on: skipfl run --resume out\n"
    finally:
        process.kill()
    assert process.returncode == 130


@pytest.mark.slow
@pytest.mark.parametrize("number", CODES)
def test_workers_in_the_middle_of_long_work_are_not_waited_for(number, tiny_decoder, ner_corpus, tmp_path):
    """Each of two actors has minutes of work before it. SIGINT goes to all processes of the group, as at a terminal."""
    changes = {"cohort": {"count": 4}, "train": {"lr": 1e-3, "batch_size": 1, "local_steps": 50_000}}
    what = experiment(tiny_decoder, ner_corpus, **changes, engine={"executor": "ray", "workers": 2})
    mark = uuid4().hex
    process = subprocess.Popen(
        [SKIPFL, "run", write_config(what, tmp_path), "-o", "out"],
        cwd=tmp_path,
        env=os.environ | {MARK: mark, "SKIPFL_CACHE": str(tmp_path / "cache")},
        text=True,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        wait_for(lambda: (tmp_path / "out" / "rounds.csv").exists())
        time.sleep(1)
        assert sum("ray::" in line for line in marked(mark).values()) >= 2
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        begin = time.monotonic()
        _, errors = process.communicate(timeout=60)
        assert time.monotonic() - begin < 30
    finally:
        process.kill()
    assert errors == "interrupted; to go on: skipfl run --resume out\n"
    assert process.returncode == CODES[number]
    assert status(tmp_path / "out") == "interrupted"
    wait_for(lambda: not marked(mark) and not shared_memory(), 10)
    assert not list((tmp_path / "cache").glob("run-*@*"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a process can be watched on Linux")
def test_a_run_whose_raylet_dies_says_how_to_go_on(tiny_decoder, ner_corpus, tmp_path):
    """Ray itself would end the process, without a word. Its two actors train for seconds, for which it waits."""
    changes = {"rounds": 3, "cohort": {"count": 2}, "train": {"lr": 1e-3, "batch_size": 1, "local_steps": 400}}
    what = experiment(tiny_decoder, ner_corpus, **changes, engine={"executor": "ray", "workers": 2})
    run(what, tmp_path / "whole")
    write_config(what, tmp_path)
    mark = uuid4().hex
    with patch.dict(os.environ, {MARK: mark, "SKIPFL_CACHE": str(tmp_path / "cache")}):
        process = forked("run", "tiny.yaml", "-o", "out", cwd=tmp_path)
        wait_for(lambda: (tmp_path / "out" / "checkpoint" / "round1.json").exists())
        time.sleep(0.2)
        (raylet,) = [pid for pid, line in marked(mark).items() if line.partition(" ")[0].endswith("/raylet")]
        os.kill(raylet, signal.SIGKILL)
        process.join(60)
        told = (tmp_path / "errors").read_text().splitlines()
        assert process.exitcode == 2, told
        lost = "error: Ray has lost a machine, or what was kept there for the clients"
        assert told[-1] == f"{lost}; to go on: skipfl run --resume out"
        assert not (tmp_path / "out" / "summary.json").exists()
        gone(mark, agents=False)
        process = forked("run", "--resume", "out", cwd=tmp_path)
        process.join(180)
        assert process.exitcode == 0, (tmp_path / "errors").read_text()
        gone(mark)
    same_results(tmp_path / "out", tmp_path / "whole")
