"""What is recorded of one client's visit in one round."""

import csv
from pathlib import Path

from results.frames import ResultsError


def recorded_visit(folder: Path, number: int, client: int) -> dict[str, str] | None:
    """The row of ``clients.csv`` of a client and round, as it is written; None where there is none.

    Args:
        folder: a run folder.
        number: of the round.
        client: its number.

    Raises:
        ResultsError: if the table cannot be read.
    """
    path = folder / "clients.csv"
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream, restval=""):
                if (row["round"], row["client"]) == (str(number), str(client)):
                    return dict(row)
    except FileNotFoundError:
        return None  # no round was done
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read: {error.strerror}") from error
    except (KeyError, ValueError, csv.Error) as error:
        raise ResultsError(f"{path}: not readable as the table of the clients' visits") from error
    return None
