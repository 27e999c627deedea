"""A folder of your own: train, validation and test as JSON lines, plain or gzip."""

import codecs
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from datasets import Dataset
from pydantic import BaseModel, ConfigDict, Field

from partitions.corpus import SPLITS, Corpus, CorpusError, Task
from partitions.examples import FEATURES, check_example, find_task, labels_of, quote

MOST_LISTED = 20
"""Labels listed in a message; more are counted."""


class Jsonl(BaseModel):
    """One JSON object a line in ``train``, ``validation`` and ``test``, each ``.jsonl`` or ``.jsonl.gz``.

    NER: ``{"id": "note1-0", "tokens": ["chest", "pain"], "tags": ["B-problem", "I-problem"], "group": "site A"}``
    with IOB2 tags; classification: ``{"id": "note1", "text": "...", "label": "Cardiology", "group": "site A"}``.
    ``id`` (by default ``<split>-<line>``, unique in its split) and ``group`` (by default empty) may be left out; other
    keys are ignored. The files are UTF-8; blank lines are skipped.

    Attributes:
        path: the folder.
        name: what the corpus is called, by default as its folder. For Python: in a configuration file ``corpus.name``
            is the reader, ``jsonl``.
        task: ``ner`` or ``classification``; by default told from the keys.
        labels: the entity types or classes; by default those of the train split. Given together with ``task``, the
            corpus can be planned for before its files exist.
        obtain: how to get the files, for the message when they are missing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    name: Annotated[str | None, Field(exclude=True)] = None
    task: Task | None = None
    labels: Annotated[tuple[Annotated[str, Field(min_length=1)], ...] | None, Field(min_length=1)] = None
    obtain: str | None = None

    def describe(self) -> tuple[Task, tuple[str, ...]]:
        """The task and the sorted labels; the files are read only where the settings do not say.

        Raises:
            CorpusError: as `load`.
        """
        if self.task and self.labels:
            return self.task, tuple(sorted(set(self.labels)))
        corpus = self.load()
        return corpus.task, corpus.labels

    def load(self) -> Corpus:
        """Read and check the three splits.

        Raises:
            CorpusError: at the first mistake, naming file and line, never quoting clinical text.
        """
        folder, task, labels = self.path.expanduser(), self.task, set(self.labels or ())
        splits = {}
        for split, file in self._files(folder).items():
            examples: list[dict[str, Any]] = []
            lines: dict[str, int] = {}
            for line, row in _objects(file):
                try:
                    task = task or find_task(row)
                    example = check_example(row, task, f"{split}-{line}")
                    if first := lines.get(example["id"]):
                        raise CorpusError(f"id {quote(example['id'])} is already on line {first}")
                    unknown = labels_of(example, task) - labels
                    if unknown and (split != "train" or self.labels):
                        where = "corpus.labels" if self.labels else "the train split's"
                        raise CorpusError(f"label {quote(min(unknown))} is not among {where}: {_listed(labels)}")
                except CorpusError as error:
                    raise CorpusError(f"{file}, line {line}: {error}") from None
                lines[example["id"]] = line
                labels |= unknown
                examples.append(example)
            if not examples or task is None:
                raise CorpusError(f"{file}: holds no examples; expected one JSON object a line")
            if not labels:
                raise CorpusError(f"{file}: none of its {len(examples)} sentences holds an entity; expected B- tags")
            columns = {key: [example[key] for example in examples] for key in FEATURES[task]}
            splits[split] = Dataset.from_dict(columns, features=FEATURES[task])
        assert task is not None
        return Corpus(self.name or folder.resolve().name, task, tuple(sorted(labels)), splits)

    def _files(self, folder: Path) -> dict[str, Path]:
        hint = f"; to obtain it: {' '.join(self.obtain.split())}" if self.obtain else ""
        if not folder.exists():
            raise CorpusError(f"{folder}: no such folder; corpus.path names a folder of JSONL files{hint}")
        if not folder.is_dir():
            raise CorpusError(f"{folder}: not a folder; corpus.path names the folder that holds train.jsonl")
        files = {}
        for split in SPLITS:
            names = [f"{split}.jsonl", f"{split}.jsonl.gz"]
            found = [folder / name for name in names if (folder / name).is_file()]
            if not found:
                raise CorpusError(f"{folder}: no {split} split; looked for {' and '.join(names)}{hint}")
            if len(found) > 1:
                raise CorpusError(f"{folder}: both {' and '.join(names)} exist; keep one of them")
            files[split] = found[0]
        return files


def _objects(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON object of each line that is not blank, with the line's number from 1."""
    for line, data in _lines(file):
        if not data.strip():
            continue
        try:
            row = json.loads(data.decode())
            if b"\\u" in data:
                json.dumps(row, ensure_ascii=False).encode()
        except UnicodeDecodeError as error:
            raise CorpusError(f"{file}, line {line}: not UTF-8 at byte {error.start + 1}") from None
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


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    line = 0
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            for line, data in enumerate(stream, 1):
                yield line, data.removeprefix(codecs.BOM_UTF8) if line == 1 else data
    except EOFError:
        raise CorpusError(f"{file}, line {line + 1}: the gzip data breaks off; the file is truncated") from None
    except (gzip.BadGzipFile, zlib.error):
        raise CorpusError(f"{file}, line {line + 1}: not valid gzip data") from None
    except OSError as error:
        raise CorpusError(f"{file}: cannot be read ({error.strerror})") from None


def _listed(labels: Iterable[str]) -> str:
    names = sorted(labels)
    return ", ".join(map(quote, names)) if len(names) <= MOST_LISTED else f"{len(names)} labels"
