"""Any data set of the Hugging Face hub, or a downloaded copy of one, whatever its columns."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from datasets import Dataset, DatasetDict, load_dataset
from datasets.exceptions import DatasetGenerationError
from pydantic import Field

from partitions.cache import cache_folder
from partitions.columns import ColumnReader, Table, class_names
from partitions.corpus import Corpus, CorpusError

AT_ONCE = 1000
"""Rows held in memory while they are checked."""
CONVERTED = "refs/convert/parquet"
"""The branch where the hub keeps its own conversion of data sets that come with a loading script."""


class Hub(ColumnReader):
    """A data set as `datasets.load_dataset` finds it: Parquet, JSON lines, CSV, without code of its own.

    `datasets` keeps a copy as Arrow. That of a local folder, which may be protected text, lies in the folder
    ``datasets`` of the cache folder (see `partitions.cache`), open to its owner only. A data set of the hub, which is
    public, lies where `datasets` keeps all of them, so that one copy serves all programs; for one with access
    conditions, set the environment variable HF_HOME to a closed folder.

    Attributes:
        id: on the hub, such as ``ncbi/ncbi_disease``, or a local folder of the same layout.
        subset: which one, of a data set that has several.
        revision: branch, tag or commit; by default the main branch.
    """

    id: Annotated[str, Field(min_length=1)]
    subset: str | None = None
    revision: str | None = None

    def read(self) -> Corpus:
        """Download what is not yet in the cache, and check the splits.

        Raises:
            CorpusError: if the data set cannot be had, or at the first mistake in it, naming split and row, never
                quoting clinical text.
        """
        found = self._load()
        tables = {}
        for split, source in self.sources().items():
            if source not in found:
                raise CorpusError(
                    f"{self.id}: has no split {source!r}, only {', '.join(map(repr, found))}; corpus.splits gives other"
                    " names, and corpus.holdout=0.1 makes a validation split out of train"
                )
            tables[split] = _table(f"{self.id}, {source}", found[source])
        return self.corpus_of(Path(self.id).resolve().name, tables)

    def _load(self) -> DatasetDict:
        folder = Path(self.id).expanduser()
        try:
            if not folder.is_dir():
                return load_dataset(self.id, self.subset, revision=self.revision)
            kept = cache_folder() / "datasets"
            kept.mkdir(mode=0o700, parents=True, exist_ok=True)
            return load_dataset(str(folder), self.subset, revision=self.revision, cache_dir=str(kept))
        except RuntimeError as error:
            if "scripts" not in str(error):
                raise
            raise CorpusError(
                f"{self.id}: needs a loading script, and foreign code is never run; set corpus.revision={CONVERTED} if "
                f"the hub has converted it, or corpus.path to a folder of your own JSONL files"
            ) from None
        except DatasetGenerationError:
            raise CorpusError(f"{self.id}: its files are malformed or differ in their columns") from None
        except Exception as error:  # any that the transports beneath `datasets` raise
            known = isinstance(error, (OSError, ValueError)) and str(error)
            reason = str(error).splitlines()[0].rstrip(".") if known else type(error).__name__
            hint = "" if folder.is_dir() else f"; {self._alternative()}"
            raise CorpusError(f"{self.id}: {reason}{hint}") from None

    def _alternative(self) -> str:
        revision = f" --revision {self.revision}" if self.revision else ""
        return (
            f"without the hub, fetch it elsewhere with `hf download --repo-type dataset {self.id}{revision} "
            "--local-dir FOLDER` and set corpus.id=FOLDER, or set corpus.path to a folder of your own JSONL files"
        )


def _table(origin: str, split: Dataset) -> Table:
    def rows(columns: list[str]) -> Iterator[Mapping[str, Any]]:
        for batch in split.select_columns(columns).iter(AT_ONCE):
            for values in zip(*(batch[column] for column in columns), strict=True):
                yield dict(zip(columns, values, strict=True))

    def read(columns: list[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        return enumerate(rows(columns), 1)

    return Table(origin, split.column_names, class_names(split.features), read)
