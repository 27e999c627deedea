"""The text files of a corpus folder; every error names the file, and the line where there is one."""

import codecs
import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from partitions.corpus import SPLITS, CorpusError


class AnnotatedNote(NamedTuple):
    """A note and its annotations, in files of the same name.

    Attributes:
        name: path below the two folders, without suffix.
    """

    name: str
    text: Path
    annotations: Path


def split_files(
    folder: Path, kind: str, suffixes: Sequence[str], hint: str = "", splits: Sequence[str] = SPLITS
) -> dict[str, Path]:
    """The file of each split: ``train``, ``validation`` and ``test`` with one of several suffixes.

    Args:
        folder: as the user gave it.
        kind: of the files, for messages.
        suffixes: the ones accepted; the first stands for all where one name is enough.
        hint: added where files are missing, such as how to obtain them.
        splits: the ones to find.

    Raises:
        CorpusError: if the folder, or a split, is missing, or a split has two files.
    """
    if not folder.exists():
        raise CorpusError(f"{folder}: no such folder; corpus.path names a folder of {kind} files{hint}")
    if not folder.is_dir():
        raise CorpusError(f"{folder}: not a folder; corpus.path names the folder that holds train{suffixes[0]}")
    files = {}
    for split in splits:
        names = [split + suffix for suffix in suffixes]
        found = [name for name in names if (folder / name).is_file()]
        if not found:
            looked = f"{', '.join(names[:-1])} and {names[-1]}"
            raise CorpusError(f"{folder}: no {split} split; looked for {looked}{hint}")
        if len(found) > 1:
            raise CorpusError(f"{folder}: both {found[0]} and {found[1]} exist; keep one of them")
        files[split] = folder / found[0]
    return files


def annotated_files(texts: Path, annotations: Path, suffix: str) -> list[AnnotatedNote]:
    """The ``.txt`` files of a folder and what is below it, each with its annotations, sorted by name.

    Hidden files, which some systems leave beside the real ones, are passed over.

    Args:
        texts: folder of the notes.
        annotations: folder of the annotations, perhaps the same.
        suffix: of the annotations, with its dot.

    Raises:
        CorpusError: if either of the two files is missing; a note without annotations has an empty file of them.
    """
    notes, marks = _named(texts, ".txt"), _named(annotations, suffix)
    for name in sorted(notes.keys() ^ marks.keys()):
        if name in notes:
            raise CorpusError(f"{notes[name]}: has no annotations; expected {annotations / name}{suffix}")
        raise CorpusError(f"{marks[name]}: has no text; expected {texts / name}.txt")
    return [AnnotatedNote(name, notes[name], marks[name]) for name in sorted(notes)]


def text_lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file, each with its number from 1 and its line end as it stands; ``.gz`` is unpacked.

    A line ends at a line feed and nowhere else. A byte order mark is left out.

    Raises:
        CorpusError: if the file cannot be read, or is not UTF-8.
    """
    for line, data in _lines(file):
        try:
            yield line, data.decode()
        except UnicodeDecodeError as error:
            raise CorpusError(f"{file}, line {line}: not UTF-8 at byte {error.start + 1}") from None


def _named(folder: Path, suffix: str) -> dict[str, Path]:
    """Files by their path below the folder, without suffix."""
    files = (file for file in folder.rglob(f"*{suffix}") if file.is_file() and not file.name.startswith("."))
    return {file.relative_to(folder).as_posix().removesuffix(suffix): file for file in files}


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
