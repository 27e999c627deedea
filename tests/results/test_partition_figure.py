"""The pictures and tables of a partition show the numbers of its record, few clients or thousands."""

import json
from pathlib import Path

import numpy as np
import pytest

from results.frames import ResultsError
from results.partition import partition_figure
from results.partition_record import read_partition
from results.partition_tables import client_rows, summary_rows

RECORD = {
    "labels": ["problem", "test"],
    "groups": ["east", "west"],
    "split": "train",
    "skewed_by": "group",
    "statistics": {
        "effective_classes_all": 2.0,
        "effective_classes_mean": 1.5,
        "js_divergence_bits": 0.25,
        "total_variation_mean": 0.2,
        "total_variation_max": 0.4,
    },
    "group_statistics": {
        "effective_classes_all": 1.9,
        "effective_classes_mean": 1.1,
        "js_divergence_bits": None,
        "total_variation_mean": 0.3,
        "total_variation_max": 0.5,
    },
    "clients": [
        {
            "client": 0,
            "examples": 40,
            "label_counts": {"problem": 30, "test": 10},
            "effective_classes": 1.75,
            "total_variation": 0.1,
            "group_counts": {"west": 40},
            "group_effective_classes": 1.0,
            "group_total_variation": 0.5,
        },
        {
            "client": 1,
            "examples": 20,
            "label_counts": {"test": 20},
            "effective_classes": 1.0,
            "total_variation": 0.4,
            "group_counts": {"east": 15, "west": 5},
            "group_effective_classes": 1.5,
            "group_total_variation": 0.25,
        },
    ],
}


def write(folder: Path, record: dict = RECORD) -> Path:
    file = folder / "partition.json"
    file.write_text(json.dumps(record))
    return file


def many(clients: int, labels: int = 3, largest: int = 99) -> dict:
    generator = np.random.default_rng(0)
    rows = generator.integers(0, largest, (clients, labels))
    rows[0] = 1
    names = [f"label {number}" for number in range(labels)]
    return {
        "labels": names,
        "split": "train",
        "statistics": {"effective_classes_all": 2.9},
        "clients": [
            {
                "client": client,
                "examples": int(row.sum()),
                "label_counts": dict(zip(names, row.tolist(), strict=True)),
                "effective_classes": 2.5,
                "total_variation": 0.25,
            }
            for client, row in enumerate(rows)
        ],
    }


def inside(figure) -> bool:
    """Whether everything that is drawn lies within the picture."""
    renderer = figure.canvas.get_renderer()
    figure.draw(renderer)
    box = figure.get_tightbbox(renderer)  # in inches
    width, height = figure.get_size_inches()
    return box.x0 > -0.01 and box.y0 > -0.01 and box.x1 < width + 0.01 and box.y1 < height + 0.01


def test_what_is_shown_is_what_the_partition_is_skewed_by(tmp_path: Path):
    figure, (sizes, grid), frame = partition_figure(write(tmp_path))
    assert frame.columns.tolist() == ["client", "group", "count", "share"]
    assert frame["count"].tolist() == [0, 40, 15, 5]
    assert frame["share"].tolist() == [0, 100, 75, 25]
    assert [bar.get_height() for bar in sizes.patches] == [40, 20]
    assert [label.get_text() for label in grid.get_yticklabels()] == ["east", "west"]
    assert inside(figure)
    *_, frame = partition_figure(tmp_path, kind="label")
    assert frame["label"].tolist() == ["problem", "test"] * 2


def test_areas_of_bubbles_are_numbers_of_examples(tmp_path: Path):
    figure, (axes,), frame = partition_figure(write(tmp_path), "bubbles", "label")
    (bubbles, *_) = axes.collections
    assert bubbles.get_offsets().tolist() == [[0, 0], [0, 1], [1, 1]]
    sizes = bubbles.get_sizes()
    assert (sizes / sizes.max()).tolist() == pytest.approx([1, 1 / 3, 2 / 3])
    assert frame["count"].tolist() == [30, 10, 0, 20]
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["1", "5", "20"]
    assert legend.legend_handles[2].get_sizes() / sizes.max() == pytest.approx(20 / 30)
    assert inside(figure)


@pytest.mark.parametrize(("clients", "labels"), [(10, 3), (50, 13), (12, 30)])
def test_no_bubble_covers_another(tmp_path: Path, clients: int, labels: int):
    figure, (axes,), _ = partition_figure(write(tmp_path, many(clients, labels)), "bubbles")
    figure.draw(figure.canvas.get_renderer())
    (left, top), (right, bottom) = axes.transData.transform([(0, 0), (1, 1)])
    diameter = np.sqrt(axes.collections[0].get_sizes().max()) * figure.dpi / 72
    assert diameter <= min(right - left, top - bottom) * 1.02
    assert inside(figure)


@pytest.mark.parametrize("largest", [5, 100_000])
def test_many_clients_are_summarised(tmp_path: Path, largest: int):
    figure, (sizes, effective, distance, labels), frame = partition_figure(write(tmp_path, many(1000, 3, largest)))
    assert frame.columns.tolist() == ["client", "examples", "effective_classes", "total_variation"]
    assert len(frame) == 1000
    for axes in (sizes, effective, distance):
        assert sum(bar.get_height() for bar in axes.patches) == 1000
    assert sizes.get_xscale() == ("log" if largest > 5 else "linear")
    assert [label.get_text() for label in labels.get_yticklabels()] == ["label 0", "label 1", "label 2"]
    assert inside(figure)


def test_quantiles_of_shares_by_hand(tmp_path: Path):
    # Clients that hold 0, 1, ..., 100 % of a: the quantiles of the share are the percents themselves, together half.
    record = many(101, 2)
    for number, client in enumerate(record["clients"]):
        client |= {"examples": 100, "label_counts": {"label 0": number, "label 1": 100 - number}}
    _, (*_, labels), _ = partition_figure(write(tmp_path, record), "distributions")
    wide, narrow = (lines.get_segments() for lines in labels.collections)
    assert wide[0][:, 0].tolist() == pytest.approx([5, 95])
    assert narrow[1][:, 0].tolist() == pytest.approx([25, 75])
    assert [line.get_xdata()[0] for line in labels.lines] == pytest.approx([50, 50])


def test_rare_labels_share_a_row_and_long_names_are_cut(tmp_path: Path):
    record = many(3, 40)
    record["labels"][0] = "a" * 40
    for client in record["clients"]:
        client["label_counts"]["a" * 40] = client["label_counts"].pop("label 0") + 1000
    figure, (_, grid), frame = partition_figure(write(tmp_path, record))
    names = [label.get_text() for label in grid.get_yticklabels()]
    assert (len(names), names[0], names[-1]) == (30, "a" * 33 + "…", "11 others")
    assert len(frame) == 3 * 40
    assert inside(figure)


@pytest.mark.parametrize(
    ("view", "kind", "expected"),
    [
        (
            "bubbles",
            None,
            "bubbles of 51 clients would cover each other (at most 50); draw the heatmap or distributions",
        ),
        ("pie", None, "view 'pie': expected heatmap, bubbles, distributions"),
        (None, "cluster", "the partition does not record clusters; it has label"),
    ],
)
def test_pictures_that_cannot_be(tmp_path: Path, view, kind, expected):
    with pytest.raises(ResultsError) as caught:
        partition_figure(write(tmp_path, many(51)), view, kind)
    assert str(caught.value) == expected


def test_summary_by_hand(tmp_path: Path):
    assert summary_rows(read_partition(write(tmp_path))) == [
        ("skewed by", "group"),
        ("clients", "2"),
        ("examples (train split)", "60; of a client: smallest 20, median 30, largest 40"),
        ("labels", "2"),
        ("effective number of labels", "1.50 a client (mean); 2.00 together"),
        ("Jensen-Shannon divergence, labels", "0.250 bits, mean over pairs of clients"),
        ("earth mover's distance, labels", "0.200 to all examples (mean), 0.400 largest (total variation)"),
        ("groups", "2"),
        ("effective number of groups", "1.10 a client (mean); 1.90 together"),
        ("Jensen-Shannon divergence, groups", "one client"),
        ("earth mover's distance, groups", "0.300 to all examples (mean), 0.500 largest (total variation)"),
    ]


def test_clients_by_hand(tmp_path: Path):
    heading, *rows = client_rows(read_partition(write(tmp_path)), "label", 20, 5)
    assert heading == ["client", "examples", "effective labels", "distance to all", "most frequent labels"]
    assert rows == [
        ["0", "40", "1.75", "0.10", "problem 75 %, test 25 %"],
        ["1", "20", "1.00", "0.40", "test 100 %"],
    ]


def test_of_many_clients_the_first_and_last_are_listed(tmp_path: Path):
    record = read_partition(write(tmp_path, many(9)))
    assert [row[0] for row in client_rows(record, "label", 3, 2)[1:]] == ["0", "1", "2", "...", "7", "8"]
    assert [row[0] for row in client_rows(record, "label", 6, 2)[1:]] == [str(number) for number in range(9)]
