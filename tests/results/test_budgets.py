"""Quality under a budget and cost to a target, by hand."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from results import budgets, report, targets
from results.frames import ResultsError, Runs, load

MakeRun = Callable[..., Path]


@pytest.fixture
def runs(make_run: MakeRun, tmp_path: Path) -> Runs:
    """A FedAvg round sends 10 MB (5 clients, a million bytes both ways), one of LoRA 1 MB; 2 s each after 0.5 s."""
    make_run("fedavg-0", [0.0, 0.50, 0.70, 0.80, 0.85], seed=0)
    make_run("fedavg-1", [0.0, 0.54, 0.74, 0.70, 0.87], seed=1)
    make_run("lora-0", [0.0, 0.30, 0.60, 0.62, 0.61], method="lora", label="LoRA", seed=0, saving=0.9)
    make_run("lora-1", [0.0, 0.30, 0.50, 0.58, 0.86], method="lora", label="LoRA", seed=1, saving=0.9)
    for seed in (0, 1):
        curve = [0.0, 0.80, 0.91, 0.85, 0.85]
        make_run(f"central-{seed}", curve, method="centralized", label="Centralized", seed=seed, saving=None)
    return load(tmp_path)


def cell(rows: pd.DataFrame, label: str, budget: float) -> pd.Series:
    (found,) = rows[(rows["label"] == label) & (rows["budget"] == budget)].to_dict("records")
    return pd.Series(found)


def test_equal_rounds_by_hand(runs: Runs):
    rows = budgets.quality_under(runs, budgets.ROUNDS)
    assert rows["budget"].unique().tolist() == [1, 2, 4]
    # At most 2 rounds: 70 and 74, both at round 2; sd sqrt(8); half width t(0.975, 1) * sqrt(8) / sqrt(2).
    two = cell(rows, "FedAvg", 2)
    assert (two["test"], two["test_sd"], two["round"]) == pytest.approx((72, math.sqrt(8), 2))
    assert (two["test_low"], two["test_high"]) == pytest.approx((72 - 25.41241, 72 + 25.41241), abs=1e-4)
    # At most 3: 80 at round 3 and, validation having fallen there, 74 at round 2.
    three = cell(budgets.quality_under(runs, budgets.ROUNDS, [3]), "FedAvg", 3)
    assert (three["test"], three["round"]) == pytest.approx((77, 2.5))
    # All rounds: as the comparison has it.
    assert cell(rows, "LoRA", 4)["test"] == pytest.approx((62 + 86) / 2)


def test_equal_bytes_by_hand(runs: Runs):
    rows = budgets.quality_under(runs, budgets.BYTES, [3e6, 1e7, 2.5e7])
    assert [cell(rows, "LoRA", budget)["test"] for budget in (3e6, 1e7)] == pytest.approx([60, 74])
    nothing = cell(rows, "FedAvg", 3e6)
    assert (nothing["within"], nothing["seeds"], math.isnan(nothing["test"])) == (0, 2, True)
    assert [cell(rows, "FedAvg", budget)["test"] for budget in (1e7, 2.5e7)] == pytest.approx([52, 72])
    assert cell(rows, "Centralized", 3e6)["test"] == pytest.approx(91)  # sends nothing: within any budget
    assert budgets.quality_under(runs, budgets.BYTES)["budget"].unique().tolist() == [4e6, 4e7]  # the two totals
    text = budgets.text(rows)
    assert re.search(r"\| Method +\| +≤ 3 MB \| +≤ 10 MB \| +≤ 25 MB \|", text)
    # half width t(0.975, 1) * sqrt(8) / sqrt(2) = 25.4
    assert re.search(r"\| FedAvg +\| +– \| +52.0 ± 2.8 \[26.6, 77.4\] \| +72.0 ± 2.8 \[46.6, 97.4\] \|", text)
    assert "–: not every seed has such a round." in text


def test_the_choice_within_a_budget_is_validations(make_run: MakeRun):
    folder = make_run("a", [0.0, 0.9, 0.5, 0.6])
    rounds = pd.read_csv(folder / "rounds.csv")
    rounds["validation_f1"] = [0.0, 0.1, 0.2, None]  # round 3 was not evaluated on validation
    rounds.to_csv(folder / "rounds.csv", index=False)
    assert budgets.quality_under(load(folder), budgets.ROUNDS, [3])["test"].tolist() == [50]


def test_without_a_budget_the_round_is_the_summarys(study: Path):
    runs = load(study)
    best = budgets.best_rounds(runs).set_index("run")["round"]
    assert best[runs.summaries["run"]].tolist() == runs.summaries["best_round"].tolist()


@pytest.mark.parametrize(
    ("words", "count"), [("100MB", 1e8), ("1.5 GB", 1.5e9), ("2k", 2e3), ("7", 7), ("1e3b", 1e3), ("3tb", 3e12)]
)
def test_bytes_are_read(words: str, count: float):
    assert budgets.read_bytes(words) == pytest.approx(count)


@pytest.mark.parametrize("words", ["", "MB", "-1MB", "0", "1.2.3", "5 apples", "1 MiB"])
def test_what_is_no_number_of_bytes_is_refused(words: str):
    with pytest.raises(ResultsError, match="expected bytes with a unit"):
        budgets.read_bytes(words)


def test_cost_to_target_by_hand(runs: Runs):
    """Centralized has 90 on validation at its best round (test less a point), so 80 % is 72: at least 73 on test."""
    rows = targets.cost_to_target(runs, 80).set_index("label")
    assert rows["target"].tolist() == pytest.approx([72] * 3)
    # FedAvg: round 3 (80) and round 2 (74); 30 and 20 MB; 6.5 and 4.5 s.
    fedavg = rows.loc["FedAvg"]
    assert fedavg[["seeds", "reached", "round", "bytes_total", "seconds_total"]].tolist() == [2, 2, 2.5, 2.5e7, 5.5]
    assert (fedavg["round_sd"], fedavg["bytes_total_sd"]) == pytest.approx((math.sqrt(0.5), 1e7 * math.sqrt(0.5)))
    # half width t(0.975, 1) * sd / sqrt(2) = 12.70620 / 2 = 6.35310
    assert (fedavg["round_low"], fedavg["round_high"]) == pytest.approx((2.5 - 6.3531, 2.5 + 6.3531), abs=1e-4)
    # LoRA: only the second seed, at round 4.
    assert rows.loc["LoRA", "reached"] == 1
    assert math.isnan(rows.loc["LoRA", "round"])
    assert rows.loc["Centralized", ["round", "bytes_total"]].tolist() == [1, 0]
    text = targets.text(rows.reset_index())
    assert re.search(r"\| FedAvg +\| +yes \| +2.5 \[0.0, 8.9\] \| +25 MB \[0 B, 88.5 MB\] \|", text)
    assert re.search(r"\| LoRA +\| not reached by 1 of 2 seeds \| +– \| +– \| +– \|", text)
    assert re.search(r"\| Centralized +\| +yes \| +1.0 \[1.0, 1.0\] \| +– \|", text)
    assert "Target: validation entity F1 of 72.0 %, 80 % of what centralized training reaches" in text
    assert "not reached |" in targets.text(targets.cost_to_target(runs, 100))


def test_a_target_is_of_one_centralized_training(make_run: MakeRun, tmp_path: Path):
    for name in ("slow", "fast"):
        make_run(name, [0.0, 0.5], method="centralized", label=f"Centralized ({name})", saving=None)
    with pytest.raises(ResultsError, match=r"there are Centralized \(fast\) and Centralized \(slow\)"):
        targets.cost_to_target(load(tmp_path))


def test_cost_to_target_on_test(runs: Runs):
    rows = targets.cost_to_target(runs, 80, "test").set_index("label")  # 80 % of 91 is 72.8
    assert rows["target"].tolist() == pytest.approx([72.8] * 3)
    assert rows.loc["FedAvg", "round"] == 2.5


def test_a_target_needs_centralized_training(make_run: MakeRun):
    runs = load(make_run("a", [0.0, 0.5]))
    with pytest.raises(ResultsError, match="none of the runs is centralized"):
        targets.cost_to_target(runs)
    sections = {section.name: section for section in report.report(runs)}
    assert sections["target"].text == "None of the runs is centralized: no target."
    assert sections["pairs"].text == "One method: nothing to compare."


@pytest.mark.parametrize("percent", [0, -5, 101, math.nan])
def test_a_target_out_of_range_is_refused(runs: Runs, percent: float):
    with pytest.raises(ResultsError, match="expected per cent of centralized training"):
        targets.cost_to_target(runs, percent)


def test_the_report_is_written(runs: Runs, tmp_path: Path):
    sections = report.report(runs, [3e6], 80)
    assert [section.name for section in sections] == ["quality", "rounds", "bytes", "target", "pairs"]
    (markdown,) = report.save(sections, tmp_path / "new" / "report.md")
    text = markdown.read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Quality over seeds",
        "## At equal rounds",
        "## At equal bytes",
        "## Cost to 80 % of centralized training",
        "## Paired tests",
    ]
    # 85 and 87: mean 86, sd sqrt(2), half width 12.706205.
    assert "| FedAvg | 86.0 | 1.4 | 73.3 to 98.7 | 2 |" in " ".join(text.split())
    files = report.save(sections, tmp_path / "report.csv")
    assert [file.name for file in files] == [f"report-{section.name}.csv" for section in sections]
    assert pd.read_csv(files[2])["budget"].tolist() == [3e6] * 3
    with pytest.raises(ResultsError, match=r"written as \.md or \.csv"):
        report.save(sections, tmp_path / "report.txt")


def test_runs_that_send_nothing_have_no_equal_bytes(make_run: MakeRun):
    runs = load(make_run("c", [0.0, 0.5], method="centralized", label="Centralized", saving=None))
    assert {section.name: section.text for section in report.report(runs)}["bytes"] == "No run sends anything."


def test_the_largest_seed_sets_the_budget(make_run: MakeRun):
    little, much = (make_run(f"seed{seed}", [0.0, 0.5, quality], seed=seed) for seed, quality in enumerate([0.6, 0.9]))
    rounds = pd.read_csv(much / "rounds.csv")
    rounds["bytes_total"] = rounds["bytes_total"] * 3 // 2
    rounds.to_csv(much / "rounds.csv", index=False)
    summary = json.loads((much / "summary.json").read_text())
    summary["bytes"] = {key: value * 3 // 2 for key, value in summary["bytes"].items()}
    (much / "summary.json").write_text(json.dumps(summary))
    rows = budgets.quality_under(load([little, much]), budgets.BYTES)
    assert rows["budget"].tolist() == [3e7]  # 2 rounds of 5 clients, 1.5 MB up and as much down
    assert rows["test"].tolist() == pytest.approx([75])  # the mean of 60 and 90, each with its last round
