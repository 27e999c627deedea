"""MIMIC-III at its full size, without MIMIC-III: the fixture's patients many times over, to measure the reader.

    python tests/partitions/mimic3_rows.py write FOLDER --rows 2000000       4 GB, as many as the release has
    python tests/partitions/mimic3_rows.py measure FOLDER --target icd9_top50

`measure` reads the folder as a run would and prints seconds and the peak memory of its process; run twice, the second
time reads from the cache.
"""

import argparse
import csv
import resource
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

FIXTURE = Path(__file__).parent / "fixtures" / "mimic3"
REPEATS = 24
"""How often a copy of a patient has each note other than a discharge summary: 1 note in 28 is one, in the release 1 in
35."""
EVERY = timedelta(hours=4)
"""From one repeated note to the next."""
LENGTHS = {True: 10_000, False: 1_500}
"""Mean characters of a discharge summary and of another note, as in the release."""


def write(folder: Path, rows: int, seed: int = 0) -> None:
    """Write the four tables, with so many rows of NOTEEVENTS."""
    folder.mkdir(parents=True, exist_ok=True)
    header, notes = _table("NOTEEVENTS")
    copies = 0
    with (folder / "NOTEEVENTS.csv").open("w") as out:
        out.write(",".join(f'"{name}"' for name in header) + "\n")
        for number, line in enumerate(_notes(notes, np.random.default_rng(seed)), 1):
            out.write(f"{number},{line}\n")
            if number == rows:
                break
        copies = int(line.split(",", 1)[0]) // 1000 + 1
    for table in ("ADMISSIONS", "DIAGNOSES_ICD", "ICUSTAYS"):
        header, given = _table(table)
        with (folder / f"{table}.csv").open("w", newline="") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(header)
            for copy in range(copies):
                writer.writerows([row[0], *_ids(row, copy), *row[3:]] for row in given)


def measure(folder: Path, target: str) -> None:
    """Load the folder with the reader and print what it took."""
    from partitions.corpora.mimic3 import Mimic3

    began = time.perf_counter()
    corpus = Mimic3(path=folder, target=target).read()
    read = time.perf_counter()
    examples = {split: len(table) for split, table in corpus.splits.items()}
    print(f"{target}: {examples} examples, {read - began:.1f} s, peak {_peak():.0f} MB")
    Mimic3(path=folder, target=target).load()
    print(f"loaded again and compared over splits: {time.perf_counter() - read:.1f} s, peak {_peak():.0f} MB")


def _peak() -> float:
    """The largest memory of this process so far, MB; memory-mapped files count while they are resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _notes(notes: list[list[str]], rng: np.random.Generator) -> Iterator[str]:
    """Endless lines of NOTEEVENTS without their ROW_ID: all notes of one copy of the patients, then of the next."""
    pool = _lines(notes, rng)
    mean = float(np.mean([len(line) for line in pool]))
    copy = 0
    while True:
        for row in notes:
            summary = row[6] == "Discharge summary"
            for repeat in range(1 if summary else REPEATS):
                subject, admission = _ids(row, copy)
                charted = row[4] and str(datetime.fromisoformat(row[4]) + repeat * EVERY)
                date = charted[:10] or row[3]
                count = 1 + int(rng.poisson(LENGTHS[summary] / mean))
                start = int(rng.integers(len(pool) // 2))
                text = "".join(pool[start : start + count])
                first = row[10].replace('"', '""')
                cells = [subject, admission, date, charted, "", f'"{row[6]}"', f'"{row[7]}"', row[8], row[9]]
                yield ",".join([*cells, f'"{first}{copy} {repeat}\n{text}"'])
        copy += 1


def _lines(notes: list[list[str]], rng: np.random.Generator) -> list[str]:
    """Lines of the fixture's words in random order, some in quotation marks, doubled as in a quoted cell."""
    words = sorted({word.strip('".,:') for row in notes for word in row[10].split()} - {""})
    lines = []
    for _ in range(20_000):
        some = list(rng.choice(words, rng.integers(4, 16)))
        if rng.random() < 0.1:
            some[0] = f'""{some[0]}""'
        lines.append(" ".join(some[:3]) + ", " + " ".join(some[3:]) + ".\n")
    return lines


def _ids(row: list[str], copy: int) -> tuple[str, str]:
    """SUBJECT_ID and HADM_ID in a copy of the patients."""
    return str(int(row[1]) + 1_000 * copy), row[2] and str(int(row[2]) + 10_000 * copy)


def _table(name: str) -> tuple[list[str], list[list[str]]]:
    with (FIXTURE / f"{name}.csv").open(newline="") as stream:
        header, *rows = csv.reader(stream)
    return header, rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    writing = commands.add_parser("write")
    writing.add_argument("folder", type=Path)
    writing.add_argument("--rows", type=int, default=2_000_000)
    measuring = commands.add_parser("measure")
    measuring.add_argument("folder", type=Path)
    measuring.add_argument("--target", default="mortality")
    given = parser.parse_args()
    if given.command == "write":
        write(given.folder, given.rows)
    else:
        measure(given.folder, given.target)
