"""Which layers were trained: shares by hand, and the figure."""

import json

import numpy as np
import pytest

from results import frames
from results.frames import ResultsError
from results.layers import layers_figure, layers_frame
from tests.results.conftest import write_run

HEADER = "round,client,examples,layers\n"


def test_shares_of_the_cohort_by_hand(tmp_path):
    """Round 1: both clients train layer 1, one of them layer 0 too. Round 2: one client trains layer 2, one none."""
    rows = "1,0,5,0 1\n1,1,5,1\n2,0,5,2\n2,1,5,\n"
    (tmp_path / "clients.csv").write_text(HEADER + rows)
    frame = layers_frame(tmp_path)
    found = {(row.round, row.layer): row.share for row in frame.itertuples()}
    assert found == {(1, 0): 0.5, (1, 1): 1.0, (1, 2): 0.0, (2, 0): 0.0, (2, 1): 0.0, (2, 2): 0.5}


def test_layers_that_are_never_trained_are_there_and_who_dropped_out_is_not(tmp_path):
    """Of three clients one drops out before it trains, and one arrives late: the share is of two."""
    rows = "1,0,5,1,ok\n1,1,5,0 1,late\n1,2,5,,dropped\n2,0,5,,dropped\n"
    (tmp_path / "clients.csv").write_text("round,client,examples,layers,status\n" + rows)
    frame = layers_frame(tmp_path, depth=4)
    found = {(row.round, row.layer): row.share for row in frame.itertuples()}
    assert found == {(1, 0): 0.5, (1, 1): 1.0, (1, 2): 0.0, (1, 3): 0.0}


def test_more_layers_than_the_model_has(tmp_path):
    (tmp_path / "clients.csv").write_text(HEADER + "1,0,5,4\n")
    assert layers_frame(tmp_path, depth=5)["share"].tolist() == [0, 0, 0, 0, 1]
    with pytest.raises(ResultsError, match=r"layer 4 was trained, but summary\.json tells of 4 layers"):
        layers_frame(tmp_path, depth=4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "clients.csv: cannot be read: No such file"),
        ("round,client\n1,0\n", "clients.csv: does not say which layers were trained"),
        (HEADER + "1,0,5,a b\n", "clients.csv: does not say which layers were trained"),
        (HEADER + "1,0,5,\n", "clients.csv: no layer was trained"),
    ],
)
def test_records_that_say_nothing(tmp_path, content, message):
    if content is not None:
        (tmp_path / "clients.csv").write_text(content)
    with pytest.raises(ResultsError, match=message):
        layers_frame(tmp_path)


def test_the_figure_has_all_layers_and_rounds(tmp_path):
    """Of four layers one was trained, in the first and the third round; in the second everybody dropped out. Another
    run trained none of them."""
    rows = {"A": "1,0,5,1,ok\n2,0,5,,dropped\n3,0,5,1,ok\n", "Head only": "1,0,5,,ok\n2,0,5,,ok\n3,0,5,,ok\n"}
    for label, clients in rows.items():
        folder = write_run(tmp_path / label, [0.1, 0.2, 0.3, 0.4], label=label)
        (folder / "clients.csv").write_text("round,client,examples,layers,status\n" + clients)
        summary = json.loads((folder / "summary.json").read_text())
        (folder / "summary.json").write_text(json.dumps(summary | {"depth": 4}))
    _, axes, _ = layers_figure(frames.load(tmp_path))
    shown = [panel.collections[0].get_array().reshape(4, 3) for panel in axes]
    assert np.ma.filled(shown[0], -1).tolist() == [[0, -1, 0], [100, -1, 100], [0, -1, 0], [0, -1, 0]]
    assert np.ma.filled(shown[1], -1).tolist() == [[0, 0, 0]] * 4


def test_a_panel_for_each_label(tmp_path):
    for label in ("A", "B"):
        folder = write_run(tmp_path / label, [0.1, 0.2, 0.3], label=label)
        (folder / "clients.csv").write_text(HEADER + "1,0,5,2 3\n2,0,5,0\n")
    _, axes, frame = layers_figure(frames.load(tmp_path))
    assert [panel.get_title() for panel in axes] == ["A", "B"]
    assert set(frame["label"]) == {"A", "B"}
    assert len(frame) == 2 * 2 * 4
