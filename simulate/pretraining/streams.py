"""Tokens of the training text, and the batch of every step as a function of (seed, step)."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from safetensors.numpy import load_file, save_file
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from partitions.corpora.synthetic import notes
from simulate.pretraining.settings import Pretraining, WorkFolder
from simulate.pretraining.text import Document, plain, read_folder, split_off
from simulate.pretraining.tokenizer import save_tokenizer, train_tokenizer
from simulate.seeds import generator

Streams = Mapping[str, np.ndarray]
"""``"notes"`` and, where folders were given, ``"text"`` -> its tokens (uint16), each document ``<bos> ... <eos>``."""

SPACED_NOTES = 4
"""Every fourth note is read as its spaced lines; real text, of which there is less, is read in both renderings."""

HELD_OUT_NOTES = 100


def prepare(settings: Pretraining, work: WorkFolder) -> tuple[PreTrainedTokenizerFast, Streams]:
    """The tokenizer and the training tokens, made once and kept in the work folder."""
    if not work.streams.exists():
        texts = {"notes": _notes(settings), **({"text": _text(settings)} if settings.text else {})}
        tokenizer = train_tokenizer(_vocabulary_text(texts), settings.vocabulary)
        save_tokenizer(tokenizer, work.tokenizer)
        streams = {}
        for name, documents in texts.items():
            order = generator(settings.seed, "order", name).permutation(len(documents))
            streams[name] = _encode(tokenizer, (documents[index] for index in order))
        save_file(streams, work.streams)
    return AutoTokenizer.from_pretrained(work.tokenizer), load_file(work.streams)


def batch(settings: Pretraining, streams: Streams, bos: int, step: int) -> np.ndarray:
    """The sequences of a step: windows at random places of the streams.

    Every sequence begins with ``<bos>``, as every input of fine-tuning does.

    Returns:
        int64 array of shape (batch_tokens // length, length), length being that of the step.
    """
    length = settings.lengths[step % len(settings.lengths)]
    rng = generator(settings.seed, "batch", step)
    rows = []
    for _ in range(max(1, settings.batch_tokens // length)):
        real = "text" in streams and rng.random() < settings.text_share
        stream = streams["text" if real else "notes"]
        start = rng.integers(len(stream) - length + 1)
        rows.append(stream[start : start + length])
    sequences = np.stack(rows).astype(np.int64)
    sequences[:, 0] = bos
    return sequences


def held_out(settings: Pretraining) -> dict[str, list[str]]:
    """Running text that the model has not seen: notes of another seed, and the documents kept out of each folder."""
    texts = {"synthetic notes": list(notes(settings.seed + 1, HELD_OUT_NOTES))}
    for folder in settings.text:
        texts[folder.name] = [document.running for document in split_off(read_folder(folder), settings.held_out)[1]]
    return texts


def _notes(settings: Pretraining) -> list[str]:
    documents: list[str] = []
    for position, note in enumerate(notes(settings.seed, settings.notes)):
        documents += plain(note).sentences if position % SPACED_NOTES == SPACED_NOTES - 1 else [note]
    return documents


def _text(settings: Pretraining) -> list[str]:
    kept: list[Document] = []
    for folder in settings.text:
        kept += split_off(read_folder(folder), settings.held_out)[0]
    return [rendering for document in kept for rendering in (document.running, *document.sentences)]


def _vocabulary_text(texts: Mapping[str, list[str]]) -> Iterator[str]:
    """Real text, and as many bytes of notes: notes repeat themselves and would otherwise crowd out its words."""
    yield from texts.get("text", ())
    room = sum(map(len, texts.get("text", ()))) or None
    for note in texts["notes"]:
        if room is not None and (room := room - len(note)) < 0:
            return
        yield note


def _encode(tokenizer: PreTrainedTokenizerFast, documents: Iterable[str]) -> np.ndarray:
    parts = []
    for document in documents:
        parts.append(np.array([*tokenizer(document)["input_ids"], tokenizer.eos_token_id], dtype=np.uint16))
    return np.concatenate(parts)
