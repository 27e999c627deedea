"""Tokenized once: the splits of a corpus as Arrow files in the cache, for every later run and every worker."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import tokenizers
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from partitions.cache import read_once, source_digest
from partitions.corpus import Corpus
from partitions.examples import KEYS
from simulate.models import encoded, tokenize, windows
from simulate.models.attention import is_causal
from simulate.models.backbone import ModelSettings, load_config
from simulate.models.encoded import Encoded


def digests(corpus: Corpus) -> dict[str, str]:
    """The SHA-256 of what is read of each split: its texts and annotations, in their order."""
    columns = list(KEYS[corpus.task])
    return {name: _digest(split.select_columns(columns)) for name, split in corpus.splits.items()}


def tokenized(
    corpus: Corpus,
    content: Mapping[str, str],
    labels: tuple[str, ...],
    tokenizer: PreTrainedTokenizerBase,
    settings: ModelSettings,
) -> dict[str, Encoded]:
    """Each split of a corpus for a model, from the cache or tokenized into it.

    An entry is found by all that decides what is in it: the text and annotations, the tokenizer, how long texts are
    read, where words have their labels, the model's outputs, and the code that does it.

    Args:
        corpus: what to tokenize.
        content: its `digests`.
        labels: names of the model's outputs, in order.
        tokenizer: the model's.
        settings: the model.

    Raises:
        ModelError: as `tokenize.encode`.
    """
    reading = {
        "task": corpus.task,
        "labels": labels,
        "causal": corpus.task == "ner" and is_causal(load_config(settings)),
        "bidirectional": settings.bidirectional,
        "max_length": settings.max_length,
        "overflow": settings.overflow,
        "stride": settings.stride,
        "tokenizer": tokenizer.backend_tokenizer.to_str(),
        "special_tokens": tokenizer.special_tokens_map,
        "tokenizers": tokenizers.__version__,
        "code": source_digest(encoded, tokenize, windows),
    }

    found = {}
    for name, split in corpus.splits.items():

        def write(folder: Path, split: Dataset = split) -> None:
            tokenize.encode(split, corpus.task, labels, tokenizer, settings).save(folder)

        key = hashlib.sha256(repr([content[name], sorted(reading.items())]).encode()).hexdigest()
        found[name] = read_once(f"tokens-{key[:32]}", write, Encoded.open)
    return found


class _Hash:
    """A file that only remembers the digest of what is written to it."""

    closed = False

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return len(data)

    def flush(self) -> None: ...


def _digest(split: Dataset) -> str:
    """A digest of a table's columns and values."""
    sink = _Hash()
    table = split.with_format("arrow")[:].replace_schema_metadata(None).combine_chunks()
    with pa.ipc.new_stream(pa.PythonFile(sink, "w"), table.schema) as writer:
        writer.write_table(table, max_chunksize=10_000)
    return sink.digest.hexdigest()
