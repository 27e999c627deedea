"""The brat reader against invented notes, and every mistake it names."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from partitions.corpora.brat import Brat, parse_entity
from partitions.corpus import CorpusError

SECRET = "Xavier"
"""Stands for clinical text in files with a mistake: no message may hold it."""
NOTE = "Chest pain eased.\nAspirin 2.5mg given\n\nfor fever.\n"
"""C at 0, pain at 6 to 10, Aspirin at 18 to 25, 2.5mg at 26 to 31, given at 32, for at 39, fever at 43 to 48."""
PAIN = "T1\tProblem 0 10\tChest pain\n"


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    """A corpus of one note a split, the only entity being in train, with other files added or put in their place."""
    plain = {f"{split}/{split}-note.txt": f"Chest pain {split}" for split in ("train", "validation", "test")}
    plain |= {name.replace(".txt", ".ann"): "" for name in plain} | {"train/train-note.ann": PAIN}
    for name, content in (plain | files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def train(folder: Path, annotations: str, text: str | bytes = NOTE, **settings) -> list[tuple]:
    """Tokens and tags of the training split when it holds one note."""
    write(folder, {"train/train-note.txt": text, "train/train-note.ann": annotations})
    split = Brat(path=folder, **settings).load().splits["train"]
    return [(" ".join(row["tokens"]), " ".join(row["tags"])) for row in split]


def message(folder: Path, **settings) -> str:
    with pytest.raises(CorpusError) as caught:
        Brat(path=folder, **settings).load()
    text = str(caught.value).replace(str(folder), "DIR")
    assert "\n" not in text
    assert SECRET not in text
    return text


def test_reads_tokens_tags_groups_and_documents(tmp_path):
    write(
        tmp_path,
        {
            "train/ward a/n1.txt": NOTE,
            "train/ward a/n1.ann": (
                "T1\tProblem 0 10\tChest pain\nT2\tDrug 18 25\tAspirin\nR1\tTreats Arg1:T2 Arg2:T1\t\n"
                "#1\tAnnotatorNotes T1\tsure\nE1\tDrug:T2\n\nA1\tNegated T1\n*\tEquiv T1 T2\nT3\tProblem 43 48\tfever"
            ),
            "train/ward a/deep/n2.txt": "Cough",
            "train/ward a/deep/n2.ann": "T9\tProblem 0 5\tCough\n",
        },
    )
    corpus = Brat(path=tmp_path).load()
    assert (corpus.name, corpus.task, corpus.labels) == (tmp_path.name, "ner", ("Drug", "Problem"))
    assert list(corpus.splits["train"]) == [
        {
            "id": "train-note-1",
            "tokens": ["Chest", "pain", "train"],
            "tags": ["B-Problem", "I-Problem", "O"],
            "group": "",
            "document": "train-note",
        },
        {
            "id": "ward a/deep/n2-1",
            "tokens": ["Cough"],
            "tags": ["B-Problem"],
            "group": "ward a/deep",
            "document": "ward a/deep/n2",
        },
        {
            "id": "ward a/n1-1",
            "tokens": ["Chest", "pain", "eased", "."],
            "tags": ["B-Problem", "I-Problem", "O", "O"],
            "group": "ward a",
            "document": "ward a/n1",
        },
        {
            "id": "ward a/n1-2",
            "tokens": ["Aspirin", "2", ".", "5mg", "given"],
            "tags": ["B-Drug", "O", "O", "O", "O"],
            "group": "ward a",
            "document": "ward a/n1",
        },
        {
            "id": "ward a/n1-4",
            "tokens": ["for", "fever", "."],
            "tags": ["O", "B-Problem", "O"],
            "group": "ward a",
            "document": "ward a/n1",
        },
    ]
    assert list(corpus.splits["test"]["document"]) == ["test-note"]


def test_tokens_are_cut_where_an_entity_begins_or_ends(tmp_path):
    # 2.5 is 26 to 29, mg is 29 to 31; "asp" is within "Aspirin"
    rows = train(tmp_path, "T1\tDose 26 29\t2.5\nT2\tUnit 29 31\tmg\nT3\tStem 19 22\tspi\n")
    assert rows[1] == ("A spi rin 2 . 5 mg given", "O B-Stem O B-Dose I-Dose I-Dose B-Unit O")


def test_an_entity_over_a_line_end_joins_its_lines(tmp_path):
    joined = [
        ("Chest pain eased .", "O O O O"),
        ("Aspirin 2 . 5mg given for fever .", "O O O O B-When I-When I-When O"),
    ]
    assert train(tmp_path, "T1\tWhen 32 48\tgiven  for fever\n") == joined
    assert train(tmp_path, "T1\tWhen 32 37;39 48\tgiven for fever\n") == joined  # as brat writes it
    assert Brat(path=tmp_path).load().splits["train"]["id"][1] == "train-note-2"


def test_an_entity_in_parts_is_read_with_its_gaps_and_counted(tmp_path):
    with pytest.warns(
        UserWarning, match=r": entities in several parts, read with the gaps between them: 1, at .*, line 1$"
    ):
        rows = train(tmp_path, "T1\tProblem 0 5;11 16\tChest eased\n")
    assert rows[0] == ("Chest pain eased .", "B-Problem I-Problem I-Problem O")


def test_the_longest_of_overlapping_entities_stays_and_the_others_are_counted(tmp_path):
    annotations = [
        "T1\tInner 6 10\tpain",
        "T2\tOuter 0 10\tChest pain",
        "T3\tAgain 0 10\tChest pain",
        "T4\tEased 11 16\teased",
        "T5\tEased 11 16\teased",
    ]
    expected = (
        r"^brat corpus .*: entities left out as they repeat or overlap a longer one: 3, at .*, line 1 and elsewhere$"
    )
    with pytest.warns(UserWarning, match=expected):
        rows = train(tmp_path, "\n".join(annotations))
    assert rows[0] == ("Chest pain eased .", "B-Outer I-Outer B-Eased O")


def test_only_the_types_asked_for_are_read(tmp_path):
    rows = train(tmp_path, PAIN + "T2\tOuter 0 16\tChest pain eased\n", types=["Problem"])
    assert rows[0] == ("Chest pain eased .", "B-Problem I-Problem O O")
    assert Brat(path=tmp_path / "absent", types=["b", "a"]).describe() == ("ner", ("a", "b"))
    assert Brat(path=tmp_path, types=["Problem"]).describe() == ("ner", ("Problem",))
    outer = "T2\tOuter 0 16\tChest pain train\n"
    write(tmp_path, {"train/train-note.ann": PAIN + outer, "test/test-note.ann": PAIN})
    assert message(tmp_path).endswith("(7 characters) is not among the train split's: 'Outer'")
    with pytest.raises(ValidationError, match="at least 1"):
        Brat(path=tmp_path, types=[])


def test_positions_count_characters_carriage_returns_but_no_byte_order_mark(tmp_path):
    text = b"\xef\xbb\xbf" + "Fièvre\r\nhaute\r\n".encode()
    assert train(tmp_path, "T1\tProblem 0 6\tFièvre\r\nT2\tGrade 8 13\thaute", text) == [
        ("Fièvre", "B-Problem"),
        ("haute", "B-Grade"),
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"T1 Problem 0 5 {SECRET}", "not an entity; expected T1<TAB>TYPE START END<TAB>TEXT"),
        (f"T1\tProblem 0\t{SECRET}", "not an entity; expected T1<TAB>TYPE START END<TAB>TEXT"),
        (f"T1\tProblem 0 -5\t{SECRET}", "not an entity; expected T1<TAB>TYPE START END<TAB>TEXT"),
        (f"{SECRET}", "not an entity; expected T1<TAB>TYPE START END<TAB>TEXT"),
        (f"T1\tProblem 0 5\t{SECRET}", "its text is not that of the characters 0 to 5 of DIR/train/train-note.txt"),
        (
            f"T1\tProblem 0 5;6 10\tChest {SECRET}",
            "its text is not that of the characters 0 to 5, 6 to 10 of DIR/train/train-note.txt",
        ),
        ("T1\tProblem 45 60\tfever", "45 to 60 is no span of a note of 50 characters"),
        ("T1\tProblem 5 5\t", "5 to 5 is no span of a note of 50 characters"),
        ("T1\tProblem 5 6\t", "an entity of mere whitespace"),
    ],
)
def test_mistakes_in_annotations(tmp_path, line, expected):
    write(tmp_path, {"train/train-note.txt": NOTE, "train/train-note.ann": f"{PAIN}\n{line}\n"})
    assert message(tmp_path) == f"DIR/train/train-note.ann, line 3: {expected}"


def test_missing_folders_and_files(tmp_path):
    absent = "no such folder; corpus.path names the folder that holds train, validation, test"
    assert message(tmp_path / "absent") == f"DIR: {absent}"
    (tmp_path / "train").mkdir()
    assert message(tmp_path) == f"DIR/validation: {absent}"
    write(tmp_path, {"test/a/alone.txt": SECRET})
    assert message(tmp_path) == "DIR/test/a/alone.txt: has no annotations; expected DIR/test/a/alone.ann"
    (tmp_path / "test" / "a" / "alone.txt").rename(tmp_path / "test" / "a" / "alone.ann")
    assert message(tmp_path) == "DIR/test/a/alone.ann: has no text; expected DIR/test/a/alone.txt"


def test_empty_splits_and_bytes_that_are_no_text(tmp_path):
    write(tmp_path, {"train/train-note.txt": "\n", "train/train-note.ann": ""})
    assert message(tmp_path) == "DIR/train: holds no examples"
    write(tmp_path, {"train/train-note.ann": ""})
    assert message(tmp_path) == "DIR/train: none of its 1 sentences holds an entity; expected B- tags"
    write(tmp_path, {"test/test-note.txt": b"Chest pain\n\xff"})
    assert message(tmp_path) == "DIR/test/test-note.txt, line 2: not UTF-8 at byte 1"
    write(tmp_path, {"validation/validation-note.ann": PAIN.encode() + b"\nT\xe9"})
    assert message(tmp_path) == "DIR/validation/validation-note.ann, line 3: not UTF-8 at byte 2"


def test_a_note_may_not_be_in_two_splits(tmp_path):
    write(tmp_path, {"test/train-note.txt": "Chest pain other", "test/train-note.ann": PAIN})
    assert "1 document in both train and test" in message(tmp_path)
    assert len(Brat(path=tmp_path, allow_overlap=True).load().splits["test"]) == 2


@given(st.text() | st.builds("T1\tType {} {}\t{}".format, st.integers(-2, 9), st.integers(-2, 9), st.text(max_size=5)))
def test_any_line_is_an_entity_or_a_corpus_error(line):
    mistake, kind, parts = "", "", []
    try:
        kind, parts, _ = parse_entity(line)
    except CorpusError as error:
        mistake = str(error)
    assert "\n" not in mistake
    assert bool(mistake) != bool(kind and parts)


LETTERS = st.text("ab. \n", min_size=1, max_size=20)


@given(LETTERS, st.lists(st.tuples(st.integers(0, 19), st.integers(1, 20)), max_size=5))
@pytest.mark.filterwarnings("ignore:brat corpus")
def test_entities_come_back_from_their_tokens(tmp_path_factory, text, spans):
    """The longest entity is always kept, with just its characters; and no character is lost or doubled."""
    text = "a" + text
    spans = [(start, end) for start, end in spans if start < end <= len(text) and text[start:end].strip()]
    lines = [f"T1\tX {start} {end}\t{text[start:end]}".replace("\n", " ") for start, end in spans]
    folder = write(
        tmp_path_factory.mktemp("fuzz"),
        {"train/train-note.txt": text, "train/train-note.ann": "\n".join(lines)},
    )
    rows = list(Brat(path=folder, types=["X", "Problem"], allow_overlap=True).load().splits["train"])
    assert "".join(token for row in rows for token in row["tokens"]) == "".join(text.split())
    entities = []
    for row in rows:
        for token, tag in zip(row["tokens"], row["tags"], strict=True):
            if tag == "B-X":
                entities.append(token)
            elif tag == "I-X":
                entities[-1] += token
    if spans:
        start, end = max(spans, key=lambda span: span[1] - span[0])
        assert "".join(text[start:end].split()) in entities
