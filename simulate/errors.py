"""The errors that are a user's to mend: each is one line that says what to change."""

from partitions.corpus import CorpusError
from partitions.partition import PartitionError
from results.frames import ResultsError
from simulate.bench import BenchError
from simulate.clients.training import DivergenceError
from simulate.config import ConfigError
from simulate.engine.executors import EngineError
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
