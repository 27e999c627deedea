import math
from collections.abc import Callable
from pathlib import Path

import pytest

from results import report, tables
from results.frames import ResultsError, load
from results.wording import byte_count, with_saving

MakeRun = Callable[..., Path]


def test_comparison_by_hand(make_run: MakeRun, tmp_path: Path):
    make_run("skip-0", [0.0, 0.80, 0.70], method="layer_skipping", label="Skip", seed=0, saving=0.7, skip_ratio=0.6)
    make_run("skip-1", [0.0, 0.60, 0.84], method="layer_skipping", label="Skip", seed=1, saving=0.7, skip_ratio=0.6)
    make_run("fedavg-0", [0.0, 0.5, 0.9])
    make_run("central-0", [0.0, 0.5, 0.95], method="centralized", label="Centralized", saving=None)
    rows = tables.comparison(load(tmp_path))

    assert rows["label"].tolist() == ["FedAvg", "Skip", "Centralized"]
    assert rows["seeds"].tolist() == [1, 2, 1]
    skip = rows.iloc[1]
    # Best rounds 80 and 84: mean 82, sd sqrt(8). Final rounds 70 and 84: mean 77, sd sqrt(98).
    assert (skip["best_test"], skip["best_test_sd"]) == pytest.approx((82, math.sqrt(8)))
    assert (skip["final_test"], skip["final_test_sd"]) == pytest.approx((77, math.sqrt(98)))
    # Half width t(0.975, 1) * sqrt(8) / sqrt(2) = 12.706205 * 2.
    assert (skip["best_test_low"], skip["best_test_high"]) == pytest.approx((82 - 25.41241, 82 + 25.41241), abs=1e-4)
    # 5 clients * 300 000 bytes * 2 directions * 2 rounds; set-up is apart, 5 * 1 000 000.
    assert (skip["bytes_total"], skip["bytes_setup"]) == (6_000_000, 5_000_000)
    assert skip["saving"] == pytest.approx(70)
    # 0.5 s + 2 s a round; the larger of 400 and 401 MB.
    assert (skip["seconds"], skip["peak_memory_mb"]) == (4.5, 401)
    assert math.isnan(rows["best_test_sd"].iloc[0])
    assert math.isnan(rows["saving"].iloc[2])


def test_text_by_hand(make_run: MakeRun, tmp_path: Path):
    make_run("lora-0", [0.0, 0.5], method="lora", label="LoRA", saving=0.9)
    make_run("local-0", [0.0, 0.4], method="local_only", label="Local only", saving=None)
    assert tables.text(tables.comparison(load(tmp_path))).splitlines() == [
        "| Method     | Test entity F1, best (%) | Test entity F1, final (%) | Sent | Set-up | Saving | Time (s)"
        " | Peak memory | Seeds |",
        "|:-----------|-------------------------:|--------------------------:|-----:|-------:|-------:|---------:"
        "|------------:|------:|",
        "| LoRA       |                     50.0 |                      50.0 | 1 MB |   5 MB | 90.0 % |      2.5"
        " |      400 MB |     1 |",
        "| Local only |                     40.0 |                      40.0 |    – |      – |      – |      2.5"
        " |      400 MB |     1 |",
        "",
        "Test entity F1. Best: at the round with the best validation entity F1; final: at the last round.",
        "Sent: bytes up + down, all clients and rounds (1 MB = 1e6 bytes), without the one-off set-up transfer.",
        "Saving: bytes against the full model: embeddings, 16 decoder layers, final norm and head, "
        "1000000 bytes a transfer.",
        "Time: local training and aggregation, without evaluation.",
        "– under Sent: the method sends nothing, so there is no saving to state.",
    ]


def test_methods_that_are_evaluated_less_often_are_named(make_run: MakeRun, tmp_path: Path):
    """Who has fewer evaluations has fewer rounds to choose the best from: that is said, in a table and a report."""
    often = {"rounds": 4, "evaluate": {"every": 1, "patience": None}}
    curve = [0.0, 0.5, 0.6, 0.7, 0.8]
    make_run("a", curve, settings=often)
    make_run("b", curve, label="LoRA", method="lora", settings=often)
    same = tables.comparison(load(tmp_path))
    assert tables.evaluation_notes(same) == []
    make_run("c", curve, label="FedPer", method="fedper", settings=often | {"evaluate": {"every": 4}})
    make_run("d", curve, label="Local only", method="local_only", settings=often | {"evaluate": {"every": 2}})
    make_run("e", curve, label="FedProx", method="fedprox", settings=often | {"evaluate": {"every": 1, "patience": 3}})
    said = (
        "Evaluated every round, but FedPer: after the last round; FedProx: every round, stopped after 3 without a "
        "better one; Local only: every 2 rounds. Who is evaluated less often has fewer rounds to choose the best from."
    )
    assert tables.footnotes(tables.comparison(load(tmp_path)))[-1] == said
    assert said in report.text(report.report(load(tmp_path)))


def test_spread_is_printed_and_named_for_several_seeds(study: Path):
    rows = tables.comparison(load(study))
    assert tables.formatted(rows).iloc[0, 1] == f"{rows['best_test'][0]:.1f} ± {rows['best_test_sd'][0]:.1f}"
    assert "mean ± standard deviation over seeds" in tables.footnotes(rows)[0]


def test_a_saving_of_nothing_or_less_has_a_readable_sign(study: Path):
    rows = tables.comparison(load(study))
    rows["saving"] = [-0.01, -100.0, 0.04, 70.52, math.nan, math.nan]
    assert tables.formatted(rows)["Saving"].tolist() == ["0.0 %", "−100.0 %", "0.0 %", "70.5 %", "–", "–"]


def test_each_denominator_is_named_with_its_methods(study: Path):
    rows = tables.comparison(load(study))
    rows.loc[rows["label"] == "LoRA (rank 16)", "saving_denominator"] = "another model, 7 bytes a transfer"
    notes = [note for note in tables.footnotes(rows) if note.startswith("Saving")]
    assert len(notes) == 2
    assert notes[0].startswith("Saving of FedAvg, FedProx (μ = 0.01), Layer skipping (6/16 layers): bytes against the")
    assert notes[1] == "Saving of LoRA (rank 16): bytes against another model, 7 bytes a transfer."


def test_ablation_rises_with_the_skip_ratio(ablation_study: Path):
    rows = tables.ablation(load(ablation_study))
    assert rows["skip_ratio"].tolist() == [0.0, 0.25, 0.5, 0.625, 0.75, 0.875]
    assert rows["saving"].tolist() == pytest.approx([21.3, 40.9, 60.6, 70.5, 80.3, 90.2])
    # Two seeds 0.6 points apart, the first at 84.0.
    assert rows["best_test"][3] == pytest.approx(84.3)
    assert rows["best_test_sd"][3] == pytest.approx(0.6 / math.sqrt(2))
    # 5 clients * 295 000 bytes * 2 directions * 2 rounds.
    assert rows["bytes_total"][3] == 5_900_000
    assert tables.formatted(rows)["Skip ratio"].tolist() == ["0", "0.25", "0.5", "0.625", "0.75", "0.875"]


def test_ablation_needs_a_skip_ratio(make_run: MakeRun):
    with pytest.raises(ResultsError, match="needs runs with a skip_ratio; none of 1 runs has one"):
        tables.ablation(load(make_run("fedavg", [0.0, 0.5])))


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.7, "1 kB"),
        (1000, "1 kB"),
        (38_652_288, "38.7 MB"),
        (1_159_000_000, "1.16 GB"),
        (999_600_000, "1 GB"),
        (5e14, "500 TB"),
    ],
)
def test_byte_count(count: float, text: str):
    assert byte_count(count) == text


@pytest.mark.parametrize(
    ("label", "saving", "text"),
    [
        ("FedAvg", 0.0, "FedAvg (±0 %)"),
        ("Layer skipping (6/16 layers)", 70.5, "Layer skipping (6/16 layers, −70.5 %)"),
        ("SCAFFOLD", -100.0, "SCAFFOLD (+100.0 %)"),
        ("Centralized", math.nan, "Centralized"),
    ],
)
def test_with_saving(label: str, saving: float, text: str):
    assert with_saving(label, saving) == text
