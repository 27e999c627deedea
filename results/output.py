"""Files for the user that appear whole or not at all."""

import errno
import fcntl
import glob
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

from results.frames import ResultsError

DESCRIPTORS = Path("/dev/fd")
"""Where the system names the files that this process has open; /dev/stdout leads there."""

MOST_LINKS = 40
"""Links that lead to each other, as Linux follows them."""


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """The file to write within the block; it takes its name, and the place of an older one, when the block is done.

    Folders above are made. Where the name is a link, the file that it leads to is written. What this process has open,
    such as /dev/stdout, is written on from where it stands, and what else is no regular file as it stands. Of several
    processes that write the same file at once the last counts.

    Raises:
        ResultsError: if it cannot be written, naming the file and why; then the older one is as it was.
    """
    try:
        if file.is_dir():
            raise ResultsError(f"{file}: is a folder; expected the name of a file to write")
        place = _followed(file)
        if _is_descriptor(place):
            with _for_descriptor(int(place.name)) as part:
                yield part
        elif place.exists() and not place.is_file():
            yield place
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            with _part(place) as part:
                yield part
                part.replace(place)
    except (FileExistsError, NotADirectoryError) as error:
        raise ResultsError(f"{file}: cannot be written; a part of its path is a file") from error
    except OSError as error:
        raise ResultsError(f"{file}: cannot be written ({error.strerror or error})") from error


def _followed(file: Path) -> Path:
    """Where links lead from a file, but no further than to what this process has open, where redirections begin.

    Raises:
        OSError: if they lead round in a circle.
    """
    for _ in range(MOST_LINKS):
        file = Path(os.path.realpath(file.parent), file.name)
        if _is_descriptor(file) or not file.is_symlink():
            return file
        file = file.parent / file.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _is_descriptor(place: Path) -> bool:
    """Whether a name stands for something that this process has open; on Linux `DESCRIPTORS` leads below /proc."""
    return place.name.isdecimal() and place.parent == Path(os.path.realpath(DESCRIPTORS))


@contextmanager
def _for_descriptor(number: int) -> Iterator[Path]:
    """A file whose content follows, when the block is done, what has been written to an open file.

    By its name it would be opened anew: written from the beginning, over what is there.
    """
    with TemporaryDirectory() as folder:
        part = Path(folder) / "part"
        yield part
        sys.stdout.flush()
        with part.open("rb") as source, open(number, "wb", closefd=False) as stream:
            shutil.copyfileobj(source, stream)


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
