"""Who is asked about: admissions with their answer, patient, split and natural group."""

import hashlib
from typing import Literal

import pandas as pd

from partitions.corpora.mimic3.tables import Tables
from partitions.corpora.mimic3.targets import Target

Group = Literal["care_unit", "admission_type", "insurance", "ethnicity"]

UNKNOWN = "unknown"
NO_STAY = "no ICU stay"


def read_cohort(tables: Tables, target: Target, group: Group, hours: float | None, seed: int) -> pd.DataFrame:
    """The admissions that a target asks about.

    Args:
        tables: the release.
        target: what is asked.
        group: what natural origin means.
        hours: leave out admissions that were over earlier than that.
        seed: of the splits.

    Returns:
        By HADM_ID, in ascending order: ``patient``, ``admitted``, ``answer``, ``group``, ``split``.

    Raises:
        CorpusError: if a table is malformed.
    """
    admissions = tables.admissions
    if hours is not None:
        admissions = admissions[admissions["discharged"] - admissions["admitted"] >= pd.Timedelta(hours=hours)]
    answers = target.answers(tables).rename("answer")
    cohort = admissions.join(answers, how="inner").sort_index()
    cohort["group"] = _groups(cohort, tables, group)
    cohort["split"] = [split_of(patient, seed) for patient in cohort["patient"]]
    return cohort[["patient", "admitted", "answer", "group", "split"]]


def split_of(patient: int, seed: int) -> str:
    """The split of a patient: 80 % train, 10 % validation, 10 % test.

    A hash of seed and patient decides, so that a patient's split does not depend on who else is in the corpus: it is
    the same for every target.
    """
    digest = hashlib.sha256(f"{seed} {patient}".encode()).digest()
    tenth = 10 * int.from_bytes(digest[:8], "big") >> 64
    return "validation" if tenth == 8 else "test" if tenth == 9 else "train"


def _groups(cohort: pd.DataFrame, tables: Tables, group: Group) -> "pd.Series[str]":
    if group == "care_unit":
        return tables.first_care_units.reindex(cohort.index).fillna(NO_STAY)
    names = cohort[group]
    if group == "ethnicity":
        names = names.str.split(" - ").str[0]
    return names.mask(names == "", UNKNOWN)
