import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results import curves, style, tables
from results.frames import ResultsError, Runs, load

MakeRun = Callable[..., Path]


@pytest.fixture(scope="module")
def runs(study: Path) -> Runs:
    return load(study)


def curve_lines(axes: Axes) -> list[tuple[list[float], list[float]]]:
    """The lines that are not level across the panel."""
    return [(list(x), list(y)) for x, y in (line.get_data() for line in axes.lines) if list(x) != [0, 1]]


def assert_nothing_is_covered(figure: Figure) -> None:
    """Legend and note lie inside the figure and below everything drawn for the axes."""
    figure.canvas.draw()
    boxes = [artist.get_window_extent() for artist in (*figure.legends, *figure.texts)]
    legend, note = boxes
    assert not legend.overlaps(note)
    for box in boxes:
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width
        assert 0 <= box.y0 < box.y1 <= figure.bbox.height
        for axes in figure.axes:
            assert not box.overlaps(axes.get_tightbbox())


def test_frame_by_hand(make_run: MakeRun, tmp_path: Path):
    make_run("a-0", [0.0, 0.6, 0.8], seed=0, seconds_a_round=1.0)
    make_run("a-1", [0.1, 0.5, 0.9], seed=1, seconds_a_round=3.0)
    make_run("c-0", [0.0, 0.95, 0.9], method="centralized", label="Centralized", saving=None)
    frame = curves.curve_frame(load(tmp_path))
    curve = frame[~frame["reference"]]
    assert curve["round"].tolist() == [0, 1, 2]
    assert curve["mean"].tolist() == pytest.approx([5, 55, 85])
    assert curve["low"].tolist() == pytest.approx([0, 50, 80])
    assert curve["high"].tolist() == pytest.approx([10, 60, 90])
    assert curve["bytes_total"].tolist() == [0, 10_000_000, 20_000_000]
    assert curve["seconds_total"].tolist() == [0.5, 2.5, 4.5]
    assert curve["seeds"].tolist() == [2, 2, 2]
    reference = frame[frame["reference"]].iloc[0]
    assert (reference["label"], reference["mean"]) == ("Centralized", pytest.approx(95))
    assert math.isnan(reference["bytes_total"])


def test_a_run_that_stopped_early_counts_on(make_run: MakeRun, tmp_path: Path):
    """Seed 1 stopped after round 2 of 4: in rounds 3 and 4 it has its last 50 %, 20 MB and 4.5 s."""
    make_run("a-0", [0.0, 0.4, 0.6, 0.7, 0.8], seed=0, settings={"rounds": 4})
    make_run("a-1", [0.0, 0.6, 0.5], seed=1, settings={"rounds": 4})
    runs = load(tmp_path)
    frame = curves.curve_frame(runs)
    assert frame["mean"].tolist() == pytest.approx([0, 50, 55, 60, 65])
    assert frame["low"].tolist() == pytest.approx([0, 40, 50, 50, 50])
    assert frame["bytes_total"].tolist() == [0, 1e7, 2e7, 2.5e7, 3e7]
    assert frame["seconds_total"].tolist() == [0.5, 2.5, 4.5, 5.5, 6.5]
    assert frame["seeds"].tolist() == [2] * 5
    assert tables.comparison(runs)["final_test"].tolist() == pytest.approx([65])
    figure, *_ = curves.overview(runs)
    assert "Runs that stopped early count on with their last model." in " ".join(figure.texts[0].get_text().split())


def test_rounds_without_evaluation_are_left_out(make_run: MakeRun):
    folder = make_run("a", [0.0, 0.25, 0.75])
    file = folder / "rounds.csv"
    file.write_text(file.read_text().replace("0.25,", ","))
    assert curves.curve_frame(load(folder))["round"].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("draw", "x", "label"),
    [
        (curves.quality_against_bytes, "bytes_total", "bytes sent (up + down, all clients)"),
        (curves.quality_against_rounds, "round", "communication round"),
        (curves.quality_against_seconds, "seconds_total", "wall-clock time of training (s)"),
    ],
)
def test_single_panel(runs: Runs, draw: Callable[[Runs], tuple[Figure, Axes, pd.DataFrame]], x: str, label: str):
    figure, axes, frame = draw(runs)
    assert axes.get_xlabel() == label
    assert axes.get_ylabel() == "test entity F1 (%)"
    assert figure.get_size_inches()[0] == style.COLUMN_WIDTH
    drawn = frame[~frame["reference"] & ((x != "bytes_total") | (frame["round"] > 0))]
    expected = [(list(p[x]), list(p["mean"])) for _, p in drawn.groupby("label", sort=False)]
    assert curve_lines(axes) == expected
    assert len(expected) == 4
    levels = [line.get_ydata()[0] for line in axes.lines if list(line.get_xdata()) == [0, 1]]
    assert levels == frame.loc[frame["reference"], "mean"].tolist()
    assert_nothing_is_covered(figure)


def test_byte_axis_has_readable_units(runs: Runs):
    figure, axes, _ = curves.quality_against_bytes(runs)
    figure.canvas.draw()
    assert axes.get_xscale() == "log"
    low, high = axes.get_xlim()
    ticks = [
        text.get_text()
        for tick, text in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        if low <= tick <= high
    ]
    assert ticks == ["100 kB", "1 MB", "10 MB", "100 MB"]


def test_a_short_byte_axis_still_has_ticks(make_run: MakeRun):
    figure, axes, _ = curves.quality_against_bytes(load(make_run("a", [0.0, 0.5, 0.6, 0.7])))
    figure.canvas.draw()
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1e7, 2e7]


def test_overview(runs: Runs):
    figure, panels, frame = curves.overview(runs)
    assert [axes.get_xlabel() for axes in panels] == list(curves.X_LABELS.values())
    assert all(len(axes.lines) == 6 for axes in panels)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "FedAvg (±0 %)",
        "FedProx (μ = 0.01, ±0 %)",
        "Layer skipping (6/16 layers, −70.5 %)",
        "LoRA (rank 16, −99.1 %)",
        "Centralized",
        "Local only",
    ]
    note = " ".join(figure.texts[0].get_text().split())
    assert note.startswith("Mean over 3 seeds, band: smallest to largest.")
    assert "round 0 sends nothing" in note
    assert "1000000 bytes a transfer" in note
    # The labels' bests lie 26 points apart, so the axis starts 30 below the weakest, local only with 62.1.
    assert frame.groupby("label")["mean"].max().round(1)[["Centralized", "Local only"]].tolist() == [87.6, 62.1]
    assert panels[0].get_ylim()[0] == 32
    assert "Values below 32 % lie outside the axis." in note
    assert_nothing_is_covered(figure)


def test_runs_that_send_nothing_are_curves_when_alone(make_run: MakeRun):
    runs = load(make_run("c", [0.5, 0.51, 0.52], method="centralized", label="Centralized", saving=None))
    figure, panels, frame = curves.overview(runs)
    assert [axes.get_xlabel() for axes in panels] == ["communication round", "wall-clock time of training (s)"]
    assert curve_lines(panels[0]) == [([0, 1, 2], [50, 51, 52])]
    assert not frame["reference"].any()
    assert "One seed a method." in figure.texts[0].get_text()
    with pytest.raises(ResultsError, match="no run sends anything"):
        curves.quality_against_bytes(runs)


def test_many_long_labels_cover_nothing(make_run: MakeRun, tmp_path: Path):
    for k in range(9):
        make_run(f"{k}", [0.0, 0.5 + k / 100], label=f"A rather long name of a method with settings (number {k})")
    for draw in (curves.quality_against_rounds, curves.overview):
        assert_nothing_is_covered(draw(load(tmp_path))[0])


def test_ablation_figure(ablation_study: Path):
    runs = load(ablation_study)
    figure, (quality, sent), rows = curves.ablation_figure(runs)
    pd.testing.assert_frame_equal(rows, tables.ablation(runs))
    assert curve_lines(quality) == [(list(rows["skip_ratio"]), list(rows["best_test"]))]
    assert curve_lines(sent) == [(list(rows["skip_ratio"]), list(rows["bytes_total"]))]
    assert [text.get_text() for text in sent.texts][3] == "−70.5 %"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Layer skipping", "Centralized"]
    # Centralized: 86 with both seeds.
    assert [line.get_ydata()[0] for line in quality.lines if list(line.get_xdata()) == [0, 1]] == [pytest.approx(86)]
    assert sent.get_ylim()[0] == 0
    assert_nothing_is_covered(figure)


def test_partition_figure_by_hand(tmp_path: Path):
    record = {
        "labels": ["problem", "test"],
        "split": "train",
        "clients": [
            {"client": 0, "examples": 4, "label_counts": {"problem": 3, "test": 1}},
            {"client": 1, "examples": 2, "label_counts": {"none": 2}},
            {"client": 2, "examples": 0, "label_counts": {}},
        ],
    }
    (tmp_path / "partition.json").write_text(json.dumps(record))
    figure, (sizes, grid), frame = curves.partition_figure(tmp_path)
    assert frame["label"].tolist() == ["problem", "test", "none"] * 3
    assert frame["count"].tolist() == [3, 1, 0, 0, 0, 2, 0, 0, 0]
    assert frame["share"].tolist()[:6] == [75, 25, 0, 0, 0, 100]
    assert frame["share"].isna().tolist() == [False] * 6 + [True] * 3
    assert [bar.get_height() for bar in sizes.patches] == [4, 2, 0]
    shown = np.ma.filled(grid.images[0].get_array(), np.nan)
    np.testing.assert_array_equal(shown, frame["share"].to_numpy().reshape(3, 3).T)
    assert grid.get_xlabel() == "client (train split)"
    assert len(figure.axes) == 3


@pytest.mark.parametrize(
    "record", ['{"labels": ["a"]}', '{"labels": ["a"], "split": "train", "clients": []}', "[1]", "{"]
)
def test_partition_figure_names_a_broken_record(tmp_path: Path, record: str):
    (tmp_path / "partition.json").write_text(record)
    with pytest.raises(ResultsError, match=r"partition\.json: "):
        curves.partition_figure(tmp_path / "partition.json")


def test_save_writes_both_kinds_and_the_same_bytes_again(runs: Runs, tmp_path: Path):
    files = curves.save(curves.quality_against_rounds(runs)[0], tmp_path / "new" / "alpha0.5")
    assert [file.name for file in files] == ["alpha0.5.png", "alpha0.5.pdf"]
    again = curves.save(curves.quality_against_rounds(runs)[0], tmp_path / "again.pdf")
    assert [file.name for file in again] == ["again.png", "again.pdf"]
    assert [file.read_bytes() for file in files] == [file.read_bytes() for file in again]
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["alpha0.5.pdf", "alpha0.5.png"]
    assert b"TrueType" in files[1].read_bytes() or b"CIDFontType2" in files[1].read_bytes()


def test_a_failed_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    figure = Figure()

    def fail(path: Path, **_: object) -> None:
        Path(path).write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(ResultsError, match=r"figure.png: cannot be written \(disk full\)"):
        curves.save(figure, tmp_path / "figure")
    assert list(tmp_path.iterdir()) == []
