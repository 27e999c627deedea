"""The notes of a cohort: picked from the stream of NOTEEVENTS, put in order, one text an admission."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from partitions.corpora.mimic3.stream import Rows, stream

COLUMNS = ("ROW_ID", "HADM_ID", "CHARTDATE", "CHARTTIME", "CATEGORY", "DESCRIPTION", "ISERROR", "TEXT")
DISCHARGE_SUMMARY = "Discharge summary"
SEPARATOR = "\n\n"


@dataclass(frozen=True)
class Picked:
    """The wanted notes: their texts in a file, their order in memory.

    Attributes:
        texts: the file, UTF-8, one note after the other as they came.
        index: one row a note, in the order of reading: ``admission``, ``start`` and ``size`` (bytes).
        seen: rows of NOTEEVENTS in all.
    """

    texts: Path
    index: pd.DataFrame
    seen: int

    def by_admission(self) -> Iterator[tuple[int, str]]:
        """Each admission, in ascending order, with its notes as one text."""
        with self.texts.open("rb") as stream:
            places = self.index.itertuples(index=False, name=None)
            for admission, notes in groupby(places, key=itemgetter(0)):
                yield admission, SEPARATOR.join(_at(stream, start, size) for _, start, size in notes)


def pick_notes(file: Path, cohort: pd.DataFrame, hours: float | None, texts: Path) -> Picked:
    """Stream NOTEEVENTS and keep the notes that a cohort is judged by.

    Left out are notes without HADM_ID (outpatient notes), notes marked as an error (ISERROR 1) and blank ones. The text
    stays as it is, with its de-identification brackets ``[** **]``; space around a note is removed.

    Args:
        file: NOTEEVENTS.
        cohort: admissions by HADM_ID, with ``admitted``.
        hours: None for the discharge summaries: reports and their addenda. Else all other notes charted up to so many
            hours after the admission. A note that has a date but no time (ECG and echo reports) counts as charted at
            the end of that day, so that none is about what came after those hours. (A note may be written later than
            the time it is charted for; the release tells that time, STORETIME, of some notes only.)
        texts: file to write the texts to. They go to disk because the notes of an admission stand anywhere in
            NOTEEVENTS, and all of them may be more than memory holds.

    Returns:
        The notes in order of charting, addenda after reports of the same time, then by ROW_ID.

    Raises:
        CorpusError: if the table is malformed.
    """
    admissions = pa.array(cohort.index.to_numpy())
    until = None if hours is None else cohort["admitted"] + pd.Timedelta(hours=hours)
    parts = []
    seen = 0
    with texts.open("wb") as out:
        for rows in stream(file, COLUMNS):
            seen += len(rows)
            rows = _of_kind(rows, discharge=hours is None)
            rows = rows.where(pc.is_in(rows.integers("HADM_ID"), admissions))
            notes = _described(rows)
            if until is not None:
                early = notes["charted"].to_numpy() <= until.loc[notes["admission"]].to_numpy()
                rows, notes = rows.where(pa.array(early)), notes[early]
            contents = [text.encode() for text in pc.utf8_trim_whitespace(rows["TEXT"]).to_pylist()]
            sizes = np.fromiter(map(len, contents), np.int64, len(contents))
            notes = notes.assign(start=out.tell() + np.cumsum(sizes) - sizes, size=sizes)
            parts.append(notes[notes["size"] > 0])
            out.writelines(contents)
    order = ["admission", "charted", "addendum", "number"]
    index = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*order, "start", "size"])
    return Picked(texts, index.sort_values(order, ignore_index=True)[["admission", "start", "size"]], seen)


def _of_kind(rows: Rows, discharge: bool) -> Rows:
    """The valid notes of admissions that are discharge summaries, or all others."""
    summaries = pc.equal(pc.utf8_trim_whitespace(rows["CATEGORY"]), DISCHARGE_SUMMARY)
    usable = pc.and_(pc.not_equal(rows["HADM_ID"], ""), pc.not_equal(rows["ISERROR"], "1"))
    return rows.where(pc.and_(usable, summaries if discharge else pc.invert(summaries)))


def _described(rows: Rows) -> pd.DataFrame:
    """What notes are ordered by."""
    return pd.DataFrame(
        {
            "admission": rows.integers("HADM_ID").to_numpy(),
            "charted": rows.times("CHARTTIME", day="CHARTDATE").to_numpy(),
            "addendum": pc.equal(pc.utf8_trim_whitespace(rows["DESCRIPTION"]), "Addendum").to_numpy(),
            "number": rows.integers("ROW_ID").to_numpy(),
        }
    )


def _at(stream: BinaryIO, start: int, size: int) -> str:
    stream.seek(start)
    return stream.read(size).decode()
