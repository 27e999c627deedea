"""A folder of tables: train, validation and test as CSV, TSV or Parquet, whatever their columns."""

import csv
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow
from datasets import Features
from pyarrow.parquet import ParquetFile

from partitions.columns import ColumnReader, Table, class_names
from partitions.corpus import Corpus, CorpusError
from partitions.files import split_files, text_lines

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
LONGEST_CELL = 2**31 - 1
"""Characters of a cell; the `csv` module's own limit of 131 072 is less than a long note."""
AT_ONCE = 1000
"""Rows of a Parquet file held in memory while they are checked."""


class TableFolder(ColumnReader):
    """One table a split: ``train``, ``validation`` and ``test``, each ``.csv``, ``.tsv`` (or ``.gz`` of them) or
    ``.parquet``, or under the file names of ``splits``.

    CSV and TSV are UTF-8 with a header; cells in quotes may hold line ends. Of Parquet only the columns needed are
    read. A Parquet data set of several files a split is read by the reader ``hub`` with the folder as its ``id``.

    Attributes:
        path: the folder.
        obtain: how to get the files, for the message when they are missing.
    """

    path: Path
    obtain: str | None = None

    def read(self) -> Corpus:
        """Read and check the splits.

        Raises:
            CorpusError: at the first mistake, naming file and line (in Parquet, row), never quoting clinical text.
        """
        folder = self.path.expanduser()
        tables = {split: _table(file) for split, file in self._files(folder).items()}
        return self.corpus_of(folder.resolve().name, tables)

    def _files(self, folder: Path) -> dict[str, Path]:
        hint = "; corpus.splits gives other file names, and corpus.holdout=0.1 makes a validation split out of train"
        if self.obtain:
            hint += f"; to obtain the files: {' '.join(self.obtain.split())}"
        unnamed = [split for split in self.sources() if split not in self.splits]
        files = split_files(folder, "CSV, TSV or Parquet", SUFFIXES, hint, unnamed)
        for split, name in self.splits.items():
            files[split] = folder / name
            if not files[split].is_file():
                raise CorpusError(f"{files[split]}: no such file (corpus.splits.{split})")
            if not name.endswith(SUFFIXES):
                raise CorpusError(f"{files[split]}: expected a file that ends in {', '.join(SUFFIXES)}")
        return files


def _table(file: Path) -> Table:
    return _parquet(file) if file.suffix == ".parquet" else _delimited(file)


def _delimited(file: Path) -> Table:
    records = _records(file)
    _, header = next(records, (0, None))
    if header is None:
        raise CorpusError(f"{file}: is empty; expected a header that names the columns")
    if len(set(header)) < len(header):
        raise CorpusError(f"{file}: two of the {len(header)} columns of its header have the same name")

    def read(columns: list[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        for line, record in records:
            if len(record) != len(header):
                raise CorpusError(f"{file}, line {line}: has {len(record)} cells; the header has {len(header)}")
            yield line, dict(zip(header, record, strict=True))

    return Table(str(file), header, {}, read, "line")


def _records(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The header and the rows of a CSV or TSV file, each with the number of its first line; blank lines are skipped."""
    csv.field_size_limit(LONGEST_CELL)
    delimiter = DELIMITERS[Path(file.name.removesuffix(".gz")).suffix]
    records = csv.reader((line for _, line in text_lines(file)), delimiter=delimiter, strict=True)
    line = 1
    try:
        for record in records:
            if record:
                yield line, record
            line = records.line_num + 1
    except csv.Error as error:
        raise CorpusError(f"{file}, line {line}: not CSV ({error})") from None


def _parquet(file: Path) -> Table:
    try:
        source = ParquetFile(file)
    except (pyarrow.ArrowException, OSError):
        raise CorpusError(f"{file}: not a Parquet file that can be read") from None
    schema = source.schema_arrow
    typed = b"huggingface" in (schema.metadata or {})

    def read(columns: list[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        try:
            batches = source.iter_batches(AT_ONCE, columns=columns)
            yield from enumerate(chain.from_iterable(batch.to_pylist() for batch in batches), 1)
        except (pyarrow.ArrowException, OSError):
            raise CorpusError(f"{file}: the Parquet data are damaged") from None

    classes = class_names(Features.from_arrow_schema(schema)) if typed else {}
    return Table(str(file), schema.names, classes, read)
