"""The CoNLL reader against invented sentences, and every mistake it names."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from partitions.corpora.conll import Conll, iob2
from partitions.corpus import CorpusError

SECRET = "Xavier"
"""Stands for clinical text in files with a mistake: no message may hold it."""
PAIN = "chest\tB-problem\npain\tI-problem\ntoday\tO\n"


def write(folder: Path, train: str | bytes = PAIN, suffix: str = ".conll", **others: str) -> Path:
    defaults = {"validation": "mild pain B-problem\n", "test": "no pain\tB-problem\n"}
    for split, text in ({"train": train} | defaults | others).items():
        (folder / f"{split}{suffix}").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def sentences(folder: Path, split: str = "train", **settings) -> list[tuple]:
    table = Conll(path=folder, **settings).load().splits[split]
    return [(" ".join(row["tokens"]), " ".join(row["tags"])) for row in table]


def message(folder: Path, **settings) -> str:
    with pytest.raises(CorpusError) as caught:
        Conll(path=folder, **settings).load()
    text = str(caught.value).replace(str(folder), "DIR")
    assert "\n" not in text
    assert SECRET not in text
    return text


def test_reads_tokens_tags_and_documents(tmp_path):
    text = (
        "-DOCSTART- -X- O O\n\n"
        "Rash NN B-NP B-problem\nfaded VB O O\n\n\n"
        "Pain NN B-NP B-problem\nrelief NN I-NP B-treatment\n"
        "-DOCSTART- -X- O O\n"
        "Well JJ O O"
    )
    corpus = Conll(path=write(tmp_path, text)).load()
    assert (corpus.name, corpus.task, corpus.labels) == (tmp_path.name, "ner", ("problem", "treatment"))
    assert list(corpus.splits["train"]) == [
        {
            "id": "train-3",
            "tokens": ["Rash", "faded"],
            "tags": ["B-problem", "O"],
            "group": "",
            "document": "train-1",
        },
        {
            "id": "train-7",
            "tokens": ["Pain", "relief"],
            "tags": ["B-problem", "B-treatment"],
            "group": "",
            "document": "train-1",
        },
        {"id": "train-10", "tokens": ["Well"], "tags": ["O"], "group": "", "document": "train-2"},
    ]
    assert list(corpus.splits["test"]) == [
        {"id": "test-1", "tokens": ["no pain"], "tags": ["B-problem"], "group": "", "document": ""}
    ]
    assert list(corpus.splits["validation"]["tokens"]) == [["mild"]]


@pytest.mark.parametrize("suffix", [".conll", ".tsv", ".txt"])
def test_suffixes_line_ends_and_a_byte_order_mark(tmp_path, suffix):
    text = b"\xef\xbb\xbf" + PAIN.replace("\n", "\r\n").encode() + b" \t\r\nwell\tO"
    expected = [("chest pain today", "B-problem I-problem O"), ("well", "O")]
    assert sentences(write(tmp_path, text, suffix)) == expected


def test_other_schemes_are_converted_when_asked(tmp_path):
    iob1 = "a I-x\nb I-x\nc B-x\nd I-y\ne O\nf I-x\n\ng I-x\n"
    assert sentences(write(tmp_path, iob1), scheme="iob1", labels=["x", "y", "problem"]) == [
        ("a b c d e f", "B-x I-x B-x B-y O B-x"),
        ("g", "B-x"),
    ]
    iobes = "a B-x\nb I-x\nc E-x\nd S-x\ne O\nf B-y-z\ng E-y-z\n"
    write(tmp_path, iobes, validation="a S-x", test="b S-x")
    assert sentences(tmp_path, scheme="iobes") == [("a b c d e f g", "B-x I-x I-x B-x O B-y-z I-y-z")]


def test_describes_itself_without_files_where_the_labels_are_set(tmp_path):
    assert Conll(path=tmp_path / "absent", labels=["b", "a"]).describe() == ("ner", ("a", "b"))
    assert Conll(path=write(tmp_path)).describe() == ("ner", ("problem",))
    assert message(tmp_path, labels=["test"]).endswith(
        "train.conll, line 1: the type of tag 1 of 3 (7 characters) is not among corpus.labels: 'test'"
    )
    with pytest.raises(ValidationError):
        Conll(path=tmp_path, scheme="bilou")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (SECRET, "has one column; expected a token and its tag"),
        (f"\t{SECRET}\tO", "the token, in the first column, is blank"),
        (f"tea {SECRET}", "the tag is of 6 characters and not O, B-TYPE, I-TYPE (iob2)"),
        ("tea\tO\t", "the tag is of 0 characters and not O, B-TYPE, I-TYPE (iob2)"),
        ("tea B-", "the tag is of 2 characters and not O, B-TYPE, I-TYPE (iob2)"),
        ("tea\tB- x", "the tag is of 4 characters and not O, B-TYPE, I-TYPE (iob2)"),
        ("tea S-x", "the tag is of 3 characters and not O, B-TYPE, I-TYPE (iob2); set corpus.scheme=iobes"),
        (
            "tea I-problem",
            "the tag is I-TYPE after O; in iob2 an entity begins with B-TYPE (or set corpus.scheme=iob1)",
        ),
        (
            f"tea B-problem\ntea I-131of{SECRET}",
            "the tag is I-TYPE after B-TYPE of another type; in iob2 an entity begins with B-TYPE (or set "
            "corpus.scheme=iob1)",
        ),
        (b"tea\xff O", "not UTF-8 at byte 4"),
    ],
)
def test_mistakes(tmp_path, line, expected):
    write(tmp_path, PAIN.encode() + (line if isinstance(line, bytes) else line.encode()) + b"\nlate O\n")
    number = 4 + line.count(b"\n" if isinstance(line, bytes) else "\n")
    assert message(tmp_path) == f"DIR/train.conll, line {number}: {expected}"


IOBES = "in iobes an entity is one S-TYPE, or runs from B-TYPE over I-TYPE to E-TYPE"


@pytest.mark.parametrize(
    ("tags", "line", "expected"),
    [
        ("B-x O", 2, f"the tag is O after B-TYPE; {IOBES}"),
        (f"B-x I-x S-{SECRET}", 3, f"the tag is S-TYPE after I-TYPE of another type; {IOBES}"),
        ("B-x I-x S-x", 3, f"the tag is S-TYPE after I-TYPE; {IOBES}"),
        ("B-x E-y", 2, f"the tag is E-TYPE after B-TYPE of another type; {IOBES}"),
        ("S-x I-x", 2, f"the tag is I-TYPE after S-TYPE; {IOBES}"),
        ("O E-x", 2, f"the tag is E-TYPE after O; {IOBES}"),
        (f"O B-{SECRET}", 2, "the sentence ends after B-TYPE, within an entity"),
        ("U-x", 1, "the tag is of 3 characters and not O, B-TYPE, I-TYPE, E-TYPE, S-TYPE (iobes)"),
    ],
)
def test_mistakes_in_iobes(tmp_path, tags, line, expected):
    write(tmp_path, "".join(f"{SECRET} {tag}\n" for tag in tags.split()) + "\nwell O\n")
    assert message(tmp_path, scheme="iobes") == f"DIR/train.conll, line {line}: {expected}"


def test_missing_and_empty_files(tmp_path):
    assert message(tmp_path / "absent") == "DIR: no such folder; corpus.path names a folder of CoNLL files"
    write(tmp_path)
    expected = "DIR: not a folder; corpus.path names the folder that holds train.conll"
    assert message(tmp_path / "test.conll").replace("/test.conll", "") == expected
    (tmp_path / "train.txt").touch()
    assert message(tmp_path) == "DIR: both train.conll and train.txt exist; keep one of them"
    (tmp_path / "train.conll").unlink()
    assert message(tmp_path) == "DIR/train.txt: holds no examples"
    (tmp_path / "train.txt").unlink()
    assert message(tmp_path) == "DIR: no train split; looked for train.conll, train.tsv and train.txt"


def test_a_sentence_may_not_be_in_two_splits(tmp_path):
    write(tmp_path, test=PAIN)
    assert "1 text in both train and test" in message(tmp_path)
    assert len(sentences(tmp_path, "test", allow_overlap=True)) == 1


ENTITIES = st.lists(st.tuples(st.sampled_from(["O", "x", "y-z"]), st.integers(1, 3)), min_size=1, max_size=6)


def tagged(entities, scheme: str) -> list[str]:
    """Tags of entities given as type and length; for O, so many tokens outside."""
    tags: list[str] = []
    for kind, length in entities:
        if kind == "O":
            tags += ["O"] * length
        elif scheme == "iob2":
            tags += [f"B-{kind}"] + [f"I-{kind}"] * (length - 1)
        elif scheme == "iob1":
            first = "B" if tags and tags[-1][2:] == kind else "I"
            tags += [f"{first}-{kind}"] + [f"I-{kind}"] * (length - 1)
        elif length == 1:
            tags += [f"S-{kind}"]
        else:
            tags += [f"B-{kind}"] + [f"I-{kind}"] * (length - 2) + [f"E-{kind}"]
    return tags


@given(ENTITIES, st.sampled_from(["iob2", "iob1", "iobes"]))
def test_every_scheme_says_the_same_in_iob2(entities, scheme):
    tags = tagged(entities, scheme)
    assert [iob2(tag, before, scheme) for before, tag in zip(["O", *tags], tags, strict=False)] == tagged(
        entities, "iob2"
    )


TAGS = st.sampled_from(["O", "B-x", "I-x", "E-x", "S-x", "I-y", "B-", "-"]) | st.text(max_size=4)
LINES = st.builds("{}{}{}".format, st.text(max_size=3), st.sampled_from(["\t", " ", ""]), TAGS)


@given(
    st.lists(LINES.map(lambda line: line.encode(errors="replace")) | st.binary(max_size=6), max_size=6),
    st.sampled_from(["iob2", "iob1", "iobes"]),
)
def test_any_file_is_read_or_a_corpus_error(tmp_path_factory, lines, scheme):
    folder = tmp_path_factory.mktemp("fuzz")
    write(folder, b"\n".join([b"a O", *lines]), validation="b O", test="c O")
    mistake, read = "", []
    try:
        read = list(Conll(path=folder, scheme=scheme, labels=["x", "y"]).load().splits["train"]["tags"])
    except CorpusError as error:
        mistake = str(error)
    assert "\n" not in mistake
    for tags in read:
        for tag, before in zip(tags, ["O", *tags], strict=False):
            assert tag[0] != "I" or before[2:] == tag[2:]
