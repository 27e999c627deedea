"""A fair comparison in one report: at equal rounds, at equal bytes, by cost to a target, and tested on paired seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from results import budgets, output, significance, tables, targets
from results.frames import ResultsError, Runs
from results.wording import metric_name


@dataclass(frozen=True)
class Section:
    """One table of the report.

    Attributes:
        name: short, for a file's name.
        title: as printed.
        rows: the numbers; empty where there is nothing to say.
        text: the table as Markdown with its notes, or why there is none.
    """

    name: str
    title: str
    rows: pd.DataFrame
    text: str


def report(runs: Runs, byte_budgets: Sequence[float] = (), target: float = 95) -> list[Section]:
    """The sections of a report, in order.

    Args:
        byte_budgets: for quality at equal bytes; by default some of the methods' totals.
        target: per cent of centralized training, for the cost to a target.

    Raises:
        ResultsError: if the runs are not comparable, or a budget or target is out of range.
    """
    targets.check(target)
    quality = tables.comparison(runs)
    return [
        Section("quality", "Quality over seeds", quality, quality_text(quality)),
        _section("rounds", "At equal rounds", lambda: budgets.quality_under(runs, budgets.ROUNDS), budgets.text),
        _section(
            "bytes",
            "At equal bytes",
            lambda: budgets.quality_under(runs, budgets.BYTES, byte_budgets),
            budgets.text,
            missing="" if quality["bytes_total"].any() else "No run sends anything.",
        ),
        _section(
            "target",
            f"Cost to {target:g} % of centralized training",
            lambda: targets.cost_to_target(runs, target),
            targets.text,
            missing="" if "centralized" in set(quality["method"]) else "None of the runs is centralized: no target.",
        ),
        _section("pairs", "Paired tests", lambda: significance.paired_tests(runs), significance.text),
    ]


def text(sections: Sequence[Section]) -> str:
    """The sections as one Markdown text."""
    return "\n\n".join(f"## {section.title}\n\n{section.text}" for section in sections)


def save(sections: Sequence[Section], file: Path) -> list[Path]:
    """Write a report: as one ``.md`` file, or for a name ``x.csv`` one table each, ``x-quality.csv`` and so on.

    Returns:
        The files.

    Raises:
        ResultsError: if the name has another ending, or a file cannot be written.
    """
    if file.suffix not in (".md", ".csv"):
        raise ResultsError(f"{file}: a report is written as .md or .csv")
    if file.suffix == ".md":
        output.write(file, text(sections) + "\n")
        return [file]
    files = []
    for section in sections:
        if not section.rows.empty:
            files.append(file.with_name(f"{file.stem}-{section.name}.csv"))
            output.write(files[-1], section.rows.to_csv(index=False))
    return files


def quality_text(rows: pd.DataFrame) -> str:
    """`results.tables.comparison` by mean, standard deviation and 95 % interval, as a Markdown table with a note."""
    metric = metric_name(rows["metric"].iloc[0])
    cells = pd.DataFrame(
        {
            "Method": rows["label"],
            f"Test {metric} (%)": [f"{value:.1f}" for value in rows["best_test"]],
            "sd": [tables.with_spread(value, float("nan")) for value in rows["best_test_sd"]],
            tables.INTERVAL: [
                tables.NOTHING
                if pd.isna(row["best_test_low"])
                else f"{row['best_test_low']:.1f} to {row['best_test_high']:.1f}"
                for row in rows.to_dict("records")
            ],
            "Seeds": rows["seeds"].astype(str),
        }
    )
    note = f"Mean over seeds at the round with the best validation {metric}; interval: Student's t, seeds independent."
    return "\n".join([tables.markdown(cells), "", note, *tables.evaluation_notes(rows)])


def _section(
    name: str,
    title: str,
    rows: Callable[[], pd.DataFrame],
    words: Callable[[pd.DataFrame], str],
    missing: str = "",
) -> Section:
    """A section; where something is missing, only its title and what."""
    if missing:
        return Section(name, title, pd.DataFrame(), missing)
    found = rows()
    return Section(name, title, found, words(found))
