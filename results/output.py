"""Files for the user that appear whole or not at all."""

import fcntl
import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from results.frames import ResultsError


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """The file to write within the block; it takes its name, and the place of an older one, when the block is done.

    Folders above are made. What is no regular file, such as /dev/stdout, is written to as it stands. Of several
    processes that write the same file at once the last counts.

    Raises:
        ResultsError: if it cannot be written, naming the file and why; then the older one is as it was.
    """
    try:
        if file.is_dir():
            raise ResultsError(f"{file}: is a folder; expected the name of a file to write")
        if file.exists() and not file.is_file():
            yield file
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        with _part(file) as part:
            yield part
            part.replace(file)
    except (FileExistsError, NotADirectoryError) as error:
        raise ResultsError(f"{file}: cannot be written; a part of its path is a file") from error
    except OSError as error:
        raise ResultsError(f"{file}: cannot be written ({error.strerror or error})") from error


@contextmanager
def _part(file: Path) -> Iterator[Path]:
    """An empty file of a name of its own beside another, gone after the block if it is still there.

    It is locked as long as its process lives: those that nobody holds, of processes that were killed, are removed.
    """
    for left in file.parent.glob(f".{glob.escape(file.name)}.*.part"):
        with suppress(OSError):
            descriptor = os.open(left, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()
            finally:
                os.close(descriptor)
    while True:
        part = file.with_name(f".{file.name}.{token_hex(4)}.part")
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        with suppress(OSError):  # some file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if part.exists():  # nobody has taken it for one that is left
            break
        os.close(descriptor)
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)
        os.close(descriptor)


def write(file: Path, text: str) -> None:
    """Write a text file in UTF-8, as `whole` does.

    Raises:
        ResultsError: if it cannot be written.
    """
    with whole(file) as part:
        part.write_text(text, encoding="utf-8")
