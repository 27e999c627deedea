"""The command line as a user meets it: real processes, real folders."""

import errno
import json
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest

from simulate import api
from simulate.cli import main
from simulate.engine.executors import BrokenOffError, EngineError
from simulate.engine.shared import SharedFolderError
from tests.command import quick, skipfl


@pytest.fixture
def small(tiny_decoder, ner_corpus) -> list[str]:
    """Overrides that make the demo preset a matter of seconds."""
    return [
        f"model={tiny_decoder}",
        "model.max_length=32",
        f"corpus.path={ner_corpus}",
        "rounds=2",
        "partition.clients=3",
        "partition.min_size=3",
    ]


def test_compare_ends_with_table_curves_and_every_file_named(small, tmp_path):
    command = [
        "compare", "demo", "--methods", "layer_skipping,lora,local_only", "--seeds", "0,1", *small,
        "method.layers=1", "engine.executor=serial", "-o", "out",
    ]  # fmt: skip
    result = quick(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for text in (
        "Layer skipping (1/4 layers)",
        "LoRA (1/4 layers, rank 8)",
        "Local only",
        "the full model: embeddings, 4 layers",
    ):
        assert text in result.stdout
    assert "round 2/2" in result.stdout
    assert "ETA" in result.stdout
    (closing,) = [line for line in result.stdout.splitlines() if line.startswith("wrote ")]
    written = [tmp_path / name for name in closing.removeprefix("wrote ").split(", ")]
    assert all(path.exists() for path in written)
    assert {"comparison.csv", "curves.png", "curves.pdf", "lora-seed1"} <= {path.name for path in written}
    run = tmp_path / "out" / "layer_skipping-seed0"
    names = {"config.yaml", "environment.json", "rounds.csv", "clients.csv", "partition.json", "summary.json", "model"}
    assert {path.name for path in run.iterdir()} == names
    environment = json.loads((run / "environment.json").read_text())
    assert environment["status"] == "finished"
    assert environment["packages"]["torch"]
    table = pd.read_csv(tmp_path / "out" / "comparison.csv")
    assert table["seeds"].tolist() == [2, 2, 2]

    again = quick("table", "out", cwd=tmp_path)
    assert again.returncode == 0
    assert "LoRA (1/4 layers, rank 8)" in again.stdout
    drawn = quick("plot", "out", "-o", "figure.png", cwd=tmp_path)
    assert drawn.returncode == 0
    assert (tmp_path / "figure.pdf").stat().st_size > 1000

    kept = quick(*command, cwd=tmp_path)
    assert kept.stdout.count("finished before, kept") == 6


def test_a_run_can_be_repeated_from_its_folder(small, tmp_path):
    first = quick("run", "demo", *small, "method.layers=1", "engine.executor=serial", "-o", "one", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    second = quick("run", "one/config.yaml", "-o", "two", cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    one, two = (pd.read_csv(tmp_path / name / "rounds.csv").filter(regex="^(?!seconds)") for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    third = quick("run", "demo", *small, "method.layers=2", "engine.executor=serial", "-o", "one", cwd=tmp_path)
    assert third.returncode == 2
    assert "one: already exists and is not empty; choose another folder with -o" in third.stderr


def test_ablate(small, tmp_path):
    result = quick(
        "ablate",
        "demo",
        "--skip-ratios",
        "0,0.5,1",
        *small,
        "rounds=1",
        "engine.executor=serial",
        "-o",
        "out",
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "ablation.pdf").exists()
    assert (tmp_path / "out" / "ablation.png").exists()
    for ratio in ("0/4", "2/4", "4/4"):
        assert f"Layer skipping ({ratio} layers)" in result.stdout


def test_plan_needs_neither_weights_nor_data(tmp_path):
    result = quick("plan", "llama-3.2-1b-i2b2", "method=layer_skipping", "method.layers=6", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    text = " ".join(result.stdout.split())
    assert "70.5 % less than the full model (embeddings, 16 layers, final norm and head" in text
    assert "exchanged 364,945,415 parameters" in text  # 6 x 60 821 504 + 2 048 + head of 7 x 2 048 + 7


def test_list_shows_what_there_is(tmp_path):
    result = quick("list", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for name in ("demo-classification", "layer_skipping", "fedprox", "dirichlet", "synthetic-notes", "jsonl", "top"):
        assert name in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "dmeo"], "error: unknown preset 'dmeo'; did you mean 'demo'?"),
        (["run", "demo", "round=3"], "error: unknown key round; did you mean 'rounds'?"),
        (["run", "demo", "corpus.path=nowhere"], "error: nowhere: no such folder"),
        (["run", "demo", "model=./nowhere"], "error: model './nowhere': no such folder"),
        (["run", "demo", "method.layers=17"], "error: method.layers = 17, but the model has 16 layers"),
        (["run", "demo", "partition.clients=9999"], "error: 9999 clients"),
        (["run", "llama-3.2-1b-i2b2"], "sign the data use agreement"),
        (["run", "demo", "method="], "error: overrides: method is empty; expected a name"),
        (["run", "demo", "corpus.path=data/[/x]"], "error: data/[/x]: no such folder"),
        (["compare", "demo", "--seeds", "a"], "error: --seeds 'a': expected numbers separated by commas"),
        (
            ["compare", "demo", "--methods", "local_only,fedavg", "method.mu=1"],
            "unknown key method.mu for local_only",
        ),
        (["compare", "demo", "method.layer=3"], "did you mean 'method.layers'?"),
        (["compare", "demo", "--methods", "fedprox,lora", "method.layers=abc"], "error: method.layers = 'abc'"),
        (
            ["compare", "demo", "seed=3"],
            "override 'seed=3': seed is what this study varies or fixes; give --seeds",
        ),
        (["ablate", "demo", "method=lora"], "error: override 'method=lora'"),
        (["compare", "demo", "--methods", "fedavg,layer_skipping", "method.layers=17"], "error: method.layers = 17"),
        (["table", "nowhere"], "error: "),
        (
            ["plan", "demo", "method=lora", "method.target_modules=[nothing]"],
            "matches no linear layer; known: down_proj",
        ),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "argv", ["skipfl", *arguments, *(["engine.executor=serial"] if arguments[0] == "run" else [])]
    )
    with pytest.raises(SystemExit) as stop:
        main()
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("*"))


def test_a_mistake_in_a_real_process_has_no_traceback(tmp_path):
    result = skipfl("run", "demo", "round=3", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == "error: unknown key round; did you mean 'rounds'?\n"
    debugged = quick("run", "demo", "round=3", "--debug", cwd=tmp_path)
    assert "Traceback" in debugged.stderr


def test_the_suites_own_warnings_are_told_each_time_and_those_of_libraries_once(monkeypatch, capsys):
    """Two workers are lost to one client, so that a line warns twice in the same words."""

    def lose(*_):
        for name in ("simulate.engine.ray_executor", "library.of_models"):
            code = compile(f"for _ in range(2): warnings.warn('of {name}')", name, "exec")
            exec(code, {"__name__": name, "warnings": warnings})
        raise EngineError("died")

    monkeypatch.setattr(api, "simulate", lose)
    monkeypatch.setattr(sys, "argv", ["skipfl", "run", "demo", "-o", "never"])
    with pytest.raises(SystemExit):
        main()
    ours = "warning: of simulate.engine.ray_executor"
    assert capsys.readouterr().err.splitlines() == [ours, ours, "warning: of library.of_models", "error: died"]


@pytest.mark.parametrize(
    ("error", "goes_on"),
    [
        (BrokenOffError("no room"), True),
        (SharedFolderError("no room"), True),
        (OSError(errno.EDQUOT, "no room"), True),
        (EngineError("no room"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_breaks_a_command_off_is_told_with_the_one_that_goes_on(error, goes_on, tmp_path, monkeypatch, capsys):
    """Without -o the same command would begin anew, in another folder."""

    def end(runs, *_):
        (folder,) = runs
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").touch()
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "simulate", end)
    monkeypatch.setattr(sys, "argv", ["skipfl", "run", "demo"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    (folder,) = Path("runs").iterdir()
    then = f"; to go on: skipfl run --resume {folder}" if goes_on else ""
    assert capsys.readouterr().err == f"error: no room{then}\n"
