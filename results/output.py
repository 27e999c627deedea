"""Files for the user that appear whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from results.frames import ResultsError


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """The file to write within the block; it takes its name, and the place of an older one, when the block is done.

    Folders above are made. What is no regular file, such as /dev/stdout, is written to as it stands.

    Raises:
        ResultsError: if it cannot be written, naming the file and why; then the older one is as it was.
    """
    part = file.with_name(f".{file.name}.part")
    try:
        if file.is_dir():
            raise ResultsError(f"{file}: is a folder; expected the name of a file to write")
        if file.exists() and not file.is_file():
            yield file
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ResultsError(f"{file}: cannot be written; a part of its path is a file") from error
    except OSError as error:
        raise ResultsError(f"{file}: cannot be written ({error.strerror or error})") from error


def write(file: Path, text: str) -> None:
    """Write a text file in UTF-8, as `whole` does.

    Raises:
        ResultsError: if it cannot be written.
    """
    with whole(file) as part:
        part.write_text(text, encoding="utf-8")
