"""MIMIC-III v1.4 from PhysioNet: notes of an admission with its outcome, ICD-9 codes or care unit."""

import hashlib
import json
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from datasets import Dataset
from datasets.arrow_writer import ArrowWriter
from pydantic import Field

from partitions import examples
from partitions.cache import read_once, source_digest
from partitions.corpora.mimic3.cohort import Group, read_cohort
from partitions.corpora.mimic3.notes import pick_notes
from partitions.corpora.mimic3.tables import Tables, find_file
from partitions.corpora.mimic3.targets import TARGETS, Notes, Target
from partitions.corpus import SPLITS, Corpus, CorpusError, Task
from partitions.examples import FEATURES, KEYS
from partitions.reader import CorpusReader

OBTAIN = (
    "MIMIC-III Clinical Database v1.4 at https://physionet.org/content/mimiciii/1.4/: become a credentialed user, "
    "complete the required training, sign the data use agreement, and put its CSV files, plain or gzip, into the "
    "folder that corpus.path names"
)


class LeakageWarning(UserWarning):
    """The text that a model reads states what it is to predict."""


class Mimic3(CorpusReader):
    """One example a hospital admission: its notes as one text, with an answer about it.

    Targets (task):

    - ``mortality`` (classification): died in the hospital, from the notes of the first 48 hours; only admissions that
      lasted that long. Newborns are left out.
    - ``readmission`` (classification): an unplanned admission less than 30 days after the discharge, from the discharge
      summary. Newborns and patients who died in the hospital are left out; elective admissions do not count.
    - ``icd9_chapter`` (classification): the ICD-9-CM chapter of the primary diagnosis.
    - ``icd9_top10``, ``icd9_top50`` (multilabel): which of the most frequent diagnosis codes of the train split the
      admission has; of equally frequent ones the first by name. Diagnoses only: the "top 50" of Mullenbach et al.,
      "Explainable Prediction of Medical Codes from Clinical Text" (NAACL 2018, arXiv 1802.05695), counts procedure
      codes too, and leaves out admissions that have none of the codes.
    - ``care_unit`` (classification): the unit in which the first ICU stay began.

    A discharge summary is, as in Mullenbach et al., section 4.1, all reports and addenda of the admission in one text.
    De-identification brackets ``[** **]`` stay as they are.

    Splits are by patient, 80 % train, 10 % validation, 10 % test, decided by a hash of ``seed`` and SUBJECT_ID.
    ``document`` is the patient.

    What is kept is written once to the cache folder (see `partitions.cache`) and memory-mapped from then on. It holds
    protected text: the folder is open to its owner only. While it is written the disk holds the kept notes twice.

    Attributes:
        path: the folder of the CSV files, plain or gzip. Read are NOTEEVENTS, ADMISSIONS, for the ICD-9 targets
            DIAGNOSES_ICD, and where the care unit is target or group ICUSTAYS.
        target: what to predict.
        notes: ``discharge_summary``, or ``first_hours``: all other notes of the first ``hours`` of admissions that
            lasted that long; by default ``first_hours`` for mortality, else ``discharge_summary``. A discharge summary
            states whether the patient died: mortality from it warns with a `LeakageWarning`.
        hours: see ``notes``.
        group: the natural origin of an admission: the first care unit, or ADMISSION_TYPE, INSURANCE or ETHNICITY (up to
            its first " - ": ``ASIAN - CHINESE`` is ``ASIAN``).
        seed: of the splits.
    """

    path: Path
    target: Literal["mortality", "readmission", "icd9_chapter", "icd9_top10", "icd9_top50", "care_unit"]
    notes: Notes | None = None
    hours: Annotated[float, Field(gt=0)] = 48
    group: Group = "care_unit"
    seed: Annotated[int, Field(ge=0)] = 0

    def declared(self) -> tuple[Task, tuple[str, ...]]:
        """The task, and the labels unless they are the most frequent codes."""
        target = TARGETS[self.target]
        return target.task, target.labels

    def describe(self, load: Callable[[], Corpus] | None = None) -> tuple[Task, tuple[str, ...]]:
        """The task and the labels; files are needed only where the labels are the most frequent codes.

        Raises:
            CorpusError: as `load`.
        """
        try:
            return super().describe(load)
        except CorpusError as error:
            raise CorpusError(f"the labels of corpus.target={self.target} are told from the data: {error}") from error

    def read(self) -> Corpus:
        """Read the cached examples, made from the tables if they changed or were never read.

        Raises:
            CorpusError: if a table is missing or malformed, or no note is left; it never quotes a note.
        """
        files = self._files()
        if self.target == "mortality" and self._notes == "discharge_summary":
            warnings.warn(
                "corpus.target=mortality from discharge summaries: they state whether the patient died, so scores say "
                "nothing about prediction; corpus.notes=first_hours reads notes from before",
                LeakageWarning,
                stacklevel=3,
            )
        key = f"mimic3-{self.target}-{self._digest(files)}"
        labels, splits = read_once(key, partial(self._build, files), _open)
        return Corpus(f"mimic3-{self.target}", TARGETS[self.target].task, tuple(labels), splits)

    @property
    def _notes(self) -> Notes:
        return self.notes or TARGETS[self.target].notes

    @property
    def _hours(self) -> float | None:
        return self.hours if self._notes == "first_hours" else None

    def _files(self) -> dict[str, Path]:
        folder = self.path.expanduser()
        if not folder.is_dir():
            what = "not a folder" if folder.exists() else "no such folder"
            raise CorpusError(f"{folder}: {what}; to obtain the data: {OBTAIN}")
        needed = dict.fromkeys(["ADMISSIONS", "NOTEEVENTS"], "every target")
        if self.group == "care_unit":
            needed["ICUSTAYS"] = f"corpus.group={self.group}"
        if table := TARGETS[self.target].table:
            needed[table] = f"corpus.target={self.target}"
        return {name: find_file(folder, name, reason, OBTAIN) for name, reason in needed.items()}

    def _digest(self, files: dict[str, Path]) -> str:
        """Of all that the examples depend on: settings, code, and the files by path, size and time of change."""
        status = {name: (str(file.resolve()), file.stat()) for name, file in files.items()}
        content = {
            "files": {name: [path, stat.st_size, stat.st_mtime_ns] for name, (path, stat) in status.items()},
            "settings": [self.target, self._hours, self.group, self.seed],
            "code": source_digest(sys.modules["partitions.corpora.mimic3"], examples),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]

    def _build(self, files: dict[str, Path], folder: Path) -> None:
        """Write ``labels.json`` and an Arrow file for each split."""
        target = TARGETS[self.target]
        cohort = read_cohort(Tables(files), target, self.group, self._hours, self.seed)
        texts = folder / "notes.txt"
        picked = pick_notes(files["NOTEEVENTS"], cohort, self._hours, texts)
        cohort = cohort.loc[picked.index["admission"].unique()]
        missing = set(SPLITS).difference(cohort["split"])
        if missing:
            kind = "discharge summaries" if self._hours is None else f"notes of the first {self.hours:g} hours"
            raise CorpusError(
                f"{files['NOTEEVENTS']}: of its {picked.seen} rows {len(picked.index)} are {kind} that "
                f"corpus.target={self.target} can use, of {cohort['patient'].nunique()} patients; none is left for "
                f"the {' and the '.join(split for split in SPLITS if split in missing)} split"
            )
        labels = target.labels or most_frequent(cohort.loc[cohort["split"] == "train", "answer"], target)
        (folder / "labels.json").write_text(json.dumps(labels))
        with ExitStack() as stack:
            writers = {
                split: stack.enter_context(
                    ArrowWriter(features=FEATURES[target.task], path=str(folder / f"{split}.arrow"))
                )
                for split in SPLITS
            }
            for (admission, text), row in zip(picked.by_admission(), cohort.to_dict("records"), strict=True):
                writers[row["split"]].write(_example(admission, text, row, target.task, labels))
            for writer in writers.values():
                writer.finalize()
        texts.unlink()


def most_frequent(answers: "pd.Series", target: Target) -> tuple[str, ...]:
    """The labels that most admissions have, sorted; of equally frequent ones the first by name."""
    counts = Counter(chain.from_iterable(answers))
    return tuple(sorted(sorted(counts, key=lambda label: (-counts[label], label))[: target.most_frequent]))


def _example(
    admission: int, text: str, row: dict[Hashable, Any], task: Task, labels: tuple[str, ...]
) -> dict[str, Any]:
    answer = row["answer"]
    if task == "multilabel":
        answer = [label for label in answer if label in labels]
    read, annotation = KEYS[task]
    return {
        "id": str(admission),
        read: text,
        annotation: answer,
        "group": row["group"],
        "document": f"patient {row['patient']}",
    }


def _open(folder: Path) -> tuple[list[str], dict[str, Dataset]]:
    """The labels and splits that were built."""
    labels = json.loads((folder / "labels.json").read_text())
    return labels, {split: Dataset.from_file(str(folder / f"{split}.arrow")) for split in SPLITS}
