"""The benchmark's table and chart, from invented records with ratios derived by hand."""

import json

import pytest

from results import bench
from results.frames import ResultsError

SETTINGS = {"title": "compute-bound", "clients": 8, "cohort": 4, "rounds": 3, "held_out": 0, "workers": 2}
COMMON = {
    "workload": "A",
    "variant": "full",
    "status": "ok",
    "settings": SETTINGS,
    "steps": 24,
    "start_seconds": 5.0,
    "total_seconds": 30.0,
    "peak_pss_mb": 500.0,
    "peak_rss_mb": 700.0,
    "weights_differ": 1e-7,
    "main_mb": [300.0, 310.0, 302.0],
    "round_seconds": [9.0, 4.0, 4.0],
    "scores": [],
    "packages": {"skipfl": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0", "ray": "2.60.0"},
    "peers": {"flower": "1.42.0"},
    "date": "2026-01-02",
    "processor": "Example 9000",
    "cpus": 2,
    "memory_mb": 16000,
    "commit": "0123456789abcdef",
    "dirty": False,
}


def record(contestant, repeat, seconds, workers=2, **changes):
    title = {"skipfl": "skipfl, 2 workers", "bare": "2 bare processes", "flower": "Flower, 2 actors"}.get(contestant)
    return COMMON | {
        "contestant": contestant,
        "title": title or contestant,
        "repeat": repeat,
        "seconds_per_round": seconds,
        "workers": workers,
        **changes,
    }


RECORDS = [
    # the machine slows down from repetition to repetition: ratios within one tell more than seconds
    record("skipfl", 1, 2.0, peak_pss_mb=400.0),
    record("bare", 1, 3.0),
    record("flower", 1, 4.0, weights_differ=0.2),
    record("skipfl", 2, 4.0, peak_pss_mb=450.0),
    record("bare", 2, 5.0),
    record("flower", 2, 10.0, weights_differ=0.1),
    record("skipfl", 3, 8.0, peak_pss_mb=420.0),
    record("bare", 3, 12.0),
    {key: value for key, value in record("flower", 3, 0.0).items() if key not in ("seconds_per_round", "scores")}
    | {"status": "failed", "error": "exit code 1, see logs"},
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in RECORDS))
    return path


def test_ratios_are_taken_within_a_repetition(file):
    rows = bench.comparison(bench.load(file)).set_index("contestant")
    assert list(rows.index) == ["skipfl", "bare", "flower"]
    # to skipfl: bare 3/2, 5/4, 12/8 = 1.5, 1.25, 1.5; Flower 4/2, 10/4 = 2, 2.5
    assert rows.loc["bare", ["to_skipfl", "to_skipfl_low", "to_skipfl_high"]].tolist() == [1.5, 1.25, 1.5]
    assert rows.loc["flower", ["to_skipfl", "to_skipfl_low", "to_skipfl_high"]].tolist() == [2.25, 2.0, 2.5]
    # to bare: skipfl 2/3, 4/5, 8/12
    assert rows.loc["skipfl", "to_bare"] == pytest.approx(2 / 3)
    assert rows.loc["skipfl", "to_bare_high"] == pytest.approx(0.8)
    assert rows.loc["skipfl", ["seconds_per_round", "peak_pss_mb"]].tolist() == [4.0, 450.0]
    assert rows.loc["flower", ["repeats", "failed"]].tolist() == [2, 1]
    assert rows["main_growth_mb"].tolist() == [2.0, 2.0, 2.0]


def test_the_last_quarter_of_the_rounds_is_told_apart(tmp_path):
    """Of eight rounds the last two, of three the last; ours 3 and 2 s, the bare loop's 6 and 5: 2 and 2.5 times."""
    file = tmp_path / "records.jsonl"
    seconds = {
        ("skipfl", 1): [9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 2.0, 4.0],
        ("bare", 1): [9.0, 6.0, 6.0, 6.0, 6.0, 6.0, 5.0, 7.0],
        ("skipfl", 2): [9.0, 9.0, 2.0],
        ("bare", 2): [9.0, 6.0, 5.0],
    }
    lines = [record(name, repeat, 9.0, round_seconds=found) for (name, repeat), found in seconds.items()]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = bench.comparison(bench.load(file)).set_index("contestant")
    assert rows.loc["skipfl", ["late_seconds_per_round", "late_to_skipfl"]].tolist() == [2.5, 1.0]
    assert rows.loc["bare", ["late_to_skipfl", "late_to_skipfl_low", "late_to_skipfl_high"]].tolist() == [
        2.25,
        2.0,
        2.5,
    ]
    assert rows.loc["bare", ["to_skipfl", "late_to_bare"]].tolist() == [1.0, 1.0]


def test_time_of_a_client_is_that_of_one_process(file):
    rows = bench.comparison(bench.load(file)).set_index("contestant")
    # 4 s a round x 2 processes / 4 clients
    assert rows.loc["skipfl", "client_ms"] == 2000
    # beyond the bare processes, per repetition: (2 - 3), (4 - 5), (8 - 12) s x 2 / 4 = -0.5, -0.5, -2 s
    assert rows.loc["skipfl", "overhead_ms"] == -500
    assert rows.loc["bare", "overhead_ms"] == 0


def test_the_table_says_what_is_not_the_same(file):
    text = bench.text(bench.comparison(bench.load(file)))
    assert text.startswith("**A (compute-bound), full**")
    skipfl, bare, flower = (line for line in text.splitlines() if line.startswith(("| skipfl", "| 2 bare", "| Flower")))
    assert "4.00 (2.00–8.00)" in skipfl
    assert "1.50 (1.25–1.50)" in bare
    assert "1e-07" in bare
    assert "Flower, 2 actors, 1 failed" in flower
    assert "2e-01, same number of steps" in flower


def test_table_and_chart_are_made_from_the_records_alone(file, tmp_path):
    (tmp_path / "out").mkdir()
    files = bench.save(bench.load(file), tmp_path / "out")
    assert [path.name for path in files] == ["runs.csv", "table.csv", "table.md", "chart.png", "chart.pdf"]
    assert all(path.stat().st_size > 0 for path in files)
    provenance = (tmp_path / "out" / "table.md").read_text().splitlines()[-1]
    assert provenance == ("2026-01-02, Example 9000, 2 CPUs, 16 GB, torch 2.13.0, flower 1.42.0, commit 012345678.")


def test_all_commits_are_named_and_what_was_not_committed(tmp_path):
    file = tmp_path / "records.jsonl"
    lines = [
        record("skipfl", 1, 2.0),
        record("bare", 1, 2.0),
        record("skipfl", 2, 2.0, commit="abcdefabcdef", dirty=True),
        record("skipfl", 3, 2.0, date="2026-01-03", commit=None, dirty=None),
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    where = "Example 9000, 2 CPUs, 16 GB, torch 2.13.0, flower 1.42.0"
    assert bench.provenance(bench.load(file)) == (
        f"2026-01-02, {where}, commits 012345678, abcdefabc (with changes that are not committed). "
        f"2026-01-03, {where}, commit unknown."
    )


def test_other_work_on_the_machine_is_told(tmp_path):
    """Of 30 s: 1.2 are 0.04 of a processor, 9 are 0.3; the largest of a contestant counts."""
    file = tmp_path / "records.jsonl"
    lines = [
        record("skipfl", 1, 2.0, others_seconds=1.2),
        record("bare", 1, 2.0, others_seconds=1.2),
        record("skipfl", 2, 2.0),
        record("bare", 2, 2.0, others_seconds=9.0),
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = "Other processes of the machine took part of a processor during runs of 2 bare processes in A, full (0.30)."
    assert bench.text(bench.comparison(bench.load(file))).endswith(told)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines[:3]))
    assert "Other processes" not in bench.text(bench.comparison(bench.load(file)))


def test_bars_are_as_long_as_the_medians(file):
    seconds, memory = bench.figure(bench.comparison(bench.load(file))).axes
    assert [bar.get_width() for bar in seconds.patches] == [4.0, 5.0, 7.0]
    assert [bar.get_width() for bar in memory.patches] == [450.0, 500.0, 500.0]
    assert [label.get_text() for label in seconds.get_yticklabels()] == [
        "skipfl, 2 workers",
        "2 bare processes",
        "Flower, 2 actors",
    ]
    assert "seconds" in seconds.get_xlabel()
    assert "MB" in memory.get_xlabel()


def test_nothing_finished_is_said(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps(RECORDS[-1]) + "\n")
    with pytest.raises(ResultsError, match="no run has finished"):
        bench.load(path)
