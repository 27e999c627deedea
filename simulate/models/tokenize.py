"""Examples as sub-word ids with their labels."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from partitions.corpus import Task
from partitions.examples import quote
from simulate.models import ModelError
from simulate.models.attention import is_causal
from simulate.models.backbone import ModelSettings, load_config
from simulate.models.encoded import IGNORED, Encoded, flat
from simulate.models.windows import best_window, head_and_tail, window_starts

_STAND_IN = "?"  # any tokenizer reads it as one sub-word, if only as the unknown one
_AT_ONCE = 1000

Array = npt.NDArray[Any]


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

    An example of more than `max_length` sub-words, special tokens included, is read as `settings.overflow` says. In
    several windows every word is labelled once, in the window that shows most of its context, so that training counts
    it once and evaluation reads its tag there; every window of a text has the text's label.

    Args:
        split: columns ``tokens, tags`` (ner), ``text, label`` (classification) or ``text, labels`` (multilabel), with
            tags and labels as strings.
        task: which of these.
        labels: names of the model's outputs, in order.
        tokenizer: the model's, a fast one.
        settings: the model.

    Raises:
        ModelError: if a tag or label is not among `labels`, the tokenizer joins words, or the overflow or stride does
            not go with the task or the maximum length.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    if task == "ner":
        causal = is_causal(load_config(settings))
        return _encode_words(split["tokens"][:], split["tags"][:], numbers, tokenizer, settings, causal)
    if task == "classification":
        gold = _numbered(split["label"][:], numbers)
    else:
        gold = np.zeros((len(split["text"]), len(labels)), dtype=np.int64)
        for row, of_text in enumerate(split["labels"][:]):
            gold[row, _numbered(of_text, numbers)] = 1
    return _encode_texts(split["text"][:], gold, tokenizer, settings)


def _encode_texts(
    texts: Sequence[str], gold: Array, tokenizer: PreTrainedTokenizerBase, settings: ModelSettings
) -> Encoded:
    first, last = _special_tokens(tokenizer)
    room = settings.max_length - len(first) - len(last)
    stride = _stride(settings, room, default=room)
    windows, counts, truncated = [], [], 0
    for ids, _ in _subwords(tokenizer, [text if text.strip() else _STAND_IN for text in texts]):
        if settings.overflow == "windows":
            parts = [ids[start : start + room] for start in window_starts(len(ids), room, stride)]
        else:
            truncated += len(ids) > room
            parts = [ids[:room] if settings.overflow == "head" else ids[head_and_tail(len(ids), room)]]
        windows += [np.concatenate([first, part, last]) for part in parts]
        counts.append(len(parts))
    labels = np.repeat(gold, np.array(counts, dtype=np.int64), axis=0)
    window_offsets = np.cumsum([0, *counts], dtype=np.int64)
    return Encoded(*flat(windows, np.int32), window_offsets, labels, gold, np.empty(0, np.int64), truncated, 0)


def _encode_words(
    sentences: Sequence[Sequence[str]],
    tags: Sequence[Sequence[str]],
    numbers: Mapping[str, int],
    tokenizer: PreTrainedTokenizerBase,
    settings: ModelSettings,
    causal: bool,
) -> Encoded:
    if settings.overflow == "head_tail":
        raise ModelError("model.overflow = head_tail is for texts; for ner choose windows or head")
    first, last = _special_tokens(tokenizer)
    room = settings.max_length - len(first) - len(last)
    stride = _stride(settings, room, default=max(1, room // 2))
    gold = [_numbered(sentence, numbers) for sentence in tags]
    windows, labels, counts, truncated, lost = [], [], [], 0, 0
    for (ids, bearers), targets in zip(_with_bearers(tokenizer, sentences, causal), gold, strict=True):
        starts = window_starts(len(ids), room, stride)
        if settings.overflow == "head":
            starts = starts[:1]
            truncated += len(ids) > room
            lost += int((bearers >= room).sum())
        window = best_window(bearers, starts, len(ids), room, causal and not settings.bidirectional)
        for number, start in enumerate(starts):
            part = ids[start : start + room]
            aligned = np.full(len(first) + len(part) + len(last), IGNORED)
            own = (window == number) & (bearers < start + room)
            aligned[len(first) + bearers[own] - start] = targets[own]
            windows.append(np.concatenate([first, part, last]))
            labels.append(aligned)
        counts.append(len(starts))
    window_offsets = np.cumsum([0, *counts], dtype=np.int64)
    aligned_labels, _ = flat(labels, np.int64)
    return Encoded(*flat(windows, np.int32), window_offsets, aligned_labels, *flat(gold, np.int64), truncated, lost)


def _stride(settings: ModelSettings, room: int, default: int) -> int:
    if settings.stride is not None and settings.stride > room:
        raise ModelError(f"model.stride = {settings.stride}, but a window holds {room} sub-words beside special tokens")
    return settings.stride or default


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
        raise ModelError(f"label {quote(min(unknown))} is not an output of the model; known: {', '.join(numbers)}")
    return np.array([numbers[label] for label in labels], dtype=np.int64)
