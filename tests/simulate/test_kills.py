"""SIGKILL, full disks and other real faults: a run that goes on is the run that nothing happened to, bit for bit."""

import os
import re
import sys
from pathlib import Path
from unittest.mock import patch
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest

from simulate.bench.race import machine
from simulate.engine.executors import EngineSettings
from simulate.engine.make import make_executor
from simulate.engine.ray_executor import RayExecutor
from simulate.exchange.aggregation import ExactSum
from tests import fault_suite, soak
from tests.command import quick
from tests.fault_suite import (
    NOT_INJECTED,
    RAY,
    RESULT,
    Injection,
    command,
    fill,
    full_disks,
    full_session,
    gone,
    kills,
    lay_out,
    own_disk,
    resumptions,
)
from tests.kills import Moment, kill_at
from tests.processes import MARK, forked, write_config
from tests.runs import experiment, run


def test_killed_again_and_again(tmp_path):
    """In a process of its own, at moments drawn from a seed; `make faults` does much more of it."""
    found = kills(lay_out("SCAFFOLD", tmp_path / "run", rounds=3), 3, np.random.default_rng(0))
    assert [injection.lost for injection in found] == ["nothing"] * 3


def test_a_run_on_ray_is_killed(tmp_path):
    """The driver, in its second round; its session goes with it, and the run goes on, here without Ray."""
    setting, mark = lay_out("FedAvg, Adam at the server", tmp_path / "run", rounds=2, **RAY), uuid4().hex
    with patch.dict(os.environ, {MARK: mark}):
        assert kill_at(Moment(2, "training", f"{RESULT} 2"), 0, *command(setting.folder), cwd=setting.folder)
    gone(mark, agents=False)
    result = quick("run", "--resume", "out", "engine.executor=serial", cwd=setting.folder)
    assert result.returncode == 0, result.stderr
    assert resumptions(setting.folder) == [1]
    (found,) = setting.compared([setting.of("SIGKILL", "round 2")])
    assert found.lost == "nothing"


def test_two_runs_at_once_share_a_cache(tmp_path):
    """Two processes that begin together on an empty cache; `make faults` does it with Ray."""
    settings = [lay_out(name, tmp_path / name, rounds=3) for name in ("SCAFFOLD", "FedPer")]
    with patch.dict(os.environ, {"SKIPFL_CACHE": str(tmp_path / "cache")}):
        both = [forked(*command(setting.folder), cwd=setting.folder) for setting in settings]
    for process, setting in zip(both, settings, strict=True):
        process.join(120)
        assert process.exitcode == 0, (setting.folder / "errors").read_text()
        (found,) = setting.compared([setting.of("another run at the same time", "throughout")])
        assert found.lost == "nothing"
    assert not [*(tmp_path / "cache").glob("run-*@*"), *(tmp_path / "cache").glob("*.partial")]


def test_a_full_disk_is_one_line_and_room_again_is_enough(tmp_path):
    setting = lay_out("FedAvg, Adam at the server", tmp_path / "run", rounds=2)
    try:
        found = full_disks(setting, 2, np.random.default_rng(1))
    except PermissionError as error:
        pytest.skip(str(error))
    assert [injection.lost for injection in found] == ["nothing"] * 2


@pytest.mark.slow
def test_a_full_disk_below_ray_is_one_line_and_room_again_is_enough(tmp_path):
    setting = lay_out("FedAvg, Adam at the server", tmp_path / "run", rounds=3, hidden=512, **RAY)
    try:
        (found,) = full_session(setting, np.random.default_rng(0))
    except PermissionError as error:
        pytest.skip(str(error))
    assert found.lost == "nothing"


@pytest.mark.slow
def test_ray_that_cannot_start_is_one_line(tiny_decoder, ner_corpus, tmp_path):
    """On a disk without room for a session."""
    write_config(experiment(tiny_decoder, ner_corpus, engine={"executor": "ray", "workers": 1}), tmp_path)
    try:
        with own_disk(8) as disk:
            fill(disk)
            result = quick("run", "tiny.yaml", "-o", "out", cwd=tmp_path)
    except PermissionError as error:
        pytest.skip(str(error))
    assert result.returncode == 2
    told = r"error: Ray could not start \(.+\): is there room on the disk of /tmp/ray, .*"
    assert re.fullmatch(told, result.stderr.splitlines()[-1])
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_table_says_where_it_was_made_and_what_could_not_be_done(tmp_path):
    found = [
        Injection("SIGKILL", "FedAvg", "serial", "round 1, training, no. 2", 0, "nothing"),
        Injection("SIGKILL", "FedAvg", "serial", "round 2, export, sync 1", 2, "nothing"),
        Injection("disk full", "FedAvg", "serial", "none", lost=f"{NOT_INJECTED}: a tmpfs cannot be mounted here"),
    ]
    where = machine() | {"commit": "0123456789abcdef", "dirty": True}
    fault_suite.write(found, tmp_path, 12.3, where)
    text = (tmp_path / "README.md").read_text()
    assert "| SIGKILL | 2 | serial | nothing |" in text
    assert "| disk full | 0 | serial | not injected: a tmpfs cannot be mounted here |" in text
    assert f"{where['date']}, {where['processor']}, {where['cpus']} CPUs" in text
    assert "commit 012345678 with changes that are not committed: 12 s." in text


@pytest.mark.slow
def test_nothing_is_lost(tmp_path):
    """The suite of `make faults`, at other moments than those of its table."""
    found = fault_suite.suite(tmp_path, seed=1)
    assert sum(injection.kind == "SIGKILL" for injection in found) >= 40
    assert {injection.lost.split(":")[0] for injection in found} <= {"nothing", NOT_INJECTED}
    fault_suite.write(found, tmp_path / "table", 0, machine())
    assert (tmp_path / "table" / "faults.csv").read_text().count("\n") == len(found) + 1


@pytest.mark.slow
def test_memory_is_flat(tmp_path, ray_session):
    """The beginning of `make soak`, in which processes are not quite warm yet. Found: below 2 MB in 100 rounds."""
    ray_session.close()
    found = soak.slopes(soak.soak(tmp_path, rounds=200, kills=2, every=5))
    assert soak.growing(found, soak.BOUNDS | dict.fromkeys(soak.MEMORY, 5.0)) == [], found


@pytest.mark.slow
def test_memory_is_flat_over_the_runs_of_a_study(tmp_path, ray_session, tiny_decoder, ner_corpus):
    """40 runs of four methods, in turn, in the same processes. Found: 0.01 MB a run, over the second half."""
    ray_session.close()
    methods = ["fedavg", "layer_skipping", "lora", {"name": "fedper", "layers": 2, "personal_layers": 1}]
    found = []
    with make_executor(EngineSettings(workers=2)) as executor:
        for number in range(40):
            what = experiment(tiny_decoder, ner_corpus, methods[number % len(methods)], seed=number)
            run(what, tmp_path / str(number), executor)
            processes = [os.getpid(), *(pid for pid, _ in executor.all("peak"))]
            found.append([soak.resident(pid) for pid in processes])
    changes = np.polyfit(np.arange(20), np.array(found[20:]), 1)[0]
    assert len(changes) == 3
    assert changes.max() < 0.1, found


@pytest.mark.slow
def test_what_is_kept_too_long_shows(tmp_path, ray_session, monkeypatch):
    """A leak put in on purpose: the sums of all rounds stay, two a round."""
    ray_session.close()
    collected = []
    get = RayExecutor._get

    def leaking(self, reference):
        result = get(self, reference)
        if isinstance(result, ExactSum):
            collected.append(reference)
        return result

    monkeypatch.setattr(RayExecutor, "_get", leaking)
    found = soak.slopes(soak.soak(tmp_path, rounds=20, kills=0, every=2))
    assert len(collected) == 40
    assert found["references"] == pytest.approx(200, rel=0.1)
    assert {"references", "object_store_mb"} <= {*soak.growing(found)}


def test_growth_beyond_its_bound_ends_the_soak(monkeypatch, tmp_path):
    """Half an object in 100 rounds is within it, 1.2 MB for the driver is not; all else is flat."""
    table = pd.DataFrame({"round": [0, 100, 200]} | {name: [5.0, 5.0, 5.0] for name in ["seconds", *soak.COLUMNS]})
    table["references"] += [0, 0.5, 1]
    assert soak.growing(soak.slopes(table)) == []
    table["driver_mb"] += [0, 1.2, 2.4]
    monkeypatch.setattr(soak, "soak", lambda folder, *_: _soaked(folder, table))
    monkeypatch.setattr(soak, "REFERENCE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["soak"])
    with pytest.raises(SystemExit, match=r"in 100 rounds: driver_mb$"):
        soak.main()
    table["driver_mb"] = 5.0
    soak.main()


def _soaked(folder: Path, table: pd.DataFrame) -> pd.DataFrame:
    """What `soak.soak` leaves and gives."""
    (folder / "run").mkdir()
    counts = {key: [0] for key in ("dropped", "late", "rejected", "skipped")}
    pd.DataFrame(counts).to_csv(folder / "run" / "rounds.csv", index=False)
    return table
