"""The errors that are a user's to mend: each is one line that says what to change."""

import errno
import traceback
from pathlib import Path

from partitions.corpus import CorpusError
from partitions.partition import PartitionError
from results.frames import ResultsError
from simulate.bench import BenchError
from simulate.clients.training import DivergenceError
from simulate.config import ConfigError
from simulate.engine.executors import BrokenOffError, EngineError
from simulate.engine.prefix_cache import PrefixCacheError
from simulate.engine.records import RunFolderError
from simulate.engine.shared import SharedFolderError
from simulate.exchange.aggregation import AggregationError
from simulate.method import MethodError
from simulate.models import ModelError

USER_ERRORS = (
    AggregationError,
    BenchError,
    ConfigError,
    CorpusError,
    DivergenceError,
    EngineError,
    MethodError,
    ModelError,
    PartitionError,
    PrefixCacheError,
    ResultsError,
    RunFolderError,
    SharedFolderError,
)

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a full disk, a used-up quota and too large a file say, without naming the file."""


def one_line(error: BaseException) -> str | None:
    """What a user is told of an error; None if it is none of the user's, but of the program.

    Beside `USER_ERRORS` that is what the file system says: a file that may not be read or written, a full disk.
    """
    if isinstance(error, USER_ERRORS):
        return " ".join(str(error).splitlines())
    if isinstance(error, OSError) and error.strerror and (error.filename is not None or error.errno in FULL):
        file = "" if error.filename is None else f"{error.filename}: "
        return f"{file}{error.strerror}"
    return None


def breaks_off(error: BaseException) -> bool:
    """Whether an error ends what goes on from there when the cause is mended: room is short, or workers were lost."""
    return isinstance(error, BrokenOffError | SharedFolderError) or (isinstance(error, OSError) and error.errno in FULL)


def recorded(error: BaseException) -> str:
    """An error for a record that may be passed on: of an unexpected one only its type and where it was raised.

    What libraries say may quote the text that they stumbled over.
    """
    kind = type(error).__name__
    if (line := one_line(error)) is not None:
        return f"{kind}: {line}"
    place = traceback.extract_tb(error.__traceback__)[-1:]
    return kind + "".join(f" at {Path(frame.filename).name}:{frame.lineno}" for frame in place)
