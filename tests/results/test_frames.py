import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from results import tables
from results.frames import ResultsError, load

MakeRun = Callable[..., Path]


def test_results_knows_neither_torch_nor_engine_nor_pyplot():
    program = (
        "import sys, results.curves, results.frames, results.tables\n"
        "print([name for name in ('torch', 'simulate', 'ray', 'matplotlib.pyplot') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_one_run(make_run: MakeRun):
    folder = make_run("lora-1", [0.1, 0.5, 0.4], method="lora", label="LoRA", seed=1, saving=0.9)
    runs = load(folder)
    assert runs.folders == [folder]
    assert runs.configs[0]["method"]["name"] == "lora"
    assert runs.rounds["round"].tolist() == [0, 1, 2]
    assert runs.rounds["test_f1"].tolist() == [0.1, 0.5, 0.4]
    # Five clients, up and down, a tenth of a million bytes each: a million a round.
    assert runs.rounds["bytes_total"].tolist() == [0, 1_000_000, 2_000_000]
    assert pd.isna(runs.rounds["train_loss"].iloc[0])
    assert runs.rounds["epsilon"].isna().all()
    assert set(runs.rounds["label"]) == {"LoRA"}
    assert set(runs.rounds["seed"]) == {1}
    summary = runs.summaries.iloc[0]
    assert (summary["run"], summary["method"], summary["best_round"]) == (str(folder), "lora", 1)
    assert (summary["best_test_f1"], summary["final_test_f1"], summary["saving"]) == (0.5, 0.4, 0.9)


def test_runs_are_found_at_any_depth_and_once(make_run: MakeRun, tmp_path: Path):
    make_run("study/a/fedavg-0", [0.0, 0.5], seed=0)
    make_run("study/fedavg-1", [0.0, 0.7], seed=1)
    (tmp_path / "study" / "a" / "fedavg-0" / "model").mkdir()
    runs = load([tmp_path / "study", tmp_path / "study" / "a"])
    assert [folder.name for folder in runs.folders] == ["fedavg-0", "fedavg-1"]
    assert len(runs.rounds) == 4
    assert runs.shared_metric() == "f1"


def test_no_runs_says_where_it_looked(tmp_path: Path):
    with pytest.raises(ResultsError, match=f"no finished run found; looked in: {tmp_path}"):
        load([tmp_path])
    with pytest.raises(ResultsError, match="absent: no such folder"):
        load(tmp_path / "absent")
    with pytest.raises(ResultsError, match="no folder given"):
        load([])


def test_unfinished_runs_are_skipped_by_name(make_run: MakeRun, tmp_path: Path):
    make_run("done", [0.0, 0.5])
    make_run("failed", [0.0, 0.5], status="failed")
    (make_run("running", [0.0, 0.5]) / "summary.json").unlink()
    with pytest.warns(UserWarning, match=r"skipped unfinished runs: .*failed, .*running"):
        runs = load(tmp_path)
    assert [folder.name for folder in runs.folders] == ["done"]


def test_only_unfinished_runs(make_run: MakeRun, tmp_path: Path):
    make_run("running", [0.0, 0.5], status="running")
    with pytest.raises(ResultsError, match=r"no finished run found.*\(unfinished: .*running\)"):
        load(tmp_path)


def _cut_in_a_line(folder: Path) -> None:
    file = folder / "rounds.csv"
    file.write_text(file.read_text()[:-12])


def _cut_between_lines(folder: Path) -> None:
    file = folder / "rounds.csv"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))


def _edit_summary(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = folder / "summary.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut_in_a_line, r"rounds\.csv: line 4 has \d+ of 12 columns, perhaps cut short"),
        (_cut_between_lines, r"rounds\.csv: ends at round 1, but summary\.json tells of 2 rounds"),
        (lambda f: (f / "rounds.csv").write_text(""), r"rounds\.csv: no header line"),
        (lambda f: (f / "rounds.csv").unlink(), r"rounds\.csv: cannot be read: No such file"),
        (
            lambda f: (f / "rounds.csv").write_text((f / "rounds.csv").read_text().replace("test_f1", "test_f2")),
            r"rounds\.csv: no column test_f1",
        ),
        (
            lambda f: (f / "rounds.csv").write_text((f / "rounds.csv").read_text().replace("0.7,", "0.7x,")),
            r"rounds\.csv: line 3, test_f1: '0\.7x' is not a number",
        ),
        (lambda f: (f / "summary.json").write_text('{"name": '), r"summary\.json: not readable as JSON"),
        (_edit_summary(seed="one"), r"summary\.json: seed: .*got 'one'"),
        (_edit_summary(bytes={"up": 1}), r"summary\.json: bytes\.down: Field required"),
        (_edit_summary(metric="macro_f1"), r"summary\.json: final\.test has no macro_f1"),
        (_edit_summary(saving_denominator=None), r"summary\.json: saving 0\.0 comes without its saving_denominator"),
        (lambda f: (f / "config.yaml").write_text("a: [1"), r"config\.yaml, line 1: not readable as YAML"),
        (lambda f: (f / "config.yaml").write_text("- 1"), r"config\.yaml: expected a mapping of settings, got list"),
    ],
)
def test_damaged_records_name_the_file_on_one_line(make_run: MakeRun, damage: Callable[[Path], None], message: str):
    folder = make_run("run", [0.0, 0.7, 0.8])
    damage(folder)
    with pytest.raises(ResultsError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"task": "classification", "metric": "macro_f1"}, "needs one task: .*a has 'ner', .*b has 'classification'"),
        ({"metric": "f1_Problem"}, "needs one metric"),
        ({"corpus": {"name": "mtsamples"}}, "needs one corpus.name: .*'synthetic', .*'mtsamples'"),
        ({"settings": {"faults": {"dropout": 0.2}}}, r"needs one faults\.dropout: .*None, .*0\.2"),
    ],
)
def test_runs_that_measure_different_things_are_kept_apart(make_run: MakeRun, tmp_path: Path, other, message: str):
    make_run("a", [0.0, 0.5])
    make_run("b", [0.0, 0.5], label="Other", **other)
    runs = load(tmp_path)
    with pytest.raises(ResultsError, match=message):
        runs.shared_metric()


def test_labels_say_in_what_variants_of_a_method_differ(make_run: MakeRun, tmp_path: Path):
    """Three runs of FedAvg under two optimizers, and two of LoRA that differ in their seeds alone."""
    adamw = {"train": {"optimizer": "adamw", "lr": 0.001, "clip_norm": 1.0, "batch_size": 8}}
    sgd = {"train": {"optimizer": "sgd", "lr": 0.1, "clip_norm": None, "batch_size": 8}}
    make_run("a", [0.0, 0.5], seed=0, settings=adamw)
    make_run("b", [0.0, 0.5], seed=1, settings=adamw)
    make_run("c", [0.0, 0.5], seed=0, settings=sgd)
    make_run("d", [0.0, 0.5], seed=0, method="lora", label="LoRA (rank 4)", settings=adamw)
    make_run("e", [0.0, 0.5], seed=1, method="lora", label="LoRA (rank 4)", settings=adamw)
    runs = load(tmp_path)
    assert runs.shared_metric() == "f1"
    plain = "FedAvg (clip norm 1, lr 0.001, optimizer adamw)"
    assert runs.summaries["label"].tolist() == [
        plain,
        plain,
        "FedAvg (clip norm none, lr 0.1, optimizer sgd)",
        "LoRA (rank 4)",
        "LoRA (rank 4)",
    ]
    assert runs.rounds["label"].tolist() == [label for label in runs.summaries["label"] for _ in range(2)]


def test_a_sweep_is_one_table(make_run: MakeRun, tmp_path: Path):
    for place, lr in enumerate((0.01, 0.001)):
        settings = {"train": {"lr": lr}, "server": {"lr": lr / 10, "name": "adam"}}
        make_run(str(place), [0.0, 0.5 + place / 10], label="LoRA (rank 4)", saving=0.9, settings=settings)
    assert tables.comparison(load(tmp_path))[["label", "best_test"]].values.tolist() == [
        ["LoRA (rank 4, server lr 0.0001, lr 0.001)", 60],
        ["LoRA (rank 4, server lr 0.001, lr 0.01)", 50],
    ]


def test_a_seed_counts_once(make_run: MakeRun, tmp_path: Path):
    make_run("a", [0.0, 0.5], seed=3)
    make_run("b", [0.0, 0.5], seed=3, settings={"engine": {"workers": 7}})
    with pytest.raises(ResultsError, match="both 'FedAvg' with seed 3; give each seed once"):
        load(tmp_path).shared_metric()


def test_the_same_corpus_elsewhere_is_the_same_corpus(make_run: MakeRun, tmp_path: Path):
    make_run("a", [0.0, 0.5], seed=0, corpus={"name": "local", "path": "/data/notes"})
    make_run("b", [0.0, 0.5], seed=1, corpus={"name": "local", "path": "../notes"})
    assert load(tmp_path).shared_metric() == "f1"


def test_runs_that_were_tested_on_other_examples_are_kept_apart(make_run: MakeRun, tmp_path: Path):
    """A corrected corpus has the name, and the settings, that it had before; older records do not tell."""
    here, there = ({"name": "local", "path": f"{folder}/notes"} for folder in ("/data", ".."))
    make_run("a", [0.0, 0.5], seed=0, corpus=here)
    make_run("b", [0.0, 0.5], seed=1, corpus=here, test_sha256="0" * 64)
    make_run("c", [0.0, 0.5], seed=2, corpus=there, test_sha256="0" * 64)
    assert load(tmp_path).shared_metric() == "f1"
    make_run("d", [0.0, 0.5], seed=3, corpus=here, test_sha256="1" * 64)
    with pytest.raises(ResultsError, match=r"needs one test split: .*b and .*d were tested on other examples"):
        load(tmp_path).shared_metric()


def test_corpora_drawn_by_other_seeds_may_stand_together(make_run: MakeRun, tmp_path: Path):
    for seed in range(2):
        make_run(str(seed), [0.0, 0.5], seed=seed, corpus={"name": "made", "seed": seed}, test_sha256=str(seed) * 64)
    assert load(tmp_path).shared_metric() == "f1"
