"""CSV files of the release as a stream of blocks: bounded memory, and each mistake named by its row."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from partitions.corpus import CorpusError

BLOCK = 4 << 20
"""Bytes of (uncompressed) CSV parsed at once; no row may be longer."""
_NUMERIC = re.compile(r"[\d.eE+-]{1,20}")


@dataclass(frozen=True)
class Rows:
    """Some rows of a CSV file. All cells are strings, empty where the file has nothing.

    Attributes:
        file: where they stand.
        table: the columns that were asked for and ``row``, the number of the row in the file from 1: neither the header
            nor blank lines count, and a row may span several lines.
    """

    file: Path
    table: pa.Table

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, column: str) -> pa.ChunkedArray:
        return self.table[column]

    def where(self, mask: pa.ChunkedArray) -> "Rows":
        """The rows for which a mask holds."""
        return Rows(self.file, self.table.filter(mask))

    def integers(self, column: str) -> pa.ChunkedArray:
        """A column as int64.

        Raises:
            CorpusError: at the first cell that is no integer.
        """
        self.check(column, pc.match_substring_regex(self[column], r"^\d{1,18}$"), "an integer")
        return self[column].cast(pa.int64())

    def times(self, column: str, day: str | None = None) -> pa.ChunkedArray:
        """A column as timestamps in seconds.

        Args:
            column: times as in ``2150-01-01 13:45:00``.
            day: a column of dates, the end of which counts where there is no time.

        Raises:
            CorpusError: at the first cell that is no time, or no date where that is needed.
        """
        cells = self[column]
        if day:
            dates = pc.utf8_slice_codeunits(self[day], 0, 10)
            untimed = pc.equal(cells, "")
            valid = pc.is_valid(pc.strptime(dates, format="%Y-%m-%d", unit="s", error_is_null=True))
            self.check(day, pc.or_(valid, pc.invert(untimed)), "a date such as 2150-01-31")
            cells = pc.if_else(untimed, pc.binary_join_element_wise(dates, "23:59:59", " "), cells)
        times = pc.strptime(cells, format="%Y-%m-%d %H:%M:%S", unit="s", error_is_null=True)
        self.check(column, pc.is_valid(times), "a time such as 2150-01-31 13:45:00")
        return times

    def check(self, column: str, valid: pa.ChunkedArray, expected: str) -> None:
        """Refuse the first row whose cell is not valid.

        Raises:
            CorpusError: naming the row; it quotes numbers only, since any other cell may be text out of place.
        """
        place = pc.index(valid, False).as_py()
        if place < 0:
            return
        value = self[column][place].as_py()
        found = repr(value) if _NUMERIC.fullmatch(value) else f"of {len(value)} characters" if value else "empty"
        raise CorpusError(f"{self.file}, row {self['row'][place].as_py()}: {column} is {found}; expected {expected}")


def stream(file: Path, columns: Sequence[str]) -> Iterator[Rows]:
    """Some columns of a CSV file, plain or gzip, block by block.

    Cells may be quoted, and hold commas, line breaks and doubled quotes when they are.

    Raises:
        CorpusError: if the file cannot be read, lacks a column, has a row with another number of cells than its header,
            is not UTF-8 or breaks off.
    """
    yield from _Stream(file, columns)


def read(file: Path, columns: Sequence[str]) -> Rows:
    """Some columns of a CSV file at once, see `stream`."""
    schema = pa.schema([*((column, pa.string()) for column in columns), ("row", pa.int64())])
    return Rows(file, pa.concat_tables([schema.empty_table(), *(rows.table for rows in stream(file, columns))]))


class _Stream:
    """One pass over a file, and what is known about it when something is wrong."""

    def __init__(self, file: Path, columns: Sequence[str]) -> None:
        self.file = file
        self.columns = columns
        self.row = 0
        self.misshapen: csv.InvalidRow | None = None

    def __iter__(self) -> Iterator[Rows]:
        try:
            with _QuoteCounter(self.file) as source:
                for batch in self._reader(source):
                    numbers = pa.array(range(self.row + 1, self.row + 1 + batch.num_rows), pa.int64())
                    self.row += batch.num_rows
                    yield Rows(self.file, pa.Table.from_batches([batch]).append_column("row", numbers))
                if source.quotes % 2:
                    raise CorpusError(f"{self.file}, row {self.row}: breaks off inside quotes; the file is truncated")
        except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
            raise CorpusError(self._message(error)) from None

    def _reader(self, source: RawIOBase) -> csv.CSVStreamingReader:
        return csv.open_csv(
            source,
            csv.ReadOptions(block_size=BLOCK, use_threads=False),
            csv.ParseOptions(newlines_in_values=True, invalid_row_handler=self._refuse),
            csv.ConvertOptions(
                include_columns=self.columns,
                column_types=dict.fromkeys(self.columns, pa.string()),
                strings_can_be_null=False,
            ),
        )

    def _refuse(self, row: csv.InvalidRow) -> str:
        self.misshapen = row
        return "error"

    def _message(self, error: Exception) -> str:
        """What is wrong, in words of our own: Arrow's messages quote the row."""
        text = str(error)
        if row := self.misshapen:
            return (
                f"{self.file}, row {row.number - 1}: has {row.actual_columns} cells; expected {row.expected_columns}, "
                "as in its header (is a quotation mark unbalanced here or before?)"
            )
        if missing := re.search(r"Column '(\w+)' in include_columns", text):
            return f"{self.file}: no column {missing[1]}; expected the header of MIMIC-III v1.4"
        after = f"{self.file}, somewhere after row {self.row}" if self.row else str(self.file)  # exact to a block
        if "Truncated" in text:
            return f"{after}: the gzip data breaks off; the file is truncated"
        if "inflate" in text:
            return f"{after}: not valid gzip data"
        if "UTF8" in text:
            return f"{after}: a cell is not UTF-8"
        if "straddling" in text:
            return f"{after}: a row of more than {BLOCK >> 20} MiB; is a quotation mark unbalanced?"
        if "Empty CSV" in text:
            return f"{self.file}: holds no table; expected the header of MIMIC-III v1.4"
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not CSV as in the release"
        return f"{after}: cannot be read ({reason})"


class _QuoteCounter(RawIOBase):
    """A file, decompressed, that counts the quotation marks read: an odd number at its end means that it breaks off
    inside a cell, which no CSV parser tells."""

    def __init__(self, file: Path) -> None:
        self.quotes = 0
        self._source = pa.input_stream(str(file), compression="gzip" if file.suffix == ".gz" else None)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._source.read(size)
        self.quotes += data.count(b'"')
        return data

    def close(self) -> None:
        self._source.close()
        super().close()
