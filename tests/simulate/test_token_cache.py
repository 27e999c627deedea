"""Tokenized text in the cache: found again, and never for another question."""

import pytest

from partitions.cache import cache_folder
from partitions.corpora.jsonl import Jsonl
from simulate.api import compare
from simulate.clients.tasks import TASKS
from simulate.models import tokenize
from simulate.models.backbone import ModelSettings, load_tokenizer
from simulate.models.token_cache import digests, tokenized
from tests.conftest import write_corpus


@pytest.fixture
def entries(tmp_path, monkeypatch):
    """How many folders an empty cache holds now."""
    monkeypatch.setenv("SKIPFL_CACHE", str(tmp_path / "cache"))
    return lambda: len([folder for folder in cache_folder().iterdir() if folder.is_dir()])


def read(corpus, settings: ModelSettings):
    loaded = corpus.load()
    labels = TASKS[loaded.task](loaded.labels).model_labels
    return tokenized(loaded, digests(loaded), labels, load_tokenizer(settings), settings)


def test_the_second_time_nothing_is_tokenized(tmp_path, tiny_decoder, entries, monkeypatch):
    corpus = Jsonl(path=write_corpus(tmp_path / "ner", "ner", {"train": 9, "validation": 3, "test": 3}))
    settings = ModelSettings(name=str(tiny_decoder), max_length=32)
    first = read(corpus, settings)
    assert entries() == 3
    monkeypatch.setattr(tokenize, "encode", lambda *_: pytest.fail("tokenized again"))
    second = read(corpus, settings)
    assert {name: split.ids.tolist() for name, split in first.items()} == {
        name: split.ids.tolist() for name, split in second.items()
    }


def test_whatever_changes_the_result_has_an_entry_of_its_own(tmp_path, tiny_decoder, tiny_encoder, entries):
    sizes = {"train": 9, "validation": 3, "test": 3}
    corpus = Jsonl(path=write_corpus(tmp_path / "ner", "ner", sizes))
    base = ModelSettings(name=str(tiny_decoder), max_length=32)
    before = 0
    for settings in (
        base,
        base.model_copy(update={"max_length": 16}),
        base.model_copy(update={"overflow": "windows"}),
        base.model_copy(update={"overflow": "windows", "stride": 3}),
        base.model_copy(update={"bidirectional": True}),
        ModelSettings(name=str(tiny_encoder), max_length=32),
    ):
        read(corpus, settings)
        assert entries() == before + 3, settings
        before += 3
    file = tmp_path / "ner" / "test.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:-1]) + "\n")
    read(corpus, base)
    assert entries() == before + 1


def test_a_mistake_leaves_nothing_behind(tmp_path, tiny_decoder, entries):
    corpus = Jsonl(path=write_corpus(tmp_path / "ner", "ner", {"train": 9, "validation": 3, "test": 3}))
    with pytest.raises(tokenize.ModelError, match="head_tail is for texts"):
        read(corpus, ModelSettings(name=str(tiny_decoder), max_length=32, overflow="head_tail"))
    assert entries() == 0


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(file.read_bytes()[:-40])])
def test_a_damaged_entry_is_made_again(tmp_path, tiny_decoder, entries, damage):
    corpus = Jsonl(path=write_corpus(tmp_path / "ner", "ner", {"train": 9, "validation": 3, "test": 3}))
    settings = ModelSettings(name=str(tiny_decoder), max_length=32)
    first = read(corpus, settings)
    expected = {name: split.ids.tolist() for name, split in first.items()}
    damage(first["train"].folder / "ids.arrow")
    with pytest.warns(UserWarning, match=r"tokens-[0-9a-f]{32}: damaged \(\w+\) and made again"):
        again = read(corpus, settings)
    assert {name: split.ids.tolist() for name, split in again.items()} == expected
    assert entries() == 3


def test_a_study_reads_its_corpus_once(tmp_path, tiny_decoder, text_corpus, monkeypatch):
    reads = []
    read_files = Jsonl.read
    monkeypatch.setattr(Jsonl, "read", lambda reader: reads.append(reader.path) or read_files(reader))
    small = [f"model={tiny_decoder}", "model.max_length=32", f"corpus.path={text_corpus}", "rounds=1"]
    where = ["partition.clients=2", "partition.min_size=3", "engine.executor=serial"]
    for study in ("first", "second"):
        compare("demo-classification", tmp_path / study, ["fedavg", "head_only"], overrides=[*small, *where])
    assert len(reads) == 2  # once a study: the files may have changed in between
