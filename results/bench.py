"""The benchmark's records -> seconds, ratios within a repetition, memory: a table and a bar chart."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from results import canvas, output, style, tables
from results.frames import ResultsError

OURS, FLOOR = "skipfl", "bare"
"""The contestants that ratios are taken to."""
SAME = 1e-3
"""Final weights are called the same when they lie no further apart, in parts of the way that training moved them."""
COLORS = {OURS: style.BLUE, "one-worker": style.BLUE, "serial": style.BLUE, "flower": style.ORANGE, "pfl": style.ORANGE}
"""Ours, and other simulators; bare loops are grey."""
KEY = ["workload", "variant", "held_out"]
DISTURBED = 0.05
"""Other work on the machine is told of when it takes more than this part of a processor during a run."""
LATE = 4
"""The last rounds are told apart: one in so many, by when whatever is done once (caches, fresh memory) is done."""
BAR = 0.16
"""Height of a bar in inches."""


def load(file: Path) -> pd.DataFrame:
    """One row a run.

    Raises:
        ResultsError: if the file holds no finished run.
    """
    records = [json.loads(line) for line in file.read_text().splitlines()]
    if not any(record["status"] == "ok" for record in records):
        raise ResultsError(f"{file}: no run has finished")
    rows = []
    for record in records:
        settings = record["settings"]
        packages = {name: record["packages"][name] for name in ("skipfl", "torch", "transformers", "ray")}
        flat = {key: value for key, value in record.items() if not isinstance(value, dict | list)}
        mains = record.get("main_mb") or [np.nan]
        rows.append(
            flat
            | {key: settings[key] for key in ("clients", "cohort", "rounds", "held_out")}
            | {"workload_title": settings["title"]}
            | {"first_round_seconds": (record.get("round_seconds") or [np.nan])[0]}
            | {"late_seconds_per_round": _late(record.get("round_seconds") or [np.nan])}
            | {"others_share": (record.get("others_seconds") or float("nan")) / record["total_seconds"]}
            | {"main_growth_mb": mains[-1] - mains[0], "score": (record.get("scores") or [np.nan])[-1]}
            | packages
            | {name: record.get("peers", {}).get(name) for name in ("flower", "pfl")}
        )
    return pd.DataFrame(rows)


def _late(seconds: list[float]) -> float:
    """The mean of the last rounds."""
    return float(np.mean(seconds[-max(1, len(seconds) // LATE) :]))


def comparison(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a workload, variant and contestant, in the order in which they first ran.

    Seconds and start-up are medians over the repetitions, with the smallest and largest; memory, steps and the distance
    of the weights the largest. `to_skipfl` and `to_bare` are seconds per round in parts of those of skipfl, or of the
    bare processes, in the same repetition: median, smallest and largest of these ratios; `late_...` are the same of the
    last quarter of the rounds. `client_ms` is the time of a process per client and round, and `overhead_ms` what it has
    over that of the bare loop with as many processes.
    """
    finished = runs[runs["status"] == "ok"].copy()
    finished["client_ms"] = 1000 * finished["seconds_per_round"] * finished["workers"] / finished["cohort"]
    rows = []
    for key, group in runs.groupby([*KEY, "contestant"], sort=False):
        own = _same(finished, KEY, key[:-1])
        mine = own[own["contestant"] == key[-1]].set_index("repeat")
        first = group.iloc[0]
        row: dict[str, Any] = dict(zip([*KEY, "contestant"], key, strict=True))
        row |= {"title": first["title"], "workload_title": first["workload_title"]}
        row |= {"repeats": len(mine), "failed": int((group["status"] != "ok").sum())}
        for name in ("seconds_per_round", "late_seconds_per_round", "client_ms"):
            row |= _spread(name, mine[name])
        for name in ("start_seconds", "first_round_seconds", "total_seconds", "main_growth_mb"):
            row[name] = mine[name].median()
        for name in ("peak_pss_mb", "peak_rss_mb", "weights_differ", "steps", "others_share"):
            row[name] = mine[name].max()
        for name, other in (("to_skipfl", OURS), ("to_bare", FLOOR)):
            base = own[own["contestant"] == other].set_index("repeat")
            for prefix in ("", "late_"):
                seconds = f"{prefix}seconds_per_round"
                row |= _spread(f"{prefix}{name}", (mine[seconds] / base[seconds]).dropna())
        floors = own[own["contestant"].isin([FLOOR, "loop"]) & (own["workers"] == first["workers"])]
        floor = floors.groupby("repeat")["client_ms"].min()
        row["overhead_ms"] = (mine["client_ms"] - floor).median()
        rows.append(row)
    return pd.DataFrame(rows)


def _same(frame: pd.DataFrame, columns: list[str], values: tuple[Any, ...]) -> pd.DataFrame:
    """The rows with these values."""
    return frame[(frame[columns] == list(values)).all(axis=1)]


def _spread(name: str, values: pd.Series) -> dict[str, float]:
    return {name: values.median(), f"{name}_low": values.min(), f"{name}_high": values.max()}


def text(rows: pd.DataFrame) -> str:
    """The comparison as Markdown, a table for each workload and variant, with a note on how to read it."""
    return (
        "\n\n".join(f"**{_heading(group)}**\n\n{_table(group)}" for _, group in rows.groupby(KEY, sort=False))
        + f"\n\n{_note(rows)}"
    )


def _heading(group: pd.DataFrame) -> str:
    first = group.iloc[0]
    evaluated = f", evaluated on {first['held_out']} examples each round" if first["held_out"] else ""
    return f"{first['workload']} ({first['workload_title']}), {first['variant']}{evaluated}"


def _table(group: pd.DataFrame) -> str:
    cells = []
    for row in group.to_dict("records"):
        memory = f"{_number(row['peak_pss_mb'], '.0f')} ({_number(row['peak_rss_mb'], '.0f')})"
        cells.append(
            {
                "contestant": f"{row['title']}, {row['failed']} failed" if row["failed"] else row["title"],
                "s per round": _range(row, "seconds_per_round"),
                "× skipfl": _range(row, "to_skipfl"),
                "× bare": _range(row, "to_bare"),
                "last rounds, s": _range(row, "late_seconds_per_round"),
                "last, × skipfl": _range(row, "late_to_skipfl"),
                "last, × bare": _range(row, "late_to_bare"),
                "start-up, s": _number(row["start_seconds"], ".1f"),
                "first round, s": _number(row["first_round_seconds"], ".2f"),
                "ms per client": _number(row["client_ms"], ".2f"),
                "overhead, ms": _number(row["overhead_ms"], ".2f"),
                "peak memory, MB (RSS)": memory,
                "main grew, MB": _number(row["main_growth_mb"], ".0f"),
                "weights differ": _weights(group, row),
            }
        )
    return tables.markdown(pd.DataFrame(cells))


def _weights(group: pd.DataFrame, row: Mapping[Any, Any]) -> str:
    """How far the final weights are from the first contestant's; where they are not the same, whether the steps are."""
    differ = row["weights_differ"]
    if pd.isna(differ) or differ <= SAME:
        return _number(differ, ".0e")
    steps = "same" if row["steps"] == group["steps"].max() else "not the same"
    return f"{differ:.0e}, {steps} number of steps"


def _range(row: Mapping[Any, Any], name: str) -> str:
    """Median, and smallest to largest where there are several."""
    middle, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if pd.isna(middle):
        return tables.NOTHING
    return f"{middle:.2f}" if low == high else f"{middle:.2f} ({low:.2f}–{high:.2f})"


def _number(value: float, form: str) -> str:
    return tables.NOTHING if pd.isna(value) else format(value, form)


def _note(rows: pd.DataFrame) -> str:
    return (
        f"Medians of up to {rows['repeats'].max()} repetitions in which all contestants ran in turn, with the smallest "
        "and the largest; memory and distance of weights are the largest. Seconds per round are those after the first; "
        "the last rounds are the last quarter. Ratios are taken within a repetition. Per client: seconds of one "
        "process, and what they exceed those of the bare loop with as many processes. Peak memory of the process tree "
        "is proportional (shared pages counted once), in parentheses the plain sum of resident sets, both in MB of "
        "10^6 bytes; main grew: resident memory of the main process from the first to the last round. Weights differ: "
        "distance of the final weights from those of the first contestant, in parts of the way that training moved "
        "them. Bare loops ask for huge pages and keep memory that they free, as skipfl's workers do; other simulators "
        "run as their users run them."
    ) + _disturbed(rows)


def _disturbed(rows: pd.DataFrame) -> str:
    """Which runs other processes took a notable part of a processor from; empty if there were none."""
    most = rows[rows["others_share"] > DISTURBED]
    if most.empty:
        return ""
    named = [
        f"{row['title']} in {row['workload']}, {row['variant']} ({row['others_share']:.2f})"
        for row in most.to_dict("records")
    ]
    return f" Other processes of the machine took part of a processor during runs of {'; '.join(named)}."


def figure(rows: pd.DataFrame) -> Figure:
    """Seconds per round (left) and peak memory (right), a row of panels for each workload and variant.

    Whiskers reach from the smallest to the largest repetition; numbers at the bars are medians, in parentheses the
    median ratio to skipfl. Memory is the largest.
    """
    groups = [group for _, group in rows[rows["repeats"] > 0].groupby(KEY, sort=False)]
    heights = [BAR * len(group) + 0.55 for group in groups]
    with style.paper():
        drawn = Figure(figsize=(style.PAGE_WIDTH, sum(heights) + 0.1), layout="constrained")
        grid = drawn.subplots(len(groups), 2, squeeze=False, height_ratios=heights, width_ratios=[3, 2])
        for (seconds, memory), group in zip(grid, groups, strict=True):
            colors = [COLORS.get(name, style.GREY) for name in group["contestant"]]
            middle = group["seconds_per_round"]
            spread = [middle - group["seconds_per_round_low"], group["seconds_per_round_high"] - middle]
            places = np.arange(len(group))
            seconds.barh(places, middle, 0.72, color=colors)
            seconds.errorbar(middle, places, xerr=spread, fmt="none", ecolor=style.BLACK, elinewidth=0.8, capsize=1.5)
            memory.barh(places, group["peak_pss_mb"], 0.72, color=colors)
            for place, row in zip(places, group.to_dict("records"), strict=True):
                ratio = "" if pd.isna(row["to_skipfl"]) else f" ({row['to_skipfl']:.2f} ×)"
                end = row["seconds_per_round_high"]
                seconds.annotate(f"{row['seconds_per_round']:.3g}{ratio}", (end, place), **_BESIDE)
                memory.annotate(f"{row['peak_pss_mb']:.0f}", (row["peak_pss_mb"], place), **_BESIDE)
            seconds.set_yticks(places, group["title"])
            memory.set_yticks(places, [""] * len(group))
            seconds.set_xlabel("seconds per round (and in parts of skipfl's)")
            memory.set_xlabel("peak memory of all processes (MB)")
            seconds.set_title(_heading(group), loc="left")
            for axes in (seconds, memory):
                axes.set_xlim(0, 1.28 * axes.dataLim.x1)
                axes.set_ylim(len(group) - 0.4, -0.6)
                axes.grid(visible=False, axis="y")
    return drawn


_BESIDE: dict[str, Any] = {
    "xytext": (3, 0),
    "textcoords": "offset points",
    "va": "center",
    "fontsize": style.RC["xtick.labelsize"],
}


def save(runs: pd.DataFrame, folder: Path) -> list[Path]:
    """Write `runs.csv`, the comparison as `table.csv` and `table.md`, and `chart.png` and `chart.pdf`."""
    rows = comparison(runs)
    output.write(folder / "runs.csv", runs.to_csv(index=False))
    output.write(folder / "table.csv", rows.to_csv(index=False))
    output.write(folder / "table.md", f"{text(rows)}\n\n{provenance(runs)}\n")
    return [
        folder / "runs.csv",
        folder / "table.csv",
        folder / "table.md",
        *canvas.save(figure(rows), folder / "chart"),
    ]


def provenance(runs: pd.DataFrame) -> str:
    """Where and when the runs were made, and from which commits, one sentence a machine and day."""
    columns = ["date", "processor", "cpus", "memory_mb", "torch", "flower", "pfl"]
    said = []
    for _, made in runs.groupby(columns, sort=False, dropna=False):
        row = made.iloc[0]
        peers = "".join(f", {name} {row[name]}" for name in ("flower", "pfl") if isinstance(row[name], str))
        where = f"{row['processor']}, {row['cpus']} CPUs, {row['memory_mb'] / 1000:.0f} GB"
        sources = made[["commit", "dirty"]].drop_duplicates()
        commits = [_commit(commit, dirty) for commit, dirty in sources.to_numpy()]
        which = f"commit{'s' * (len(commits) > 1)} {', '.join(commits)}"
        said.append(f"{row['date']}, {where}, torch {row['torch']}{peers}, {which}.")
    return " ".join(said)


def _commit(commit: Any, dirty: Any) -> str:
    """A commit in short, and whether more was changed; both may be missing, where the source was no checkout."""
    short = commit[:9] if isinstance(commit, str) else "unknown"
    return short if pd.isna(dirty) or not dirty else f"{short} (with changes that are not committed)"
