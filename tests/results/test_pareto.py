"""The Pareto front by hand, and its picture."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from results.frames import ResultsError, load
from results.pareto import pareto_figure, pareto_frame

MakeRun = Callable[..., Path]


def assert_nothing_is_covered(figure: Figure) -> None:
    figure.canvas.draw()
    legend, note = (artist.get_window_extent() for artist in (*figure.legends, *figure.texts))
    assert not legend.overlaps(note)
    for box in (legend, note):
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width
        assert not any(box.overlaps(axes.get_tightbbox()) for axes in figure.axes)


def test_the_front_by_hand(make_run: MakeRun, tmp_path: Path):
    """Bytes fall with the saving. Worse is beaten by Cheap (as good, dearer), Twin by Dear (as many bytes, worse);
    Same has the bytes and quality of Cheap: neither beats the other."""
    points = {"Cheap": (0.9, 0.6), "Same": (0.9, 0.6), "Worse": (0.5, 0.6), "Middle": (0.4, 0.7), "Dear": (0.0, 0.8)}
    for label, (saving, quality) in (points | {"Twin": (0.0, 0.75)}).items():
        make_run(label, [0.0, quality], method=label.lower(), label=label, saving=saving)
    make_run("c", [0.0, 0.9], method="centralized", label="Centralized", saving=None)
    frame = pareto_frame(load(tmp_path))
    assert frame["label"].tolist() == ["Cheap", "Same", "Worse", "Middle", "Dear", "Twin"]
    assert frame["front"].tolist() == [True, True, False, True, True, False]


def test_the_picture(study: Path):
    runs = load(study)
    figure, axes, frame = pareto_figure(runs)
    pd.testing.assert_frame_equal(frame, pareto_frame(runs))
    assert axes.get_xscale() == "log"
    assert len(axes.containers) == 4  # error bars of those that send something
    (steps,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    front = frame[frame["front"]]
    assert list(steps.get_xdata()) == list(front["bytes_total"])
    assert list(steps.get_ydata()) == list(front["best_test"])
    shown = {text.get_text().split(" (")[0]: line for text, line in zip(
        figure.legends[0].get_texts(), figure.legends[0].get_lines(), strict=True
    )}  # fmt: skip
    hollow = {name for name, line in shown.items() if line.get_marker() and line.get_markerfacecolor() == "white"}
    assert hollow == {label.split(" (")[0] for label in frame.loc[~frame["front"], "label"]}
    note = " ".join(figure.texts[0].get_text().split())
    assert "Mean ± standard deviation over seeds." in note
    assert_nothing_is_covered(figure)


def test_a_bound_far_away_is_a_line_of_the_note(make_run: MakeRun, tmp_path: Path):
    """Points at 80 and 70, so bounds from 60 to 90 are drawn."""
    make_run("a", [0.0, 0.8])
    make_run("b", [0.0, 0.7], method="lora", label="LoRA", saving=0.99)
    make_run("c", [0.0, 0.88], method="centralized", label="Centralized", saving=None)
    make_run("l", [0.0, 0.55], method="local_only", label="Local only", saving=None)
    figure, axes, _ = pareto_figure(load(tmp_path))
    assert "Local only (55.0 %) lies outside the axis." in " ".join(figure.texts[0].get_text().split())
    assert [text.get_text() for text in figure.legends[0].get_texts()][2:] == ["Centralized"]
    (low, high), (left, right) = axes.get_ylim(), axes.get_xlim()
    assert 60 < low < 70
    assert 88 < high < 100
    assert left < 1e5
    assert right > 1e7
    assert_nothing_is_covered(figure)


def test_one_method_with_one_seed(make_run: MakeRun):
    figure, axes, frame = pareto_figure(load(make_run("a", [0.0, 0.5])))
    assert frame["front"].tolist() == [True]
    low, high = axes.get_ylim()
    assert low < 50 < high
    assert "over seeds" not in figure.texts[0].get_text()
    assert_nothing_is_covered(figure)


def test_many_methods_cover_nothing(make_run: MakeRun, tmp_path: Path):
    for k in range(18):
        make_run(f"{k}", [0.0, 0.5 + k / 100], label=f"A rather long name (number {k})", saving=(k % 6) / 10)
    assert_nothing_is_covered(pareto_figure(load(tmp_path))[0])


def test_runs_that_send_nothing_have_no_front(make_run: MakeRun):
    runs = load(make_run("c", [0.0, 0.5], method="centralized", label="Centralized", saving=None))
    with pytest.raises(ResultsError, match="needs runs that send something"):
        pareto_figure(runs)
