"""A folder of your own: train, validation and test as JSON lines, plain or gzip."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from partitions.assembly import Rows, assemble
from partitions.corpus import Corpus, CorpusError, Task
from partitions.files import split_files, text_lines
from partitions.reader import CorpusReader, Names


class Jsonl(CorpusReader):
    """One JSON object a line in ``train``, ``validation`` and ``test``, each ``.jsonl`` or ``.jsonl.gz``.

    NER: ``{"id": "note1-0", "tokens": ["chest", "pain"], "tags": ["B-problem", "I-problem"], "group": "site A"}``
    with IOB2 tags; classification: ``{"id": "note1", "text": "...", "label": "Cardiology", "group": "site A"}``;
    multilabel: a list ``labels`` in place of ``label``. ``id`` (by default ``<split>-<line>``, unique in its split),
    ``group`` and ``document`` (the note or patient that the example is part of; both by default empty) may be left
    out; other keys are ignored. The files are UTF-8; blank lines are skipped.

    Attributes:
        path: the folder.
        name: what the corpus is called, by default as its folder. For Python: in a configuration file ``corpus.name``
            is the reader, ``jsonl``.
        task: ``ner``, ``classification`` or ``multilabel``; by default told from the keys.
        labels: the entity types or classes; by default those of the train split. Given together with ``task``, the
            corpus can be planned for before its files exist.
        obtain: how to get the files, for the message when they are missing.
    """

    path: Path
    name: Annotated[str | None, Field(exclude=True)] = None
    task: Task | None = None
    labels: Names | None = None
    obtain: str | None = None

    def declared(self) -> tuple[Task | None, Names | None]:
        """The task and the labels, where they are set."""
        return self.task, self.labels

    def read(self) -> Corpus:
        """Read and check the three splits.

        Raises:
            CorpusError: at the first mistake, naming file and line, never quoting clinical text.
        """
        folder = self.path.expanduser()
        hint = f"; to obtain it: {' '.join(self.obtain.split())}" if self.obtain else ""
        files = split_files(folder, "JSONL", [".jsonl", ".jsonl.gz"], hint)
        splits = {split: (str(file), _rows(split, file)) for split, file in files.items()}
        return assemble(self.name or folder.resolve().name, splits, self.task, self.labels)


def _rows(split: str, file: Path) -> Rows:
    """The example of each line, under its own id or one made of split and line."""
    for line, row in _objects(file):
        yield f"{file}, line {line}", row if row.get("id") not in (None, "") else {**row, "id": f"{split}-{line}"}


def _objects(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON object of each line that is not blank, with the line's number from 1."""
    for line, text in text_lines(file):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
            if "\\u" in text:
                json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise CorpusError(f"{file}, line {line}: a \\u escape is half a surrogate pair") from None
        except json.JSONDecodeError as error:
            raise CorpusError(f"{file}, line {line}: not JSON at column {error.colno} ({error.msg})") from None
        except (ValueError, RecursionError):
            raise CorpusError(
                f"{file}, line {line}: not JSON that can be read (a huge number or deep nesting)"
            ) from None
        if not isinstance(row, dict):
            raise CorpusError(f"{file}, line {line}: not a JSON object; expected {{...}}")
        yield line, row
