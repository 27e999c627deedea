"""The table reader: CSV, TSV and Parquet of whatever columns, each mistake with file and line, the held-out split."""

import gzip
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from pydantic import ValidationError

from partitions.corpora.table import TableFolder
from partitions.corpus import CorpusError

SECRET = "Xavier"
"""Stands for clinical text in files with a mistake: no message may hold it."""
NOTES = {"columns": {"text": "note", "label": "outcome"}}


def write(folder: Path, suffix: str = ".csv", **splits: str) -> Path:
    """Text files of the splits; validation and test are of one row in the columns of `NOTES` where not given."""
    default = {split: f"note,outcome\n{split} day,well\n" for split in ("validation", "test")}
    for split, text in (default | splits).items():
        data = text.encode()
        (folder / f"{split}{suffix}").write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
    return folder


def message(folder: Path, **settings) -> str:
    with pytest.raises(CorpusError) as caught:
        TableFolder(path=folder, **settings).load()
    text = str(caught.value).replace(str(folder), "DIR")
    assert "\n" not in text
    assert SECRET not in text
    return text


def test_reads_csv_with_columns_of_any_name(tmp_path):
    train = (
        '\ufeffrow,note,outcome,ward,patient\r\n7,"Fever, ""high"".\r\nCough.",ill,ICU,12\r\n\r\n,No pain.,well,,13\r\n'
    )
    columns = {"text": "note", "label": "outcome", "id": "row", "group": "ward", "document": "patient"}
    header = "patient,row,note,outcome,ward\n"
    write(tmp_path, train=train, validation=f"{header}1,1,Rash.,ill,A\n", test=f"{header}2,1,Itch.,well,B\n")
    corpus = TableFolder(path=tmp_path, columns=columns).load()
    assert (corpus.name, corpus.task, corpus.labels) == (tmp_path.name, "classification", ("ill", "well"))
    assert corpus.splits["train"].to_list() == [
        {"id": "7", "text": 'Fever, "high".\r\nCough.', "label": "ill", "group": "ICU", "document": "12"},
        {"id": "train-5", "text": "No pain.", "label": "well", "group": "", "document": "13"},
    ]
    assert corpus.splits["test"].to_list() == [
        {"id": "1", "text": "Itch.", "label": "well", "group": "B", "document": "2"}
    ]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".tsv.gz"])
def test_columns_of_the_keys_own_names_need_no_mapping(tmp_path, suffix):
    rows = {split: f"text,label\n{split} note,ill\n" for split in ("train", "validation", "test")}
    if suffix.startswith(".tsv"):
        rows = {split: text.replace(",", "\t") for split, text in rows.items()}
    corpus = TableFolder(path=write(tmp_path, suffix, **rows)).load()
    assert corpus.splits["test"].to_list() == [
        {"id": "test-2", "text": "test note", "label": "ill", "group": "", "document": ""}
    ]


def test_lists_in_one_cell(tmp_path):
    header = "tokens,tags\n"
    write(
        tmp_path,
        train=f"{header}chest pain today,B-problem I-problem O\n",
        validation=f"{header}no fever,O B-problem\n",
        test=f"{header}aspirin,O\n",
    )
    corpus = TableFolder(path=tmp_path, separator=" ").load()
    assert (corpus.task, corpus.labels) == ("ner", ("problem",))
    assert corpus.splits["train"]["tokens"][0] == ["chest", "pain", "today"]
    assert corpus.splits["train"]["tags"][0] == ["B-problem", "I-problem", "O"]


def test_label_sets_in_one_cell_some_empty(tmp_path):
    header = "note,codes\n"
    write(
        tmp_path,
        train=f"{header}Fever and cough.,R50; R05\nWell.,\n",
        validation=f"{header}Rash.,\n",
        test=f"{header}Cough.,R05\n",
    )
    corpus = TableFolder(path=tmp_path, columns={"text": "note", "labels": "codes"}, separator=";").load()
    assert (corpus.task, corpus.labels) == ("multilabel", ("R05", "R50"))
    assert list(corpus.splits["train"]["labels"]) == [["R50", "R05"], []]
    assert list(corpus.splits["test"]["labels"]) == [["R05"]]


def test_digits_of_a_csv_become_names_where_integers_have_names(tmp_path):
    write(tmp_path, train="note,outcome\na,1\nb,2\nc,ill\n", validation="note,outcome\nd,2\n")
    settings = {**NOTES, "label_names": {1: "ill", 2: "well"}}
    corpus = TableFolder(path=tmp_path, **settings).load()
    assert list(corpus.splits["train"]["label"]) == ["ill", "well", "ill"]
    assert corpus.labels == ("ill", "well")
    assert TableFolder(path=tmp_path, **NOTES, allow_overlap=True, labels=["1", "2", "ill", "well"]).load()
    digits = TableFolder(path=tmp_path, **NOTES, label_names=["2", "1", "ill", "well"]).load()
    assert list(digits.splits["train"]["label"]) == ["1", "2", "ill"]  # a name is itself, even if it is a number
    write(tmp_path, train="note,outcome\na,1\nb,3\n")
    expected = "DIR/train.csv, line 3: its label (1 characters) is not among corpus.labels: 'ill', 'well'"
    assert message(tmp_path, **settings) == expected


def test_cells_longer_than_the_csv_modules_own_limit(tmp_path):
    note = "pain " * 40_000
    write(tmp_path, train=f"note,outcome\n{note},ill\ncough,well\n")
    assert TableFolder(path=tmp_path, **NOTES).load().splits["train"]["text"][0] == note


def parquet(folder: Path, **splits: pa.Table) -> Path:
    for split, table in splits.items():
        pq.write_table(table, folder / f"{split}.parquet")
    return folder


def test_parquet_of_plain_arrow_lists(tmp_path):
    def table(word: str) -> pa.Table:
        extra = {"label": [0], "age": [71.5]}  # columns of no use, or of another task
        return pa.table({"words": [[word, "pain"]], "codes": [[0, 1]], "note": [5], "ward": [None], **extra})

    parquet(tmp_path, train=table("chest"), validation=table("back"), test=table("leg"))
    columns = {"tokens": "words", "tags": "codes", "id": "note", "document": "note", "group": "ward"}
    settings = {"columns": columns, "label_names": ["O", "B-problem"]}
    with pytest.raises(CorpusError, match="1 document in both train and validation"):
        TableFolder(path=tmp_path, **settings).load()
    corpus = TableFolder(path=tmp_path, **settings, allow_overlap=True).load()
    assert corpus.labels == ("problem",)
    assert corpus.splits["train"].to_list() == [
        {"id": "5", "tokens": ["chest", "pain"], "tags": ["O", "B-problem"], "group": "", "document": "5"}
    ]


def test_parquet_that_stores_its_class_names(tmp_path):
    names = ClassLabel(names=["O", "B-Disease", "I-Disease"])
    features = Features(id=Value("string"), tokens=List(Value("string")), ner_tags=List(names))
    for split, word in {"train": "colon", "validation": "lung", "test": "skin"}.items():
        rows = {"id": [split], "tokens": [[word, "cancer"]], "ner_tags": [[1, 2] if split != "train" else [0, 0]]}
        Dataset.from_dict(rows, features=features).to_parquet(tmp_path / f"{split}.parquet")
    corpus = TableFolder(path=tmp_path, columns={"tags": "ner_tags"}).load()
    assert corpus.labels == ("Disease",)
    assert corpus.splits["train"]["tags"][0] == ["O", "O"]
    assert corpus.splits["test"]["tags"][0] == ["B-Disease", "I-Disease"]


def test_parquet_from_pandas_with_categories(tmp_path):
    for split in ("train", "validation", "test"):
        frame = pd.DataFrame({"text": [f"{split} a", f"{split} b"], "label": pd.Categorical(["ill", "well"])})
        frame.to_parquet(tmp_path / f"{split}.parquet")
    assert list(TableFolder(path=tmp_path).load().splits["test"]["label"]) == ["ill", "well"]


def test_files_of_other_names(tmp_path):
    write(tmp_path, train="note,outcome\na,well\n", medical_train="note,outcome\nb,well\n")
    settings = {**NOTES, "splits": {"train": "medical_train.csv"}}
    assert list(TableFolder(path=tmp_path, **settings).load().splits["train"]["text"]) == ["b"]
    assert message(tmp_path, splits={"test": "no.csv"}) == "DIR/no.csv: no such file (corpus.splits.test)"
    (tmp_path / "test.txt").touch()
    text = message(tmp_path, splits={"test": "test.txt"})
    assert text == "DIR/test.txt: expected a file that ends in .csv, .csv.gz, .tsv, .tsv.gz, .parquet"


def held_out(folder: Path, **settings) -> tuple[list[str], list[str]]:
    splits = TableFolder(path=folder, columns={"text": "note", "document": "patient"}, **settings).load().splits
    return list(splits["train"]["id"]), list(splits["validation"]["id"])


def test_a_validation_split_held_out_by_document(tmp_path):
    rows = [f"note {row},{'ill' if row % 2 else 'well'},p{row // 2}" for row in range(20)]  # ten patients of two notes
    write(tmp_path, train="\n".join(["note,label,patient", *rows]), test="note,label,patient\nlast,ill,p99\n")
    (tmp_path / "validation.csv").unlink()
    train, validation = held_out(tmp_path, holdout=0.3)
    assert len(validation) == 6  # three patients
    assert sorted(train + validation) == sorted(f"train-{line}" for line in range(2, 22))
    patients = {(int(name.removeprefix("train-")) - 2) // 2 for name in validation}
    assert len(patients) == 3
    assert held_out(tmp_path, holdout=0.3) == (train, validation)
    assert held_out(tmp_path, holdout=0.3, seed=1)[1] != validation
    assert len(held_out(tmp_path, holdout=0.01)[1]) == 2  # at least one patient


def test_examples_of_the_same_text_are_held_out_together(tmp_path):
    rows = [f"{'Fever' if row % 2 else 'fever'} {row // 2},ill" for row in range(20)]
    (write(tmp_path, train="\n".join(["note,outcome", *rows])) / "validation.csv").unlink()
    assert len(TableFolder(path=tmp_path, **NOTES, holdout=0.25, labels=["ill", "well"]).load().splits["train"]) == 14
    write(tmp_path, train="note,outcome\nfever,ill\nFever,well\n")
    assert message(tmp_path, **NOTES, holdout=0.1) == (
        "DIR/train.csv: too few documents or texts of each label to hold some out"
    )
    write(tmp_path, train="note,outcome\nfever,ill\nFever,\n")
    assert message(tmp_path, **NOTES, holdout=0.1) == "DIR/train.csv, line 3: label is empty"


def test_describe_needs_no_files_when_the_settings_say_it_all(tmp_path):
    def described(**settings):
        return TableFolder(path=tmp_path / "absent", **settings).describe()

    assert described(columns={"labels": "codes"}, labels=["b", "a"]) == ("multilabel", ("a", "b"))
    names = ["O", "B-x", "I-x", "B-y"]
    assert described(columns={"tags": "t"}, label_names=names) == ("ner", ("x", "y"))
    assert described(columns={"label": "l"}, label_names={7: "ill", 9: "well"}) == ("classification", ("ill", "well"))
    with pytest.raises(CorpusError, match="no such folder"):
        described(columns={"text": "note"}, labels=["a"])  # of two tasks
    write(tmp_path, train="note,outcome\na,ill\nb,well\n")
    assert TableFolder(path=tmp_path, **NOTES).describe() == ("classification", ("ill", "well"))


def test_settings_round_trip_and_contradictions_are_refused(tmp_path):
    reader = TableFolder(path=tmp_path, **NOTES, label_names={1: "ill"}, splits={"test": "t.csv"}, holdout=0.1)
    same = TableFolder.model_validate(reader.model_dump(mode="json"))
    assert same == reader
    assert hash(same) == hash(reader)
    for settings, mistake in [
        ({"columns": {"tags": "a", "label": "b"}}, "expected columns for one task: tokens and tags"),
        ({"columns": {"note": "a"}}, "Extra inputs"),
        ({"splits": {"dev": "dev.csv"}}, "'train', 'validation' or 'test'"),
        ({"splits": {"validation": "dev.csv"}, "holdout": 0.1}, "give holdout or splits.validation, not both"),
        ({"holdout": 1.0}, "less than 1"),
        ({"label_names": []}, "at least 1"),
    ]:
        with pytest.raises(ValidationError, match=mistake):
            TableFolder(path=tmp_path, **settings)


def test_missing_folder_and_files(tmp_path):
    absent = tmp_path / "absent"
    hint = "; corpus.splits gives other file names, and corpus.holdout=0.1 makes a validation split out of train"
    expected = f"DIR: no such folder; corpus.path names a folder of CSV, TSV or Parquet files{hint}"
    assert message(absent, obtain="ask\n us") == f"{expected}; to obtain the files: ask us"
    (write(tmp_path, train="text,label\na,ill\n") / "validation.csv").unlink()
    looked = "validation.csv, validation.csv.gz, validation.tsv, validation.tsv.gz and validation.parquet"
    assert message(tmp_path) == f"DIR: no validation split; looked for {looked}{hint}"
    (tmp_path / "train.parquet").touch()
    assert message(tmp_path) == "DIR: both train.csv and train.parquet exist; keep one of them"


NEEDED = "needs columns for tokens and tags (ner) or text and label (classification) or text and labels (multilabel)"


@pytest.mark.parametrize(
    ("train", "settings", "expected"),
    [
        ("", {}, ": is empty; expected a header that names the columns"),
        ("note,outcome\n", NOTES, ": holds no examples"),
        (f"note,outcome\na,ill\n{SECRET},ill,3\n", NOTES, ", line 3: has 3 cells; the header has 2"),
        (f'note,outcome\na,ill\n"{SECRET},ill\n', NOTES, ", line 3: not CSV (unexpected end of data)"),
        (f'note,outcome\n"{SECRET}" x,ill\n', NOTES, """, line 2: not CSV (',' expected after '"')"""),
        (f'"{SECRET}', NOTES, ", line 1: not CSV (unexpected end of data)"),
        (f"note,{SECRET},{SECRET}\n", {}, ": two of the 3 columns of its header have the same name"),
        (
            f"{SECRET},{SECRET} has pain,x\n",
            {"columns": {"text": "note"}},
            ": has no column 'note' (corpus.columns.text); its first line, the header, has 3 columns",
        ),
        ("a,b\n1,2\n", {}, f": {NEEDED}; name them in corpus.columns; its first line, the header, has 2 columns"),
        (
            "a,b\n1,2\n",
            {"columns": {"label": "a"}},
            ": needs columns for text and label (classification); name them in corpus.columns; its first line, the "
            "header, has 2 columns",
        ),
        (
            "text,label,labels\n1,2,3\n",
            {},
            ": has columns for several tasks; name the one to learn in corpus.columns.label or corpus.columns.labels",
        ),
        (f"note,outcome\n{SECRET},\n", NOTES, ", line 2: label is empty"),
        ("note,outcome\n,ill\n", NOTES, ", line 2: text is empty"),
        (
            f"text,labels\n{SECRET},a|b\n",
            {},
            ", line 2: labels is a string; set corpus.separator to what lies between its items",
        ),
        (f"text,labels\n{SECRET},a||b\n", {"separator": "|"}, ", line 2: label 2 of 3 is blank"),
        (
            f"tokens,tags\n{SECRET} x,O\n",
            {"separator": " "},
            ", line 2: has 2 tokens but 1 tags; expected one tag a token",
        ),
        ("id,text,label\n1,a,b\n1,c,d\n", {}, ", line 3: id '1' is already at DIR/train.csv, line 2"),
    ],
)
def test_mistakes_in_csv(tmp_path, train, settings, expected):
    assert message(write(tmp_path, train=train), **settings) == f"DIR/train.csv{expected}"


def test_the_line_of_a_mistake_is_that_of_the_file(tmp_path):
    """A record is named by its first line, whatever blank lines and cells of several lines come before or in it."""
    before = f'\nnote,outcome\r\n\n"{SECRET}\n\nand so on",ill\n\n'  # lines 1 to 7
    write(tmp_path, train=f'{before}"more\nof it",\n')
    assert message(tmp_path, **NOTES) == "DIR/train.csv, line 8: label is empty"
    write(tmp_path, train=f'{before}"more\nof it",ill,3\n')
    assert message(tmp_path, **NOTES) == "DIR/train.csv, line 8: has 3 cells; the header has 2"
    write(tmp_path, train=f'{before}"more\nof it" x,ill\n')
    assert message(tmp_path, **NOTES) == """DIR/train.csv, line 8: not CSV (',' expected after '"')"""


def test_a_rare_class_is_not_held_out(tmp_path):
    rows = [f"note {row},{'ill' if row else 'rare'}" for row in range(10)]
    (
        write(tmp_path, train="\n".join(["note,outcome", *rows]), test="note,outcome\na,rare\n") / "validation.csv"
    ).unlink()
    for seed in range(10):
        splits = TableFolder(path=tmp_path, **NOTES, holdout=0.5, seed=seed).load().splits
        assert "rare" in splits["train"]["label"]
        assert len(splits["validation"]) == 5


def test_documents_that_share_a_text_are_held_out_together(tmp_path):
    rows = [f"{'Fever' if row % 2 else 'fever'} {row // 2},ill,p{row}" for row in range(20)]  # two patients a text
    write(tmp_path, test="note,label,patient\nlast,ill,p99\n", train="\n".join(["note,label,patient", *rows]))
    (tmp_path / "validation.csv").unlink()
    assert len(held_out(tmp_path, holdout=0.25)[1]) == 6  # three pairs; loading finds no text in two splits


def test_csv_that_is_not_utf_8(tmp_path):
    (write(tmp_path) / "train.csv").write_bytes(f"note,outcome\n{SECRET} caf\xe9,ill\n".encode("latin-1"))
    assert message(tmp_path, **NOTES) == "DIR/train.csv, line 2: not UTF-8 at byte 11"


@pytest.mark.parametrize(
    ("columns", "settings", "expected"),
    [
        ({"text": [SECRET], "label": [1]}, {}, "label: holds integers; set corpus.label_names to what they stand for"),
        (
            {"text": [SECRET], "label": [-1]},
            {"label_names": ["a", "b"]},
            "label: -1 is none of the 2 integers that have",
        ),
        ({"text": [SECRET], "labels": [[0, 2]]}, {"label_names": ["a", "b"]}, "labels: 2 is none of the 2 integers"),
        ({"tokens": [[SECRET]], "tags": [[0]]}, {}, "tags: holds integers; set corpus.label_names"),
        (
            {"tokens": [[SECRET]], "tags": [[0]]},
            {"label_names": ["Disease"]},
            "tag 1 of 1 has 7 characters; expected O",
        ),
        ({"text": [SECRET], "label": [1.0]}, {}, "label is a number; expected a string"),
        ({"text": [SECRET], "label": [True]}, {}, "label is a boolean; expected a string"),
        ({"text": [SECRET], "label": [None]}, {}, "label is null; expected a string"),
        ({"text": [SECRET.encode()], "label": ["a"]}, {}, "text is of the type bytes; expected a string"),
        ({"text": [SECRET], "labels": [None]}, {}, "labels is null; expected a list of strings"),
    ],
)
def test_mistakes_in_parquet(tmp_path, columns, settings, expected):
    table = pa.table(columns)
    parquet(tmp_path, train=table, validation=table, test=table)
    assert message(tmp_path, **settings).startswith(f"DIR/train.parquet, row 1: {expected}")


def test_columns_of_parquet_are_named(tmp_path):
    """They are names in any case; the first line of CSV is text where there is no header."""
    table = pa.table({"a_b": ["x"], f"{SECRET} has pain": ["y"]})
    parquet(tmp_path, train=table, validation=table, test=table)
    assert message(tmp_path).endswith("name them in corpus.columns; its columns: 'a_b', 1 more")


def test_damaged_parquet(tmp_path):
    table = pa.table({"text": ["a" * 500, "b" * 500], "label": ["x", "y"]})
    parquet(tmp_path, train=table, validation=table, test=table)
    data = (tmp_path / "train.parquet").read_bytes()
    (tmp_path / "train.parquet").write_bytes(data[:4] + b"\xff" * 60 + data[64:])
    assert message(tmp_path) == "DIR/train.parquet: the Parquet data are damaged"
    (tmp_path / "train.parquet").write_bytes(f"text,label\n{SECRET},a\n".encode())
    assert message(tmp_path) == "DIR/train.parquet: not a Parquet file that can be read"
