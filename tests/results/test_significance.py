"""Paired tests by hand."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from scipy import stats

from results import significance
from results.frames import load

MakeRun = Callable[..., Path]


def write(make_run: MakeRun, label: str, best: dict[int, float]) -> None:
    for seed, value in best.items():
        make_run(f"{label}-{seed}", [0.0, value], method=label.lower(), label=label, seed=seed)


def test_three_pairs_by_hand(make_run: MakeRun, tmp_path: Path):
    """Differences 2, 3 and 7 points: mean 4, squared deviations 4 + 1 + 9 = 14, variance 7, t = 4 / sqrt(7 / 3);
    with 2 degrees of freedom p = 1 - t / sqrt(2 + t²) = 0.12012. The interval is 4 ± 4.302653 sqrt(7 / 3)."""
    write(make_run, "A", {0: 0.82, 1: 0.83, 2: 0.90})
    write(make_run, "B", {0: 0.80, 1: 0.80, 2: 0.83})
    (row,) = significance.paired_tests(load(tmp_path)).to_dict("records")
    assert (row["label"], row["other"], row["pairs"]) == ("A", "B", 3)
    assert (row["difference"], row["difference_sd"]) == pytest.approx((4, math.sqrt(7)))
    t = 4 / math.sqrt(7 / 3)
    assert (row["t"], row["p"]) == pytest.approx((t, 1 - t / math.sqrt(2 + t**2)))
    assert row["p"] == pytest.approx(0.12012, abs=1e-5)
    half = 4.302653 * math.sqrt(7 / 3)
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((4 - half, 4 + half), abs=1e-5)
    assert row["p"] == pytest.approx(stats.ttest_rel([82, 83, 90], [80, 80, 83]).pvalue)
    assert row["p_holm"] == row["p"]


def test_only_common_seeds_are_paired(make_run: MakeRun, tmp_path: Path):
    write(make_run, "A", {0: 0.5, 1: 0.9, 3: 0.6})
    write(make_run, "B", {1: 0.8, 2: 0.1, 3: 0.4})
    (row,) = significance.paired_tests(load(tmp_path)).to_dict("records")
    assert (row["pairs"], row["difference"]) == (2, pytest.approx(15))  # 10 and 20
    # Two pairs: t = 15 / (sqrt(50) / sqrt(2)) = 3; one degree of freedom, p = 1 - 2 atan(3) / pi.
    assert (row["t"], row["p"]) == pytest.approx((3, 1 - 2 * math.atan(3) / math.pi))


def test_too_few_seeds_are_said(make_run: MakeRun, tmp_path: Path):
    write(make_run, "A", {0: 0.5})
    write(make_run, "B", {0: 0.8})
    write(make_run, "C", {1: 0.8})
    rows = significance.paired_tests(load(tmp_path))
    assert rows["pairs"].tolist() == [1, 0, 0]
    assert rows["difference"].tolist() == pytest.approx([-30, math.nan, math.nan], nan_ok=True)
    assert rows[["t", "p", "p_holm"]].isna().all(axis=None)
    text = significance.text(rows)
    assert text.count("| too few seeds |") == 3
    assert "Too few seeds: a test needs at least two that both methods have run." in text
    assert "pairs p falls below" not in text


def test_differences_without_spread_have_no_test(make_run: MakeRun, tmp_path: Path):
    write(make_run, "A", {0: 0.75, 1: 0.5})
    write(make_run, "B", {0: 0.5, 1: 0.25})
    (row,) = significance.paired_tests(load(tmp_path)).to_dict("records")
    assert row["difference"] == 25
    assert math.isnan(row["p"])
    assert "no spread" in significance.text(significance.paired_tests(load(tmp_path)))


def test_what_three_seeds_cannot_say(study: Path):
    rows = significance.paired_tests(load(study))
    assert len(rows) == 15  # six methods
    text = significance.text(rows)
    # t(0.975, 2) / sqrt(3) = 4.302653 / 1.732051 = 2.484.
    assert "With 3 pairs p falls below 0.05 only where the mean difference exceeds 2.5 of its standard" in text
    assert "a larger p does not say that two methods are equal" in text
    assert "corrected for 15 tests" in text


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.03 of three tests: 3 x 0.01, 2 x 0.02, and 0.03, raised to the 0.04 before it."""
    assert significance.holm([0.03, 0.01, math.nan, 0.02]).tolist() == pytest.approx(
        [0.04, 0.03, math.nan, 0.04], nan_ok=True
    )
    assert significance.holm([0.6, 0.9]).tolist() == [1, 1]
    assert significance.holm([]).tolist() == []
