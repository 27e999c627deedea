"""The tables around the notes: admissions, diagnoses and ICU stays, as frames."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc

from partitions.corpora.mimic3.stream import read
from partitions.corpus import CorpusError

CARE_UNITS = ("CCU", "CSRU", "MICU", "NICU", "SICU", "TSICU")
"""The intensive care units of ICUSTAYS: coronary, cardiac surgery recovery, medical, neonatal, surgical, trauma."""
NEWBORN = "NEWBORN"
ELECTIVE = "ELECTIVE"
"""Values of ADMISSION_TYPE; the others are EMERGENCY and URGENT."""


def find_file(folder: Path, table: str, needed_by: str, obtain: str) -> Path:
    """The CSV file of a table, plain or gzip.

    Args:
        folder: where the release is.
        table: its name, such as ``ADMISSIONS``.
        needed_by: who asks, for the message.
        obtain: how to get the release, for the message.

    Raises:
        CorpusError: if there is none, or both.
    """
    names = [f"{table}.csv", f"{table}.csv.gz"]
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise CorpusError(
            f"{folder}: no {table}, which {needed_by} needs; looked for {' and '.join(names)}; to obtain it: {obtain}"
        )
    if len(found) > 1:
        raise CorpusError(f"{folder}: both {' and '.join(names)} exist; keep one of them")
    return found[0]


class Tables:
    """Tables that are read when they are used.

    Args:
        files: table name to file, see `find_file`.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    @cached_property
    def admissions(self) -> pd.DataFrame:
        """One row a hospital admission, by HADM_ID: ``patient`` (SUBJECT_ID), ``admitted``, ``discharged``, ``died``,
        ``admission_type``, ``insurance``, ``ethnicity``.

        Raises:
            CorpusError: if the table is malformed.
        """
        names = ("ADMISSION_TYPE", "INSURANCE", "ETHNICITY")
        columns = ("SUBJECT_ID", "HADM_ID", "ADMITTIME", "DISCHTIME", "HOSPITAL_EXPIRE_FLAG", *names)
        rows = read(self._files["ADMISSIONS"], columns)
        flags = rows["HOSPITAL_EXPIRE_FLAG"]
        rows.check("HOSPITAL_EXPIRE_FLAG", pc.or_(pc.equal(flags, "0"), pc.equal(flags, "1")), "0 or 1")
        frame = pd.DataFrame(
            {
                "admission": rows.integers("HADM_ID").to_numpy(),
                "patient": rows.integers("SUBJECT_ID").to_numpy(),
                "admitted": rows.times("ADMITTIME").to_numpy(),
                "discharged": rows.times("DISCHTIME").to_numpy(),
                "died": pc.equal(flags, "1").to_numpy(),
                **{name.lower(): pc.utf8_trim_whitespace(rows[name]).to_pylist() for name in names},
            }
        ).set_index("admission")
        if not frame.index.is_unique:
            twice = frame.index[frame.index.duplicated()][0]
            raise CorpusError(f"{rows.file}: HADM_ID {twice} occurs in several rows; expected one row an admission")
        return frame

    @cached_property
    def diagnoses(self) -> pd.DataFrame:
        """One row a coded diagnosis: ``admission``, ``rank`` (SEQ_NUM; 1 is the primary diagnosis), ``code`` (ICD-9-CM,
        without dot). The rows of the release without a code are left out.

        Raises:
            CorpusError: if the table is malformed.
        """
        rows = read(self._files["DIAGNOSES_ICD"], ("HADM_ID", "SEQ_NUM", "ICD9_CODE"))
        rows = rows.where(pc.not_equal(rows["ICD9_CODE"], ""))
        valid = pc.match_substring_regex(rows["ICD9_CODE"], r"^[EV]?\d{2,5}\s*$")
        rows.check("ICD9_CODE", valid, "an ICD-9-CM code without dot")
        return pd.DataFrame(
            {
                "admission": rows.integers("HADM_ID").to_numpy(),
                "rank": rows.integers("SEQ_NUM").to_numpy(),
                "code": pc.utf8_trim_whitespace(rows["ICD9_CODE"]).to_pylist(),
            }
        )

    @cached_property
    def first_care_units(self) -> "pd.Series[str]":
        """The unit in which the first ICU stay of an admission began, by HADM_ID.

        Raises:
            CorpusError: if the table is malformed.
        """
        rows = read(self._files["ICUSTAYS"], ("HADM_ID", "FIRST_CAREUNIT", "INTIME"))
        rows.check(
            "FIRST_CAREUNIT",
            pc.match_substring_regex(rows["FIRST_CAREUNIT"], f"^({'|'.join(CARE_UNITS)})$"),
            f"one of {', '.join(CARE_UNITS)}",
        )
        stays = pd.DataFrame(
            {
                "admission": rows.integers("HADM_ID").to_numpy(),
                "began": rows.times("INTIME").to_numpy(),
                "unit": rows["FIRST_CAREUNIT"].to_pylist(),
            }
        )
        return stays.sort_values("began", kind="stable").groupby("admission")["unit"].first()
