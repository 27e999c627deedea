"""One client's visit done again is what was recorded of it, to the last digit; and the folder is as it was."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock

from simulate.api import replay
from simulate.cli import main
from simulate.engine.records import RunFolderError
from tests.command import quick
from tests.runs import FAULTS, IN_ROUND_4, SGD, experiment, run
from tests.runs import interrupted as interrupted_run


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file of a folder, and when it was last written."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {str(file): (file.read_bytes(), file.stat().st_mtime_ns) for file in files if file.name != ".lock"}


def last_visits(folder: Path) -> pd.DataFrame:
    """The rows of the last round, as they are written."""
    clients = pd.read_csv(folder / "clients.csv", dtype=str, keep_default_na=False)
    return clients[clients["round"] == clients["round"].iloc[-1]]


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        (
            "fedavg",
            {"server": {"name": "adam", "lr": 0.01}, "engine": {"executor": "serial", "checkpoint_every": None}},
        ),
        ({"name": "scaffold", "layers": 2, "policy": "random"}, {**SGD, "cohort": {"count": 3}}),
        ({"name": "fedper", "layers": 2, "personal_layers": 1}, {}),
        ({"name": "layer_skipping", "layers": 2, "policy": "gradient_norm", "warmup_rounds": 1}, {}),
        ({"name": "layer_skipping", "layers": 2, "policy": "weight_change", "warmup_rounds": 1}, {}),
        ({"name": "fedex_lora", "rank": 1}, {}),
        ("centralized", {}),
    ],
    ids=str,
)
def test_a_visit_of_a_finished_run_is_what_was_recorded(method, changes, tmp_path, tiny_decoder, ner_corpus):
    """In the third round, after two that the replay does first."""
    run(experiment(tiny_decoder, ner_corpus, method, rounds=3, **changes), tmp_path / "run")
    before = content(tmp_path / "run")
    visit = last_visits(tmp_path / "run").iloc[-1]
    found = replay(tmp_path / "run", 3, int(visit["client"]))
    assert found.recorded == visit.to_dict()
    assert {"loss", "update_norm", "layers", "bytes_up", "bytes_down", "status"} <= set(found.compared)
    assert found.differing == []
    assert content(tmp_path / "run") == before


def test_faults_strike_again(tmp_path, tiny_decoder, ner_corpus):
    """The last visit that was averaged, dropped, late, rejected, and in vain in a round that was skipped."""
    six = {"name": "dirichlet", "clients": 6, "alpha": 0.5, "min_size": 3}
    run(
        experiment(tiny_decoder, ner_corpus, rounds=3, seed=1, faults=FAULTS | {"deadline": 5}, partition=six),
        tmp_path / "run",
    )
    visits = pd.read_csv(tmp_path / "run" / "clients.csv").drop_duplicates("status", keep="last")
    assert set(visits["status"]) == {"ok", "dropped", "late", "rejected", "skipped"}
    for number, client, status in visits[["round", "client", "status"]].itertuples(index=False):
        found = replay(tmp_path / "run", number, client)
        assert found.differing == []
        assert ("status" in found.compared) == (status != "skipped")


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, tiny_decoder, ner_corpus) -> Path:
    """The folder of a run of SCAFFOLD with cohorts of two of four, stopped in round 4, with checkpoints of 2 and 3."""
    what = experiment(tiny_decoder, ner_corpus, "scaffold", rounds=5, cohort={"count": 2}, **SGD)
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    interrupted_run(what, folder, IN_ROUND_4)
    run(what, folder.parent / "whole")
    return folder


def test_an_interrupted_run_is_replayed_from_its_checkpoint(interrupted, capsys):
    """The visit that the run did not come to is that of the uninterrupted one; no round before is done again."""
    whole = pd.read_csv(interrupted.parent / "whole" / "clients.csv", dtype=str, keep_default_na=False)
    before = content(interrupted)
    for number, begins in ((4, "goes on after round 3\n"), (3, "goes on after round 2\n"), (2, "round 1/1")):
        visit = whole[whole["round"] == str(number)].iloc[0]
        found = replay(interrupted, number, int(visit["client"]))
        said = capsys.readouterr().out
        assert begins in said
        assert ("goes on" in said) == (number > 2)
        assert f"client {visit['client']} in round {number} is redone, after all rounds before" in said
        assert (found.recorded is None) == (number == 4)
        assert found.differing == []
        assert {**found.row, "seconds": ""} == {**visit, "seconds": ""}
    assert content(interrupted) == before


def test_the_command(interrupted, tmp_path):
    shown = quick("replay", interrupted, "--round", 3, "--client", _member(interrupted, 3), cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "as recorded, to the last digit: round, client, examples, steps, loss, update_norm, layers" in shown.stdout
    assert "goes on after round 2" in shown.stdout


def _member(folder: Path, number: int) -> int:
    clients = pd.read_csv(folder / "clients.csv")
    return int(clients[clients["round"] == number]["client"].iloc[-1])


def falsified(folder: Path, target: Path) -> tuple[Path, int]:
    """A copy of a finished run in which another loss is written for a client of round 1; and that client."""
    shutil.copytree(folder, target)
    client = _member(target, 1)
    lines = (target / "clients.csv").read_text().splitlines()
    (place,) = [place for place, line in enumerate(lines) if line.startswith(f"1,{client},")]
    cells = lines[place].split(",")
    cells[4] += "1"
    lines[place] = ",".join(cells)
    (target / "clients.csv").write_text("\n".join(lines) + "\n")
    return target, client


def test_another_record_is_told_of(interrupted, tmp_path, monkeypatch, capsys):
    folder, client = falsified(interrupted.parent / "whole", tmp_path / "run")
    monkeypatch.setattr(sys, "argv", ["skipfl", "replay", str(folder), "--round", "1", "--client", str(client)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    assert "not as recorded: loss\n" in capsys.readouterr().out


@pytest.mark.slow
def test_under_the_debugger(interrupted, tmp_path):
    """As the help says; `--stop` is where the visit begins."""
    folder = interrupted.parent / "whole"
    command = ["replay", folder, "--round", 1, "--client", _member(folder, 1), "--stop"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONBREAKPOINT"}  # Ray's, of others
    result = subprocess.run(
        [sys.executable, "-m", "pdb", "-c", "continue", "-m", "simulate.cli", *map(str, command)],
        input="p f'{client} of {present}'\ncontinue\nquit\n",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=300,
    )
    assert "server.py" in result.stdout
    assert f"'{_member(folder, 1)} of [" in result.stdout
    assert "as recorded, to the last digit" in result.stdout


def test_it_stops_before_the_visit(interrupted, monkeypatch):
    stops = []
    monkeypatch.setattr(sys, "breakpointhook", lambda: stops.append(sys._getframe(1).f_locals["present"]))
    replay(interrupted, 3, _member(interrupted, 3), stop=True)
    assert len(stops) == 1
    assert _member(interrupted, 3) in stops[0]


def test_other_versions_are_told_of(interrupted, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(interrupted, folder)
    environment = json.loads((folder / "environment.json").read_text())
    environment["packages"]["torch"] = "1.0"
    environment["device"] = "cuda"
    (folder / "environment.json").write_text(json.dumps(environment))
    with pytest.warns(UserWarning, match="redone with other packages and device than it ran with; last bits may"):
        assert replay(folder, 3, _member(folder, 3)).differing == []


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Within the block nobody can write into a folder; root, who may do all, has it mounted so."""
    if os.geteuid():
        subprocess.run(["chmod", "-R", "a-w", folder], check=True)
        undo = ["chmod", "-R", "u+w", folder]
    else:
        for options in (["--bind", folder, folder], ["-o", "remount,bind,ro", folder]):
            if subprocess.run(["mount", *options], capture_output=True).returncode:
                subprocess.run(["umount", folder], capture_output=True)
                pytest.skip("nothing can be mounted here")
        undo = ["umount", "--lazy", folder]  # tensors that were read may still be mapped
    try:
        yield
    finally:
        subprocess.run(undo, check=True)


def test_an_archive_that_nobody_can_write_to(interrupted, tmp_path):
    """Its lock is left of the process that was stopped."""
    folder = tmp_path / "run"
    shutil.copytree(interrupted, folder)
    assert (folder / ".lock").is_file()
    with read_only(folder):
        with pytest.raises(OSError, match=r"Read-only|denied"):
            (folder / "file").touch()
        assert replay(folder, 3, _member(folder, 3)).differing == []


def test_a_run_that_is_being_written_is_left_alone(interrupted, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(interrupted, folder)
    with FileLock(folder / ".lock"), pytest.raises(RunFolderError, match="another process is writing this run"):
        replay(folder, 3, _member(folder, 3))
