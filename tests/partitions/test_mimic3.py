"""MIMIC-III: the fixture's examples for every target, each mistake in its tables, and the cache."""

import csv
import gzip
import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import pytest

from partitions.cache import cache_folder
from partitions.corpora.mimic3 import LeakageWarning, Mimic3
from partitions.corpora.mimic3.cohort import split_of
from partitions.corpora.mimic3.icd9 import CHAPTERS, chapter, dotted
from partitions.corpora.mimic3.tables import CARE_UNITS
from partitions.corpus import CorpusError
from simulate.config import load
from simulate.plan import outline

FIXTURE = Path(__file__).parent / "fixtures" / "mimic3"
SECRET = "Xavier"
"""Stands for clinical text in files with a mistake: no message may hold it."""

TRAIN = {"100101", "100102", "100201", "100202", "100301", "100302", "100401", "100501", "100701"}
"""Admissions of the patients 101 to 105 and 107."""
VALIDATION = {"100801", "100901"}
"""Of the patients 112 and 115."""
TEST = {"100601", "101001", "101002"}
"""Of the patients 106 and 119."""

FIRST_REPORT = (
    "Admission Date:  [**2151-3-1**]       Discharge Date:  [**2151-3-6**]\n\nService: MEDICINE\n\n"
    'Admitted with dyspnea, orthopnea and "swollen legs".\nImproved on furosemide, metoprolol, and rest.'
)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SKIPFL_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def folder(tmp_path):
    """A copy of the fixture, to change."""
    return Path(shutil.copytree(FIXTURE, tmp_path / "mimic3"))


def examples(path: Path = FIXTURE, **settings) -> dict[str, dict]:
    """All examples by id, each with its split."""
    corpus = Mimic3(path=path, **settings).load()
    return {row["id"]: {**row, "split": split} for split, table in corpus.splits.items() for row in table}


def labels(**settings) -> dict[str, str]:
    return {name: row["label"] for name, row in examples(**settings).items()}


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def message(folder: Path, target: str = "readmission", **settings) -> str:
    with pytest.raises(CorpusError) as caught:
        Mimic3(path=folder, target=target, **settings).load()
    text = str(caught.value)
    assert "\n" not in text
    assert SECRET not in text
    return text.replace(str(folder), "DIR")


def test_mortality_reads_the_first_48_hours():
    found = examples(target="mortality")
    assert found["100101"] == {
        "id": "100101",
        # By the time of charting; the ECG has a date only, which counts as the end of that day; the echo report of
        # 3 March, by the same rule, and the note of 8:01 are too late for an admission on 1 March, 8:00.
        "text": "Chief complaint: dyspnea.\nPlan: diurese, echo.\n\nAtrial fibrillation, rate 110.\n\n"
        'Slept upright, "less winded", urine 2 L.\n\nMild edema.',
        "label": "alive",
        "group": "MICU",
        "document": "patient 101",
        "split": "train",
    }
    assert {name: (row["text"], row["label"], row["split"]) for name, row in found.items() if name != "100101"} == {
        "100201": ("Awake, chest tubes draining.", "alive", "train"),
        "100202": ("Wound red and warm.", "alive", "train"),  # its second note is marked as an error
        "100301": ("Swollen pancreas.", "alive", "train"),  # the outpatient film has no HADM_ID
        "100401": ("Pupils fixed on the left.", "died", "train"),
        "100801": ("Chest tube to suction.", "alive", "validation"),
        "100901": ("Pressors started, cold hands.", "died", "validation"),
        "100601": ("Thick sputum, less oxygen.", "alive", "test"),
        "101001": ("Fever down, walking.", "alive", "test"),  # its second note is blank
    }  # 100501 is a newborn, 100701 lasted 30 hours; 100102, 100302 and 101002 have no early notes


def test_hours_move_the_end_of_the_notes_and_the_shortest_admission():
    found = examples(target="mortality", hours=24)
    assert found["100101"]["text"].endswith("urine 2 L.")
    assert found["100701"]["text"] == "Sleepy, arousable."


def test_readmission_is_unplanned_and_within_30_days():
    assert labels(target="readmission") == {
        "100101": "readmitted",  # after 28 days and 23 hours
        "100102": "not readmitted",
        "100201": "not readmitted",  # after 31 days
        "100202": "not readmitted",
        "100301": "not readmitted",  # elective, after 10 days
        "100302": "not readmitted",
        "100701": "not readmitted",
        "100801": "not readmitted",
        "100601": "not readmitted",
        "101001": "readmitted",
        "101002": "not readmitted",
    }  # 100401 and 100901 died, 100501 is a newborn


@pytest.mark.parametrize(
    ("admitted", "label"),
    [
        ("2151-04-05 11:59:59", "readmitted"),
        ("2151-04-05 12:00:00", "not readmitted"),  # 30 days to the second
        ("2151-03-06 12:00:00", "readmitted"),
        ("2151-03-06 11:59:59", "not readmitted"),  # before the discharge
    ],
)
def test_readmission_at_the_edges(folder, admitted, label):
    replace(folder / "ADMISSIONS.csv", "2151-04-04 11:00:00", admitted)
    assert labels(path=folder, target="readmission")["100101"] == label


def test_discharge_summaries_are_reports_then_addenda():
    found = examples(target="readmission")
    assert found["100101"]["text"] == FIRST_REPORT + "\n\nADDENDUM:\nThe home scale reads 81 kg, not 84 kg."
    assert found["100102"]["text"] == (  # the addendum has the smaller ROW_ID, a third note is marked as an error
        'Returned with dyspnea after salty meals.\nDiuresed 3 liters, "dry weight" 79 kg.'
        "\n\nADDENDUM:\nPotassium was 4.1 on the day of discharge."
    )


def test_chapter_of_the_primary_diagnosis():
    circulatory, digestive, injury = "390-459 circulatory system", "520-579 digestive system", CHAPTERS[16]
    assert labels(target="icd9_chapter") == {
        "100101": circulatory,
        "100102": circulatory,
        "100201": circulatory,
        "100202": injury,
        "100301": digestive,
        "100302": digestive,
        "100401": injury,
        "100501": "V factors influencing health status",
        "100701": injury,
        "100801": "140-239 neoplasms",
        "100901": circulatory,
        "100601": "460-519 respiratory system",
        "101001": "001-139 infectious and parasitic diseases",
        "101002": "E external causes",
    }


def test_most_frequent_codes_are_those_of_the_train_split():
    corpus = Mimic3(path=FIXTURE, target="icd9_top10").load()
    # In the train split: 401.9 six times, 250.00 three times, 272.4, 428.0 and 584.9 twice, then the first by name of
    # those that occur once. The codes of other splits do not count: 486 is not among the labels.
    frequent = ["250.00", "272.4", "401.9", "428.0", "584.9"]
    assert corpus.labels == tuple(sorted([*frequent, "300.00", "414.01", "427.31", "574.0", "577.0"]))
    assert corpus.task == "multilabel"
    found = examples(target="icd9_top10")
    assert {name: row["labels"] for name, row in found.items()} == {
        "100101": ["250.00", "401.9", "427.31", "428.0", "584.9"],
        "100102": ["401.9", "428.0", "584.9"],
        "100201": ["272.4", "401.9", "414.01"],
        "100202": ["272.4", "401.9"],
        "100301": ["250.00", "401.9", "577.0"],
        "100302": ["250.00", "574.0"],
        "100401": ["401.9"],
        "100501": [],
        "100701": ["300.00"],
        "100801": ["401.9"],
        "100901": ["428.0", "584.9"],
        "100601": ["427.31", "428.0"],
        "101001": ["401.9", "584.9"],
        "101002": ["401.9"],
    }
    every = Mimic3(path=FIXTURE, target="icd9_top50").load().labels
    assert {"E884.4", "V30.01", "311", "E950.0"} & set(every) == {"E884.4", "V30.01", "E950.0"}


def test_care_unit_is_the_first_of_the_admission():
    found = labels(target="care_unit", group="insurance")
    assert found["100801"] == "SICU"  # its second stay stands first in the file
    assert Counter(found.values()) == {"MICU": 4, "SICU": 2, "CCU": 2, "CSRU": 2, "TSICU": 1, "NICU": 1}
    assert found.keys() == (TRAIN | VALIDATION | TEST) - {"100302", "101002"}  # these have no ICU stay


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("care_unit", ["MICU", "CSRU", "SICU", "no ICU stay", "NICU", "MICU"]),
        ("admission_type", ["EMERGENCY", "EMERGENCY", "EMERGENCY", "ELECTIVE", "NEWBORN", "URGENT"]),
        ("insurance", ["Medicare", "Private", "Medicaid", "Medicaid", "Private", "Self Pay"]),
        ("ethnicity", ["WHITE", "ASIAN", "HISPANIC/LATINO", "HISPANIC/LATINO", "unknown", "UNKNOWN/NOT SPECIFIED"]),
    ],
)
def test_groups(group, names):
    found = examples(target="icd9_chapter", group=group)
    assert [found[name]["group"] for name in ("100101", "100201", "100301", "100302", "100501", "100601")] == names


@pytest.mark.parametrize("target", ["mortality", "readmission", "icd9_chapter", "icd9_top50", "care_unit"])
def test_splits_are_by_patient(target):
    found = examples(target=target)
    for split, admissions in {"train": TRAIN, "validation": VALIDATION, "test": TEST}.items():
        assert {name for name, row in found.items() if row["split"] == split} == admissions & found.keys()
    assert {name: row["document"] for name, row in found.items()}.items() >= {
        ("101001", "patient 119"),
        ("100801", "patient 112"),
    }


def test_split_shares_and_seed():
    counts = Counter(split_of(patient, 0) for patient in range(20_000))
    # Binomial: standard deviations 57 and 42.
    assert abs(counts["train"] - 16_000) < 230
    assert abs(counts["validation"] - 2_000) < 170
    assert abs(counts["test"] - 2_000) < 170
    assert [split_of(patient, 1) for patient in range(99)] != [split_of(patient, 0) for patient in range(99)]


def test_gzip_and_plain_files_give_the_same(folder):
    for file in list(folder.iterdir()):
        (folder / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    for target in ("mortality", "icd9_top10"):
        assert examples(folder, target=target) == examples(target=target)


def test_the_order_of_rows_does_not_matter(folder):
    for file in folder.iterdir():
        with file.open(newline="") as stream:
            header, *rows = csv.reader(stream)
        with file.open("w", newline="") as stream:
            csv.writer(stream).writerows([header, *reversed(rows)])
    for target in ("mortality", "readmission", "icd9_top10", "care_unit"):
        assert examples(folder, target=target) == examples(target=target)


def test_rows_over_several_blocks(monkeypatch, folder):
    expected = examples(target="readmission")
    monkeypatch.setattr("partitions.corpora.mimic3.stream.BLOCK", 512)
    assert examples(folder, target="readmission") == expected
    replace(folder / "NOTEEVENTS.csv", "178,102,100202", "178,102,1002O2")
    text = message(folder)
    assert text == "DIR/NOTEEVENTS.csv, row 7: HADM_ID is of 6 characters; expected an integer"
    file = folder / "NOTEEVENTS.csv"
    file.write_bytes(file.read_bytes().replace(b"1002O2", b"100202").replace(b"orthopnea", b"orthopn\xe9a"))
    assert message(folder) == "DIR/NOTEEVENTS.csv: a cell is not UTF-8"
    *rows, last = file.read_bytes().replace(b"orthopn\xe9a", b"orthopnea").rstrip(b'"\n').rsplit(b"\n", 1)
    file.write_bytes(b"\n".join([*rows, last + b'\xe9"\n']))
    assert re.fullmatch(r"DIR/NOTEEVENTS.csv, somewhere after row [1-3]\d: a cell is not UTF-8", message(folder))


def test_mortality_from_discharge_summaries_warns():
    with pytest.warns(LeakageWarning, match="they state whether the patient died"):
        found = examples(target="mortality", notes="discharge_summary")
    assert found["100401"]["text"].endswith("The patient expired.")
    with warnings.catch_warnings():
        warnings.simplefilter("error", LeakageWarning)
        examples(target="mortality")
        examples(target="readmission")


def test_describe_needs_no_files_where_the_labels_are_known(tmp_path):
    absent = tmp_path / "absent"
    known = {
        "mortality": ("alive", "died"),
        "readmission": ("not readmitted", "readmitted"),
        "icd9_chapter": CHAPTERS,
        "care_unit": CARE_UNITS,
    }
    for target, names in known.items():
        assert Mimic3(path=absent, target=target).describe() == ("classification", names)
        assert list(names) == sorted(names)
    with pytest.raises(CorpusError) as caught:
        Mimic3(path=absent, target="icd9_top50").describe()
    assert str(caught.value).startswith(
        f"the labels of corpus.target=icd9_top50 are told from the data: {absent}: no such folder; to obtain the data: "
        "MIMIC-III Clinical Database v1.4 at https://physionet.org/"
    )
    assert Mimic3(path=FIXTURE, target="icd9_top10").describe()[0] == "multilabel"


def test_the_preset_can_be_planned_without_data():
    experiment = load("llama-3.2-1b-mimic3", ["corpus.path=nowhere"])
    assert isinstance(experiment.corpus, Mimic3)
    assert outline(experiment).config.num_labels == 2
    with pytest.raises(CorpusError, match=r"nowhere: no such folder; to obtain the data: MIMIC-III .* v1.4 at https"):
        experiment.corpus.load()


@pytest.mark.parametrize(
    ("table", "target", "reason"),
    [
        ("NOTEEVENTS", "mortality", "every target"),
        ("ADMISSIONS", "mortality", "every target"),
        ("DIAGNOSES_ICD", "icd9_top10", "corpus.target=icd9_top10"),
        ("ICUSTAYS", "care_unit", "corpus.target=care_unit"),
        ("ICUSTAYS", "mortality", "corpus.group=care_unit"),
    ],
)
def test_missing_table(folder, table, target, reason):
    (folder / f"{table}.csv").unlink()
    text = message(folder, target)
    assert text.startswith(
        f"DIR: no {table}, which {reason} needs; looked for {table}.csv and {table}.csv.gz; to obtain it: MIMIC-III"
    )


def test_only_the_tables_that_are_needed_are_read(folder):
    (folder / "DIAGNOSES_ICD.csv").unlink()
    (folder / "ICUSTAYS.csv").unlink()
    assert len(examples(folder, target="mortality", group="insurance")) == 9


def test_both_forms_of_a_table(folder):
    (folder / "ADMISSIONS.csv.gz").touch()
    assert message(folder) == "DIR: both ADMISSIONS.csv and ADMISSIONS.csv.gz exist; keep one of them"


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("NOTEEVENTS", '"HADM_ID"', '"ADMISSION"', ": no column HADM_ID; expected the header of MIMIC-III v1.4"),
        ("NOTEEVENTS", ',"Report",,,"Two', f',"Report",,"{SECRET} Two', None),
        ("NOTEEVENTS", "177,102,100201", "177,102,100201.0", ", row 6: HADM_ID is '100201.0'; expected an integer"),
        (
            "NOTEEVENTS",
            "177,102,100201",
            f"177,102,{SECRET}",
            ", row 6: HADM_ID is of 6 characters; expected an integer",
        ),
        (
            "NOTEEVENTS",
            "100201,2140-06-14,",
            "100201,14/06/2140,",
            ", row 6: CHARTDATE is of 10 characters; expected a date such as 2150-01-31",
        ),
        (
            "NOTEEVENTS",
            "100201,2140-06-14,,",
            f"100201,2140-06-14,{SECRET},",
            ", row 6: CHARTTIME is of 6 characters; expected a time such as 2150-01-31 13:45:00",
        ),
        ("ADMISSIONS", "100201,", ",", ", row 3: HADM_ID is empty; expected an integer"),
        (
            "ADMISSIONS",
            ",0,1\n",
            ",2,1\n",
            ", row 1: HOSPITAL_EXPIRE_FLAG is '2'; expected 0 or 1",
        ),
        (
            "ADMISSIONS",
            "102,100202",
            "102,100201",
            ": HADM_ID 100201 occurs in several rows; expected one row an admission",
        ),
        (
            "ADMISSIONS",
            "2140-06-10 20:15:00",
            "2140-13-10 20:15:00",
            ", row 3: ADMITTIME is of 19 characters; expected a time such as 2150-01-31 13:45:00",
        ),
        (
            "DIAGNOSES_ICD",
            '"4280"',
            '"42.80"',
            ", row 1: ICD9_CODE is '42.80'; expected an ICD-9-CM code without dot",
        ),
        (
            "ICUSTAYS",
            '"CSRU"',
            f'"{SECRET}"',
            ", row 3: FIRST_CAREUNIT is of 6 characters; expected one of CCU, CSRU, MICU, NICU, SICU, TSICU",
        ),
    ],
)
def test_malformed_tables(folder, file, old, new, expected):
    replace(folder / f"{file}.csv", old, new)
    text = message(folder, "icd9_chapter")
    if expected is None:
        expected = (
            ", row 6: has 10 cells; expected 11, as in its header (is a quotation mark unbalanced here or before?)"
        )
    assert text == f"DIR/{file}.csv{expected}"


def test_truncated_and_damaged_files(folder):
    file = folder / "NOTEEVENTS.csv"
    whole = file.read_bytes()
    file.write_bytes(whole[: whole.index(b"Improved on") + 5])
    assert message(folder) == "DIR/NOTEEVENTS.csv, row 1: breaks off inside quotes; the file is truncated"
    file.write_bytes(whole[: whole.index(b"178,") + 9])
    assert "row 7: has 3 cells; expected 11" in message(folder)
    file.write_bytes(whole.replace(b"orthopnea", b"orthopn\xe9a"))
    assert message(folder) == "DIR/NOTEEVENTS.csv: a cell is not UTF-8"
    file.write_bytes(b"")
    assert message(folder) == "DIR/NOTEEVENTS.csv: holds no table; expected the header of MIMIC-III v1.4"
    file.unlink()
    packed = folder / "NOTEEVENTS.csv.gz"
    packed.write_bytes(gzip.compress(whole)[:-30])
    assert message(folder) == "DIR/NOTEEVENTS.csv.gz: the gzip data breaks off; the file is truncated"
    packed.write_bytes(SECRET.encode())
    assert message(folder) == "DIR/NOTEEVENTS.csv.gz: not valid gzip data"


def test_an_endless_cell(folder, monkeypatch):
    monkeypatch.setattr("partitions.corpora.mimic3.stream.BLOCK", 1 << 20)
    replace(folder / "NOTEEVENTS.csv", "WRONG PATIENT.\n", "x" * (3 << 20))
    assert message(folder).endswith("a row of more than 1 MiB; is a quotation mark unbalanced?")


def test_no_notes_are_left(folder):
    file = folder / "NOTEEVENTS.csv"
    file.write_text(file.read_text().replace('"Discharge summary"', '"Discharge note"'))
    assert message(folder) == (
        "DIR/NOTEEVENTS.csv: of its 36 rows 0 are discharge summaries that corpus.target=readmission can use, of 0 "
        "patients; none is left for the train and the validation and the test split"
    )
    assert "of its 36 rows 1 are notes of the first 200 hours" in message(folder, "mortality", hours=200)


def replay(folder: Path, target: str) -> subprocess.Popen:
    """Another process that loads a corpus and prints its examples."""
    code = (
        "import json, sys\nfrom partitions.corpora.mimic3 import Mimic3\n"
        "sys.stdin.readline()\n"
        "corpus = Mimic3(path=sys.argv[1], target=sys.argv[2]).load()\n"
        "print(json.dumps([row for table in corpus.splits.values() for row in table]))"
    )
    arguments = [sys.executable, "-c", code, str(folder), target]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def kept() -> list[Path]:
    return [entry for entry in cache_folder().iterdir() if entry.is_dir()]


def test_the_second_load_does_not_read_the_tables(folder):
    first = examples(folder, target="icd9_top10")
    for file in folder.iterdir():  # other content under the same size and time of change
        status = file.stat()
        file.write_bytes(b"x" * status.st_size)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert examples(folder, target="icd9_top10") == first
    os.utime(folder / "NOTEEVENTS.csv", ns=(0, 0))
    assert "holds no table" in message(folder, "icd9_top10")


def test_other_settings_are_kept_apart():
    for settings in ({}, {"seed": 0}, {"hours": 24}, {"group": "insurance"}, {"notes": "discharge_summary"}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LeakageWarning)
            Mimic3(path=FIXTURE, target="mortality", **settings).load()
    assert len(kept()) == 4
    Mimic3(path=FIXTURE, target="readmission").load()
    Mimic3(path=FIXTURE, target="readmission", hours=24).load()  # which plays no part here
    assert len(kept()) == 5


def test_what_is_kept_is_closed_to_others_and_holds_no_spool():
    Mimic3(path=FIXTURE, target="mortality").load()
    (entry,) = kept()
    assert stat.S_IMODE(entry.stat().st_mode) == 0o700
    assert sorted(file.name for file in entry.iterdir()) == [
        "labels.json",
        "test.arrow",
        "train.arrow",
        "validation.arrow",
    ]


def test_two_processes_that_start_together(folder):
    processes = [replay(folder, "readmission") for _ in range(2)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [json.loads(process.communicate()[0]) for process in processes]
    here = Mimic3(path=folder, target="readmission").load()
    assert outputs == [[row for table in here.splits.values() for row in table]] * 2
    assert len(kept()) == 1


def write_rows(folder: Path, count: int) -> None:
    """The fixture's patients as often as it takes for so many rows of NOTEEVENTS."""
    spec = importlib.util.spec_from_file_location("mimic3_rows", Path(__file__).parent / "mimic3_rows.py")
    rows = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rows)
    rows.write(folder, count)


def test_many_rows(tmp_path):
    write_rows(tmp_path, 4_730)  # ten copies of the fixture: 17 summaries, and 19 other notes 24 times each
    found = examples(tmp_path, target="readmission")
    assert len(found) == 110  # eleven in the fixture
    assert {name: row["label"] for name, row in found.items() if len(name) == 6 and name < "101003"} == labels(
        target="readmission"
    )


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs the peak memory of a process as Linux has it")
@pytest.mark.parametrize("target", ["mortality", "readmission"])
def test_memory_is_bounded_while_notes_are_streamed(tmp_path, target):
    """NOTEEVENTS of 300 000 rows, 600 MB: reading adds about 300 MB to the process, 2 000 MB where all is one block."""
    write_rows(tmp_path, 300_000)
    code = (
        "import re, sys; from pathlib import Path; from partitions.corpora.mimic3 import Mimic3\n"
        "def peak(): return 1024 * int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "before = peak(); Mimic3(path=sys.argv[1], target=sys.argv[2]).read(); print(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path, target], capture_output=True, text=True, check=True)
    notes = (tmp_path / "NOTEEVENTS.csv").stat().st_size
    assert notes > 500e6
    assert int(done.stdout) < 0.8 * notes


@pytest.mark.parametrize(
    ("code", "name", "dots"),
    [
        ("0010", CHAPTERS[0], "001.0"),
        ("1398", CHAPTERS[0], "139.8"),
        ("140", CHAPTERS[1], "140"),
        ("4019", CHAPTERS[6], "401.9"),
        ("99999", CHAPTERS[16], "999.99"),
        ("E8788", CHAPTERS[17], "E878.8"),
        ("E000", CHAPTERS[17], "E000"),
        ("V3001", CHAPTERS[18], "V30.01"),
        ("V10", CHAPTERS[18], "V10"),
    ],
)
def test_icd9(code, name, dots):
    assert chapter(code) == name
    assert dotted(code) == dots
