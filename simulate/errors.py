"""The errors that are a user's to mend: each is one line that says what to change."""

from partitions.corpus import CorpusError
from partitions.partition import PartitionError
from results.frames import ResultsError
from simulate.config import ConfigError
from simulate.engine.executors import EngineError
from simulate.engine.records import RunFolderError
from simulate.method import MethodError
from simulate.models import ModelError

USER_ERRORS = (
    ConfigError,
    CorpusError,
    EngineError,
    MethodError,
    ModelError,
    PartitionError,
    ResultsError,
    RunFolderError,
)
