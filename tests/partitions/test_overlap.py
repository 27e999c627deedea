"""No text and no document in two splits: what counts as the same, what the message says, how to override it."""

import json
from pathlib import Path

import pytest

from partitions.assembly import assemble
from partitions.corpora.jsonl import Jsonl
from partitions.corpus import SPLITS, Corpus, CorpusError
from partitions.overlap import check_disjoint

OVERRIDE = "; set corpus.allow_overlap=true to accept it"


def corpus(train: list[dict], validation: list[dict], test: list[dict]) -> Corpus:
    """A corpus of the name "notes"; ids are a, b, c ... in order over the splits, and the labels are filled in."""
    ids, splits = iter("abcdefghijkl"), {}
    for split, rows in zip(SPLITS, (train, validation, test), strict=True):
        filled = [
            {"id": next(ids), **row, **({"tags": ["B-x"] * len(row["tokens"])} if "tokens" in row else {"label": "x"})}
            for row in rows
        ]
        splits[split] = (split, [(f"{split}, line {line}", row) for line, row in enumerate(filled, 1)])
    return assemble("notes", splits)


def texts(*split: str) -> list[dict]:
    return [{"text": text} for text in split]


def note(document: str, *lines: str) -> list[dict]:
    return [{"tokens": line.split(), "document": document} for line in lines]


def message(found: Corpus) -> str:
    with pytest.raises(CorpusError) as caught:
        check_disjoint(found)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_disjoint_splits_pass():
    check_disjoint(corpus(texts("fever", "fever"), texts("cough"), texts("rash")))


def test_a_text_in_two_splits_is_named_by_its_examples_and_not_quoted():
    found = corpus(texts("fever", "cough"), texts("rash"), texts("itch", "cough"))
    expected = "corpus notes: 1 text in both train and test, such as that of the examples 'b' (train) and 'e' (test)"
    assert message(found) == expected + OVERRIDE


def test_texts_are_counted_once_and_the_first_example_stands_for_them():
    found = corpus(texts("rash"), texts("fever", "cough", "cough"), texts("cough", "fever", "pain"))
    expected = "2 texts in both validation and test, such as that of the examples 'b' (validation) and 'f' (test)"
    assert message(found) == f"corpus notes: {expected}{OVERRIDE}"


def test_case_makes_no_other_text_but_white_space_does():
    assert "1 text in both train and test" in message(corpus(texts("Fever"), texts("rash"), texts("fEVER")))
    check_disjoint(corpus(texts("fever"), texts("rash"), texts("fever.")))


def test_tokens_are_a_text():
    def tokens(*words: str) -> list[dict]:
        return [{"tokens": list(words)}]

    found = corpus(tokens("No", "fever"), tokens("no", "fever"), tokens("no", "cough"))
    assert "1 text in both train and validation" in message(found)
    check_disjoint(corpus(tokens("no", "fever"), tokens("no", "pain"), tokens("no", "cough")))


def test_a_document_in_two_splits():
    found = corpus(note("p1", "fever") + note("p2", "cough"), note("p2", "rash"), note("p3", "pain"))
    expected = "1 document in both train and validation, such as that of the examples 'b' (train) and 'c' (validation)"
    assert message(found) == f"corpus notes: {expected}{OVERRIDE}"


def test_a_line_may_recur_in_another_document():
    check_disjoint(
        corpus(note("p1", "History:", "fever"), note("p2", "History:", "cough"), note("p3", "History:", "rash"))
    )


def test_documents_that_differ_in_one_line_are_different():
    same = ["History:", "fever", "No pain."]
    check_disjoint(corpus(note("p1", *same), note("p2", "History:", "fever"), note("p3", "History:", "fever", "Pain.")))
    check_disjoint(corpus(note("p1", *same), note("p2", "fever", "History:", "No pain."), note("p3", "rash")))


def test_the_same_document_under_another_name():
    lines = ["History:", "fever"]
    found = corpus(note("p1", "rash") + note("p2", *lines), note("p3", "pain"), note("p4", *lines))
    expected = "1 text in both train and test, such as that of the examples 'b' (train) and 'e' (test)"
    assert message(found) == f"corpus notes: {expected}{OVERRIDE}"


def test_lines_of_a_document_may_stand_apart():
    train = note("p1", "History:") + note("p2", "rash") + note("p1", "fever")
    found = corpus(train, note("p3", "pain"), note("p4", "History:", "fever"))
    assert "examples 'a' (train) and 'e' (test)" in message(found)


def test_a_long_id_is_not_quoted():
    long = "Xavier " * 20
    found = corpus([{"text": "fever", "id": long}], texts("rash"), texts("fever"))
    assert "examples of 140 characters (train) and 'c' (test)" in message(found)


def test_a_note_in_the_records_of_two_patients():
    def record(patient: str, *notes: str) -> list[dict]:
        return [{"text": text, "document": patient} for text in notes]

    found = corpus(record("p1", "fever", "cough"), record("p2", "rash"), record("p9", "fever", "pain"))
    assert "1 text in both train and test, such as that of the examples 'a' (train) and 'd' (test)" in message(found)
    unnamed = corpus(record("p1", "fever", "cough"), record("p2", "rash"), texts("cough"))
    assert "1 text in both train and test" in message(unnamed)


def write(folder: Path) -> Path:
    for split in SPLITS:
        text = "fever" if split != "validation" else "cough"
        (folder / f"{split}.jsonl").write_text(json.dumps({"text": text, "label": "ill"}) + "\n")
    return folder


def test_every_reader_checks_unless_told_otherwise(tmp_path):
    with pytest.raises(CorpusError, match=r"'train-1' \(train\) and 'test-1' \(test\); set corpus\.allow_overlap=true"):
        Jsonl(path=write(tmp_path)).load()
    assert list(Jsonl(path=tmp_path, allow_overlap=True).load().splits["test"]["text"]) == ["fever"]
