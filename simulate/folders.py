"""The folders that commands write where the user names none."""

from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType

RUNS = Path("runs")


class NewFolders:
    """Within the block `make` gives new folders in runs/; at its end those go in which there is nothing."""

    def __enter__(self) -> "NewFolders":
        self._made: list[Path] = []
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for folder in reversed(self._made):
            with suppress(OSError):
                folder.rmdir()

    def make(self, name: str) -> Path:
        """A folder of this name and the time, and of a number where another command made one in the same second.

        Raises:
            RunFolderError: if runs/ is a file or a link to nothing, or may not be written to.
        """
        stamped = f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
        folder, number = RUNS / stamped, 1
        if not RUNS.exists():
            self._made.append(RUNS)
        while True:
            try:
                folder.mkdir(parents=True)
                break
            except OSError as error:
                if not (isinstance(error, FileExistsError) and RUNS.is_dir()):
                    from simulate.engine.records import check_free

                    check_free(folder)
                    raise
                number += 1
                folder = RUNS / f"{stamped}-{number}"
        self._made.append(folder)
        return folder
