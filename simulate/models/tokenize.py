"""Examples as sub-word ids with their labels, in flat arrays that are shared without copying."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from partitions.corpus import Task
from simulate.models import ModelError
from simulate.models.attention import is_causal
from simulate.models.backbone import ModelSettings, load_config

IGNORED = -100
"""The label of a sub-word that has none; PyTorch's cross entropy leaves it out."""

_STAND_IN = "?"  # any tokenizer reads it as one sub-word, if only as the unknown one
_AT_ONCE = 1000

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Encoded:
    """Tokenized examples; example i is ``ids[offsets[i]:offsets[i + 1]]``.

    Attributes:
        ids: sub-words of all examples, special tokens included, int32.
        offsets: where each example begins, and the end of the last, int64, one more than examples.
        labels: ner: one for each sub-word, `IGNORED` but for one sub-word a word; classification: one for each example.
        gold: ner: the tag of every word, cut ones too; the first of them belong to the labelled sub-words in turn, and
            a word that was cut counts as predicted "O". Classification: the same as `labels`.
        word_offsets: where each example begins in `gold`, and the end of the last, one more than examples.
        truncated: examples that were cut at the maximum length.
        lost_words: ner: words whose labelled sub-word was cut off.
    """

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    gold: npt.NDArray[np.int64]
    word_offsets: npt.NDArray[np.int64]
    truncated: int
    lost_words: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Sub-words of each example."""
        return np.diff(self.offsets)


def iob2_tags(types: Sequence[str]) -> tuple[str, ...]:
    """The IOB2 tags of entity types: "O" first, then B- and I- of each type."""
    return ("O", *(f"{prefix}-{entity}" for entity in types for prefix in "BI"))


def encode(
    split: Mapping[str, Any],
    task: Task,
    labels: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    settings: ModelSettings,
) -> Encoded:
    """Tokenize one split of a corpus for a model.

    Words are joined by single spaces and read as running text, as in pre-training; a sub-word belongs to the word in
    which it ends. The label of a word stands on its last sub-word if the model is causal, since only there the whole
    word has been seen, else on its first. A word without any sub-word (empty, or of characters that the tokenizer
    drops) is read as "?", so that it keeps its label; so is an empty text.

    Args:
        split: columns ``tokens, tags`` (ner) or ``text, label`` (classification), tags and labels as strings.
        task: which of the two.
        labels: names of the model's outputs, in order.
        tokenizer: the model's, a fast one.
        settings: the model; `max_length` sub-words are kept of an example, special tokens included.

    Raises:
        ModelError: if a tag or label is not among `labels`, or the tokenizer joins words.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    if task == "ner":
        causal = is_causal(load_config(settings))
        return _encode_words(split["tokens"][:], split["tags"][:], numbers, tokenizer, settings.max_length, causal)
    return _encode_texts(split["text"][:], split["label"][:], numbers, tokenizer, settings.max_length)


def _encode_texts(
    texts: Sequence[str],
    labels: Sequence[str],
    numbers: Mapping[str, int],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> Encoded:
    first, last = _special_tokens(tokenizer)
    room = max_length - len(first) - len(last)
    examples, truncated = [], 0
    for ids, _ in _subwords(tokenizer, [text if text.strip() else _STAND_IN for text in texts]):
        truncated += len(ids) > room
        examples.append(np.concatenate([first, ids[:room], last]))
    gold = _numbered(labels, numbers)
    return Encoded(*_flat(examples, np.int32), gold, gold, np.arange(len(gold) + 1), truncated, lost_words=0)


def _encode_words(
    sentences: Sequence[Sequence[str]],
    tags: Sequence[Sequence[str]],
    numbers: Mapping[str, int],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    causal: bool,
) -> Encoded:
    first, last = _special_tokens(tokenizer)
    room = max_length - len(first) - len(last)
    gold = [_numbered(sentence, numbers) for sentence in tags]
    examples, labels, truncated, lost = [], [], 0, 0
    for (ids, bearers), targets in zip(_with_bearers(tokenizer, sentences, causal), gold, strict=True):
        aligned = np.full(len(first) + len(ids) + len(last), IGNORED)
        aligned[len(first) + bearers] = targets
        kept = len(first) + min(len(ids), room)
        aligned[kept:] = IGNORED
        truncated += len(ids) > room
        lost += int((bearers >= room).sum())
        examples.append(np.concatenate([first, ids[:room], last]))
        labels.append(aligned[: kept + len(last)])
    return Encoded(*_flat(examples, np.int32), _flat(labels, np.int64)[0], *_flat(gold, np.int64), truncated, lost)


def _with_bearers(
    tokenizer: PreTrainedTokenizerBase, sentences: Sequence[Sequence[str]], causal: bool
) -> Iterator[tuple[Array, Array]]:
    """For each sentence its sub-words, and the position among them of the label of each word."""
    for words, (ids, spans) in zip(sentences, _subwords(tokenizer, [" ".join(s) for s in sentences]), strict=True):
        bearers = _bearers(words, spans, causal)
        if (bearers < 0).any() or not words:
            readable = [word if place >= 0 else _STAND_IN for word, place in zip(words, bearers, strict=True)]
            ids, spans = next(_subwords(tokenizer, [" ".join(readable) or _STAND_IN]))
            bearers = _bearers(readable, spans, causal)
            if (bearers < 0).any():
                place = int(bearers.argmin()) + 1
                raise ModelError(
                    f"the tokenizer reads word {place} of {len(words)} of an example in one with the next word; "
                    "take another model"
                )
        yield ids, bearers


def _bearers(words: Sequence[str], spans: Array, causal: bool) -> Array:
    """The position of the sub-word that bears each word's label, -1 if the word has no sub-word.

    Args:
        words: of one sentence, joined by single spaces.
        spans: (sub-words, 2), where each sub-word begins and ends in the sentence, in characters.
        causal: the last sub-word instead of the first.
    """
    sizes = np.array([len(word) for word in words], dtype=np.int64)
    ends = np.cumsum(sizes + 1) - 1
    starts = ends - sizes
    final = spans[:, 1] - 1
    owner = np.searchsorted(ends, final, side="right")  # a character of a word lies before its end and no earlier one
    in_word = (spans[:, 0] < spans[:, 1]) & (owner < len(words))
    in_word[in_word] = starts[owner[in_word]] <= final[in_word]
    positions = np.flatnonzero(in_word)
    if not causal:
        positions = positions[::-1]
    bearers = np.full(len(words), -1)
    bearers[owner[positions]] = positions  # of several sub-words of a word, the last one written stays
    return bearers


def _subwords(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Iterator[tuple[Array, Array]]:
    """The sub-words of each text without special tokens, and their spans (sub-words, 2) in characters."""
    for start in range(0, len(texts), _AT_ONCE):
        batch = tokenizer(
            list(texts[start : start + _AT_ONCE]), add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        for ids, spans in zip(batch["input_ids"], batch["offset_mapping"], strict=True):
            yield np.array(ids, dtype=np.int32), np.array(spans, dtype=np.int64).reshape(-1, 2)


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[Array, Array]:
    """The special tokens that the tokenizer puts before and after a text."""
    example = tokenizer(_STAND_IN, return_special_tokens_mask=True)
    text = [place for place, special in enumerate(example["special_tokens_mask"]) if not special]
    ids = np.array(example["input_ids"], dtype=np.int32)
    return ids[: text[0]], ids[text[-1] + 1 :]


def _numbered(labels: Sequence[str], numbers: Mapping[str, int]) -> Array:
    if unknown := set(labels).difference(numbers):
        raise ModelError(f"label {min(unknown)!r} is not an output of the model; known: {', '.join(numbers)}")
    return np.array([numbers[label] for label in labels], dtype=np.int64)


def _flat(arrays: Sequence[Array], dtype: type[np.integer[Any]]) -> tuple[Array, Array]:
    """The arrays end to end, and where each begins."""
    offsets = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
    return np.concatenate([np.empty(0, dtype), *arrays]), offsets
