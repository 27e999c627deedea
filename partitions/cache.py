"""What takes long to derive from a user's files is derived once, into one folder, for all runs that follow."""

import hashlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from partitions.corpus import CorpusError
from partitions.locks import process_lock

Content = TypeVar("Content")

VARIABLE = "SKIPFL_CACHE"
"""The environment variable that names the folder."""


def cache_folder() -> Path:
    """The folder of everything that is kept between runs: ``$SKIPFL_CACHE``, by default ``~/.cache/skipfl``.

    What is built from protected text is protected text. Whatever `build_once` keeps is open to its owner only
    (mode 0700); anything in the folder may be deleted while no run uses it.
    """
    return Path(os.environ.get(VARIABLE) or "~/.cache/skipfl").expanduser()


def build_once(key: str, write: Callable[[Path], None]) -> Path:
    """The folder kept under a key, written first if it is not there.

    Of several processes that ask at the same time one writes and the others wait. The folder appears under its name
    only when it is complete: a writer that fails or is killed leaves nothing that a later call would take for it.

    Args:
        key: a file name that says what is kept, such as ``"mimic3-4f0c..."``; it should cover all that the content
            depends on: the identity of the files read, the settings, the code (`source_digest`).
        write: fills the empty folder that it is given.

    Returns:
        The folder, inside `cache_folder`.

    Raises:
        CorpusError: if the cache folder cannot be written.
    """
    root = cache_folder()
    kept = root / key
    if kept.is_dir():
        return kept
    with _writing(root):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = process_lock(root / f"{key}.lock")
        held.acquire()
    try:
        if kept.is_dir():
            return kept
        with _writing(root):
            for abandoned in root.glob(f"{key}.*.partial"):
                shutil.rmtree(abandoned)
            unfinished = Path(tempfile.mkdtemp(prefix=f"{key}.", suffix=".partial", dir=root))
        try:
            write(unfinished)
            with _writing(root):
                unfinished.rename(kept)
        except BaseException:
            shutil.rmtree(unfinished)
            raise
    finally:
        held.release()
    return kept


def read_once(key: str, write: Callable[[Path], None], read: Callable[[Path], Content]) -> Content:
    """What is read from the folder kept under a key; a damaged folder is made again, with a warning.

    Args:
        key: as for `build_once`.
        write: as for `build_once`.
        read: gives the content of the folder; an OSError or ValueError says that it is damaged.

    Raises:
        CorpusError: if the cache folder cannot be written.
    """
    folder = build_once(key, write)
    try:
        return read(folder)
    except (OSError, ValueError) as error:
        warnings.warn(f"{folder}: damaged ({type(error).__name__}) and made again", stacklevel=2)
        shutil.rmtree(folder, ignore_errors=True)
        return read(build_once(key, write))


@contextmanager
def _writing(root: Path) -> Iterator[None]:
    """An error of the file system within the block is one of the cache folder."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or "no reason given"
        raise CorpusError(
            f"{root}: cannot be written ({reason}); the environment variable {VARIABLE} chooses another folder"
        ) from error


def source_digest(*modules: ModuleType, without: Collection[str] = ()) -> str:
    """A digest of the source of modules and packages: it changes whenever their code does.

    Args:
        without: names of files and folders of a package that do not count.
    """
    digest = hashlib.sha256()
    for module in modules:
        assert module.__file__ is not None
        file = Path(module.__file__)
        for source in sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]:
            if not {*source.relative_to(file.parent).parts} & {*without}:
                digest.update(source.read_bytes())
    return digest.hexdigest()
