"""What can be predicted of an admission, and for which admissions the question makes sense."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from partitions.corpora.mimic3.icd9 import CHAPTERS, chapter, dotted
from partitions.corpora.mimic3.tables import CARE_UNITS, ELECTIVE, NEWBORN, Tables
from partitions.corpus import Task

Notes = Literal["discharge_summary", "first_hours"]

READMISSION_DAYS = 30


@dataclass(frozen=True)
class Target:
    """A question about an admission.

    Attributes:
        answers: the answer for each admission it can be asked about, by HADM_ID: a class, or a list of labels.
        task: whether an admission has one class or any number of labels.
        labels: all answers, sorted; empty where they are the most frequent ones of the train split.
        most_frequent: how many those are.
        table: the table that is needed beside ADMISSIONS and NOTEEVENTS.
        notes: the notes it is usually answered from.
    """

    answers: Callable[[Tables], "pd.Series"]
    task: Task = "classification"
    labels: tuple[str, ...] = ()
    most_frequent: int = 0
    table: str | None = None
    notes: Notes = "discharge_summary"


def mortality(tables: Tables) -> "pd.Series":
    """Whether the patient died in the hospital (HOSPITAL_EXPIRE_FLAG); newborns are left out."""
    admissions = tables.admissions
    asked = admissions[admissions["admission_type"] != NEWBORN]
    return asked["died"].map({False: "alive", True: "died"})


def readmission(tables: Tables) -> "pd.Series":
    """Whether an unplanned admission of the patient begins less than 30 days after the discharge.

    As Huang et al., "ClinicalBERT" (arXiv 1904.05342), section 4: newborns and patients who died in the hospital are
    left out, and elective admissions are no readmissions. MIMIC-III knows of this one hospital only.
    """
    admissions = tables.admissions.reset_index()
    asked = admissions[(admissions["admission_type"] != NEWBORN) & ~admissions["died"]]
    unplanned = admissions[~admissions["admission_type"].isin([NEWBORN, ELECTIVE])]
    pairs = asked.merge(unplanned, on="patient", suffixes=("", "_next"))
    gap = pairs["admitted_next"] - pairs["discharged"]
    soon = (gap >= pd.Timedelta(0)) & (gap < pd.Timedelta(days=READMISSION_DAYS))
    soon &= pairs["admission"] != pairs["admission_next"]
    returned = asked["admission"].isin(pairs.loc[soon, "admission"])
    return returned.map({False: "not readmitted", True: "readmitted"}).set_axis(asked["admission"])


def primary_chapter(tables: Tables) -> "pd.Series":
    """The ICD-9-CM chapter of the primary diagnosis (SEQ_NUM 1)."""
    diagnoses = tables.diagnoses
    primary = diagnoses[diagnoses["rank"] == 1].drop_duplicates("admission").set_index("admission")
    return primary["code"].map(chapter)


def codes(tables: Tables) -> "pd.Series":
    """All ICD-9-CM diagnosis codes, sorted, each once; admissions without any are left out."""
    dots = tables.diagnoses.assign(code=tables.diagnoses["code"].map(dotted))
    return dots.groupby("admission")["code"].agg(lambda group: sorted(set(group)))


def care_unit(tables: Tables) -> "pd.Series":
    """The unit of the first ICU stay; admissions without one are left out."""
    return tables.first_care_units


TARGETS: dict[str, Target] = {
    "mortality": Target(mortality, labels=("alive", "died"), notes="first_hours"),
    "readmission": Target(readmission, labels=("not readmitted", "readmitted")),
    "icd9_chapter": Target(primary_chapter, labels=CHAPTERS, table="DIAGNOSES_ICD"),
    "icd9_top10": Target(codes, "multilabel", most_frequent=10, table="DIAGNOSES_ICD"),
    "icd9_top50": Target(codes, "multilabel", most_frequent=50, table="DIAGNOSES_ICD"),
    "care_unit": Target(care_unit, labels=CARE_UNITS, table="ICUSTAYS"),
}
"""``corpus.target`` -> what it asks."""
