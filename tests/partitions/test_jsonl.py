"""The JSONL reader: what it accepts and every mistake it names."""

import gzip
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from partitions.corpora.jsonl import Jsonl
from partitions.corpus import SPLITS, CorpusError

NER = {"id": "n1", "tokens": ["chest", "pain", "today"], "tags": ["B-problem", "I-problem", "O"], "group": "site A"}
TEXT = {"id": "t1", "text": "Chest pain since Monday.", "label": "Cardiology", "group": "site A"}
LABELS = {"id": "m1", "text": "Fever and cough.", "labels": ["R50", "R05"], "group": "site A", "document": "p7"}
SECRET = "Xavier"
"""Stands for clinical text in files with a mistake: no message may hold it."""


def write(folder: Path, train, validation=None, test=None) -> Path:
    """A corpus folder from rows: mappings, or lines given as text or bytes; one NER example where none are given."""
    for split, rows in {"train": train, "validation": validation, "test": test}.items():
        rows = rows or elsewhere(split, NER)
        lines = [json.dumps(row) if isinstance(row, dict) else row for row in rows]
        data = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines)
        (folder / f"{split}.jsonl").write_bytes(data)
    return folder


def elsewhere(split: str, *rows: dict) -> list[dict]:
    """The rows with another text, so that another split may hold them."""
    return [
        {**row, "tokens": [split, *row["tokens"][1:]]}
        if "tokens" in row
        else {**row, "text": f"{split}: {row['text']}"}
        for row in rows
    ]


def message(folder: Path, **settings) -> str:
    with pytest.raises(CorpusError) as caught:
        Jsonl(path=folder, **settings).load()
    text = str(caught.value)
    assert "\n" not in text
    assert SECRET not in text
    return text.replace(str(folder), "DIR")


def test_reads_ner(tmp_path):
    corpus = Jsonl(path=write(tmp_path, [NER, {**NER, "id": "n2", "tags": ["O", "O", "B-test"]}])).load()
    assert (corpus.name, corpus.task, corpus.labels) == (tmp_path.name, "ner", ("problem", "test"))
    assert {split: len(table) for split, table in corpus.splits.items()} == {"train": 2, "validation": 1, "test": 1}
    assert corpus.splits["train"].column_names == ["id", "tokens", "tags", "group", "document"]
    assert corpus.splits["train"][0] == {**NER, "document": ""}


def test_reads_classification(tmp_path):
    rows = [TEXT, {**TEXT, "id": "t2", "label": "Urology"}]
    test = elsewhere("test", *rows)
    corpus = Jsonl(path=write(tmp_path, rows, elsewhere("validation", *rows), test), name="mine").load()
    assert (corpus.name, corpus.task, corpus.labels) == ("mine", "classification", ("Cardiology", "Urology"))
    assert corpus.splits["test"].column_names == ["id", "text", "label", "group", "document"]
    assert corpus.splits["test"][1] == {**test[1], "document": ""}


def test_reads_multilabel_rows_some_without_a_label(tmp_path):
    rows = [LABELS, {"id": "m2", "text": "Well today.", "labels": [], "document": 8}]
    test = [{"id": "m3", "text": "Follow-up.", "labels": ["R05"]}]
    corpus = Jsonl(path=write(tmp_path, rows, elsewhere("validation", {"text": "", "labels": []}), test)).load()
    assert (corpus.task, corpus.labels) == ("multilabel", ("R05", "R50"))
    assert corpus.splits["train"].column_names == ["id", "text", "labels", "group", "document"]
    assert corpus.splits["train"].to_list() == [
        LABELS,
        {"id": "m2", "text": "Well today.", "labels": [], "group": "", "document": "8"},
    ]
    assert corpus.splits["validation"]["labels"][0] == []
    assert corpus.splits["test"][0]["labels"] == ["R05"]


def test_optional_keys_other_keys_blank_lines_bom_and_integer_names(tmp_path):
    bare = {"tokens": ["fever"], "tags": ["B-problem"], "comment": "dropped"}
    first = b"\xef\xbb\xbf" + json.dumps(bare).encode()
    folder = write(tmp_path, [first, "", {**bare, "id": None}, {**bare, "id": 7, "group": 2}])
    table = Jsonl(path=folder).load().splits["train"]
    assert list(table["id"]) == ["train-1", "train-3", "7"]
    assert list(table["group"]) == ["", "", "2"]
    assert "comment" not in table.column_names


def test_reads_gzip_and_mixed_forms(tmp_path):
    write(tmp_path, [NER])
    (tmp_path / "train.jsonl").unlink()
    with gzip.open(tmp_path / "train.jsonl.gz", "wt") as stream:
        stream.write(json.dumps(NER) + "\n")
    assert Jsonl(path=tmp_path).load().splits["train"][0] == {**NER, "document": ""}


def test_task_settles_examples_with_the_keys_of_several(tmp_path):
    rows = {split: {**NER, **TEXT, "tokens": [split, "a", "b"], "text": split} for split in SPLITS}
    write(tmp_path, *([row] for row in rows.values()))
    hint = "has the keys of several tasks; set corpus.task to ner or classification"
    assert message(tmp_path) == f"DIR/train.jsonl, line 1: {hint}"
    assert Jsonl(path=tmp_path, task="ner").load().labels == ("problem",)
    assert Jsonl(path=tmp_path, task="classification").load().labels == ("Cardiology",)


def test_describe_needs_no_files_when_the_settings_say_it_all(tmp_path):
    settings = {"task": "ner", "labels": ["treatment", "problem"]}
    assert Jsonl(path=tmp_path / "absent", **settings).describe() == ("ner", ("problem", "treatment"))
    assert Jsonl(path=write(tmp_path, [NER])).describe() == ("ner", ("problem",))
    assert Jsonl(path=tmp_path, **settings).load().labels == ("problem", "treatment")


def test_settings_round_trip_and_refuse_unknown_keys(tmp_path):
    reader = Jsonl(path=tmp_path, task="ner", labels=["problem"])
    assert Jsonl.model_validate(reader.model_dump(mode="json")) == reader
    assert "name" not in Jsonl(path=tmp_path, name="mine").model_dump()
    with pytest.raises(ValidationError, match="extra"):
        Jsonl(path=tmp_path, folder="x")
    with pytest.raises(ValidationError, match="at least 1"):
        Jsonl(path=tmp_path, labels=[])


def test_missing_folder_and_files(tmp_path):
    absent = tmp_path / "absent"
    text = message(absent, obtain="sign the\n agreement")
    assert text == "DIR: no such folder; corpus.path names a folder of JSONL files; to obtain it: sign the agreement"
    write(tmp_path, [NER])
    file = tmp_path / "train.jsonl"
    assert message(file) == "DIR: not a folder; corpus.path names the folder that holds train.jsonl"
    (tmp_path / "test.jsonl").unlink()
    assert message(tmp_path) == "DIR: no test split; looked for test.jsonl and test.jsonl.gz"
    (tmp_path / "train.jsonl.gz").touch()
    assert message(tmp_path) == "DIR: both train.jsonl and train.jsonl.gz exist; keep one of them"


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_empty_file(tmp_path, content):
    write(tmp_path, [NER])
    (tmp_path / "validation.jsonl").write_bytes(content)
    assert message(tmp_path) == "DIR/validation.jsonl: holds no examples"


def test_broken_gzip(tmp_path):
    write(tmp_path, [NER])
    (tmp_path / "train.jsonl").unlink()
    file = tmp_path / "train.jsonl.gz"
    lines = [json.dumps({**NER, "id": f"n{index}", "group": f"site {index * 7919}"}) + "\n" for index in range(2000)]
    whole = gzip.compress("".join(lines).encode())
    file.write_bytes(whole[: len(whole) // 2])
    text = message(tmp_path)
    line = int(text.removeprefix("DIR/train.jsonl.gz, line ").split(":")[0])
    assert text == f"DIR/train.jsonl.gz, line {line}: the gzip data breaks off; the file is truncated"
    assert 1 < line < 2000
    file.write_bytes(json.dumps(NER | {"id": SECRET}).encode())
    assert message(tmp_path) == "DIR/train.jsonl.gz, line 1: not valid gzip data"
    file.write_bytes(whole[:200] + b"\0" * 200 + whole[400:])
    assert message(tmp_path).endswith(": not valid gzip data")


def test_unreadable_file(tmp_path, monkeypatch):
    write(tmp_path, [NER])

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert message(tmp_path) == "DIR/train.jsonl: cannot be read (Permission denied)"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f'{{"text": "{SECRET}'.encode() + b"\xe9", "not UTF-8 at byte 17"),
        (f'{{"text": "{SECRET}" 3', "not JSON at column 19 (Expecting ',' delimiter)"),
        (f'{{"text" "{SECRET}"}}', "not JSON at column 9 (Expecting ':' delimiter)"),
        (f'{{"text": "{SECRET} \\ud83d"}}', "a \\u escape is half a surrogate pair"),
        ('{"id": ' + "1" * 5000 + "}", "not JSON that can be read (a huge number or deep nesting)"),
        ("[" * 100_000, "not JSON that can be read (a huge number or deep nesting)"),
        (f'["{SECRET}"]', "not a JSON object; expected {...}"),
    ],
)
def test_lines_that_are_no_object(tmp_path, line, expected):
    assert message(write(tmp_path, [NER, line])) == f"DIR/train.jsonl, line 2: {expected}"


LONG = f"{SECRET} " * 40


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"tokens": [SECRET]}, "has no key 'tags'; a ner example needs 'tokens' and 'tags'"),
        (TEXT, "is a classification example in a ner corpus; all examples of all splits share one task"),
        ({**NER, "tokens": SECRET}, "tokens is a string; expected a list of strings"),
        ({**NER, "tokens": None}, "tokens is null; expected a list of strings"),
        ({**NER, "tokens": [SECRET, 4, "x"]}, "tokens: item 2 of 3 is an integer; expected strings"),
        ({**NER, "tokens": [SECRET, " ", "x"]}, "token 2 of 3 is blank"),
        ({**NER, "tokens": [], "tags": []}, "tokens is empty; expected at least one token"),
        ({**NER, "tags": {"0": "O"}}, "tags is an object; expected a list of strings"),
        ({**NER, "tags": ["O", 1.5, True]}, "tags: item 2 of 3 is a number; expected strings"),
        ({**NER, "tags": ["O", True, "O"]}, "tags: item 2 of 3 is a boolean; expected strings"),
        ({**NER, "tags": ["O", "O"]}, "has 3 tokens but 2 tags; expected one tag a token"),
        ({**NER, "tags": ["O", SECRET, "O"]}, "tag 2 of 3 has 6 characters; expected O, B-TYPE or I-TYPE (IOB2)"),
        ({**NER, "tags": ["O", "B-", "O"]}, "tag 2 of 3 has 2 characters; expected O, B-TYPE or I-TYPE (IOB2)"),
        ({**NER, "tags": ["B-a", "E-a", "O"]}, "tag 2 of 3 begins with 'E-'; expected O, B-TYPE or I-TYPE (IOB2)"),
        (
            {**NER, "tags": ["O", "I-problem", "O"]},
            "tag 2 of 3 is I-TYPE after O; in IOB2 an entity begins with B-TYPE",
        ),
        (
            {**NER, "tags": ["B-test", f"I-{SECRET}", "O"]},
            "tag 2 of 3 is I-TYPE after B-TYPE of another type; in IOB2 an entity begins with B-TYPE",
        ),
        ({**NER, "id": 1.5}, "id is a number; expected a string or an integer"),
        ({**NER, "group": ["a"]}, "group is a list; expected a string or an integer"),
        (NER, "id 'n1' is already at {FILE}, line 1"),
    ],
)
def test_mistakes_in_ner_examples(tmp_path, row, expected):
    expected = expected.replace("{FILE}", "DIR/train.jsonl")
    assert message(write(tmp_path, [NER, row])) == f"DIR/train.jsonl, line 2: {expected}"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"text": SECRET}, "has no key 'label'; a classification example needs 'text' and 'label'"),
        (NER, "is a ner example in a classification corpus; all examples of all splits share one task"),
        ({**TEXT, "text": 3}, "text is an integer; expected a string"),
        ({**TEXT, "text": " \n"}, "text is empty"),
        ({**TEXT, "label": 0}, "label is an integer; expected a string"),
        ({**TEXT, "label": ""}, "label is empty"),
    ],
)
def test_mistakes_in_classification_examples(tmp_path, row, expected):
    assert message(write(tmp_path, [TEXT, row], [TEXT], [TEXT])) == f"DIR/train.jsonl, line 2: {expected}"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({**LABELS, "labels": SECRET}, "labels is a string; expected a list of strings"),
        ({**LABELS, "labels": None}, "labels is null; expected a list of strings"),
        ({**LABELS, "labels": ["R50", 7]}, "labels: item 2 of 2 is an integer; expected strings"),
        ({**LABELS, "labels": ["R50", ""]}, "label 2 of 2 is blank"),
        ({**LABELS, "labels": [" "]}, "label 1 of 1 is blank"),
        ({**LABELS, "labels": ["R50", "R05", "R50"]}, "label 3 of 3 repeats label 1"),
        ({**LABELS, "labels": [LONG, LONG]}, "label 2 of 2 repeats label 1"),
        ({**LABELS, "text": ""}, "text is empty"),
        ({**LABELS, "document": 1.5}, "document is a number; expected a string or an integer"),
        ({"text": SECRET}, "has no key 'labels'; a multilabel example needs 'text' and 'labels'"),
        (TEXT, "is a classification example in a multilabel corpus; all examples of all splits share one task"),
    ],
)
def test_mistakes_in_multilabel_examples(tmp_path, row, expected):
    assert message(write(tmp_path, [LABELS, row])) == f"DIR/train.jsonl, line 2: {expected}"


NEEDED = "an example needs the keys 'tokens' and 'tags' (ner), 'text' and 'label' (classification), "
NEEDED += "'text' and 'labels' (multilabel); "


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"note": SECRET}, "it has none of these"),
        ({"tokens": [SECRET]}, "of these it has only 'tokens'"),
        ({"label": SECRET}, "of these it has only 'label'"),
        ({"label": SECRET, "tags": ["O"]}, "of these it has only 'label' and 'tags'"),
    ],
)
def test_first_example_without_a_task(tmp_path, row, expected):
    assert message(write(tmp_path, [row])) == f"DIR/train.jsonl, line 1: {NEEDED}{expected}"


def test_splits_of_different_tasks(tmp_path):
    text = message(write(tmp_path, [NER], [TEXT]))
    assert text.startswith("DIR/validation.jsonl, line 1: is a classification example in a ner corpus")


def test_labels_must_be_known(tmp_path):
    unseen = {**NER, "id": "n2", "tags": ["B-test", "O", "O"]}
    write(tmp_path, [NER], None, elsewhere("test", NER, unseen))
    unseen = "line 2: the type of tag 1 of 3 (4 characters) is not among the train split's: 'problem'"
    assert message(tmp_path) == f"DIR/test.jsonl, {unseen}"
    assert Jsonl(path=tmp_path, labels=["problem", "test"]).load().labels == ("problem", "test")
    text = message(tmp_path, labels=["test"])
    assert text == "DIR/train.jsonl, line 1: the type of tag 1 of 3 (7 characters) is not among corpus.labels: 'test'"


def test_an_unknown_label_of_several_is_told_by_its_place(tmp_path):
    write(tmp_path, [LABELS], elsewhere("validation", {**LABELS, "labels": ["R05", SECRET]}), [LABELS])
    text = message(tmp_path)
    known = "the train split's: 'R05', 'R50'"
    assert text == f"DIR/validation.jsonl, line 1: label 2 of 2 (6 characters) is not among {known}"


def test_a_label_that_may_be_text_is_not_quoted(tmp_path):
    rows = [{**TEXT, "id": f"t{index}", "label": f"class{index % 30}"} for index in range(60)]
    write(tmp_path, rows, [{**TEXT, "label": LONG}], rows)
    text = message(tmp_path)
    assert text == "DIR/validation.jsonl, line 1: its label (280 characters) is not among the train split's: 30 labels"
    write(tmp_path, [TEXT], [{**TEXT, "label": f"{SECRET} has gout"}], [TEXT])
    unseen = "its label (15 characters) is not among"
    assert message(tmp_path) == f"DIR/validation.jsonl, line 1: {unseen} the train split's: 'Cardiology'"
    text = message(tmp_path, labels=["Cardiology", "Heart / Lung"])
    assert text == f"DIR/validation.jsonl, line 1: {unseen} corpus.labels: 'Cardiology', 'Heart / Lung'"
    write(tmp_path, [TEXT], [{**TEXT, "label": "患者有痛风"}], [TEXT])  # a sentence: "the patient has gout"
    assert "line 1: its label (5 characters) is not among" in message(tmp_path)
    write(tmp_path, [TEXT, {**TEXT, "id": "t2", "label": f"{SECRET} has gout"}], [{**TEXT, "label": "Gout"}], [TEXT])
    unseen = "line 1: its label (4 characters) is not among the train split's: 'Cardiology', 1 more"
    assert message(tmp_path) == f"DIR/validation.jsonl, {unseen}"
    write(tmp_path, [{**TEXT, "label": f"{SECRET} has gout"}], [TEXT], [TEXT])
    text = message(tmp_path)
    assert text == "DIR/validation.jsonl, line 1: its label (10 characters) is not among the train split's: 1 labels"
    write(tmp_path, [{**TEXT, "id": LONG}, {**TEXT, "id": LONG}], [TEXT], [TEXT])
    assert message(tmp_path) == "DIR/train.jsonl, line 2: id of 280 characters is already at DIR/train.jsonl, line 1"


def test_an_id_that_may_be_text_is_not_quoted(tmp_path):
    write(tmp_path, [{**TEXT, "id": f"{SECRET} has gout"}] * 2, [TEXT], [TEXT])
    assert message(tmp_path) == "DIR/train.jsonl, line 2: id of 15 characters is already at DIR/train.jsonl, line 1"


def test_labels_that_mostly_differ_are_taken_for_text(tmp_path):
    def rows(different: int, count: int) -> list[dict]:
        names = [f"{SECRET} has gout {index % different}" for index in range(count)]
        return [{**TEXT, "id": f"t{index}", "label": name} for index, name in enumerate(names)]

    hint = "is the text in the label column? corpus.labels names the labels"
    write(tmp_path, rows(11, 20), rows(11, 20), rows(11, 20))  # more than half as many labels as examples
    assert message(tmp_path) == f"DIR/train.jsonl: 11 different labels among the 20 of its 20 examples; {hint}"
    names = [row["label"] for row in rows(11, 11)]
    assert len(Jsonl(path=tmp_path, labels=names, allow_overlap=True).load().labels) == 11
    write(tmp_path, rows(10, 20), rows(10, 20), rows(10, 20))  # not more
    assert len(Jsonl(path=tmp_path, allow_overlap=True).load().labels) == 10
    write(tmp_path, rows(19, 19), rows(19, 19), rows(19, 19))  # too few to tell
    assert len(Jsonl(path=tmp_path, allow_overlap=True).load().labels) == 19


def test_many_codes_of_few_texts_are_labels(tmp_path):
    codes = [f"R{index}" for index in range(30)]  # 30 for 10 texts, but each is given ten times
    rows = [{**LABELS, "id": f"m{index}", "labels": codes} for index in range(10)]
    write(tmp_path, rows, rows, rows)
    assert len(Jsonl(path=tmp_path, allow_overlap=True).load().labels) == 30
    rows = [{**LABELS, "id": f"m{index}", "labels": [f"{SECRET} {index}", f"{index}"]} for index in range(10)]
    write(tmp_path, rows, rows, rows)
    assert message(tmp_path).startswith("DIR/train.jsonl: 20 different labels among the 20 of its 10 examples; ")


def test_an_entity_type_may_not_be_called_as_no_entity(tmp_path):
    write(tmp_path, [{**NER, "tags": ["B-none", "O", "O"]}])
    assert message(tmp_path) == (
        "DIR/train.jsonl: an entity type is called 'none', which stands for sentences without entities where examples "
        "are spread over clients; give it another name"
    )


def test_ner_without_any_entity(tmp_path):
    write(tmp_path, [{**NER, "tags": ["O", "O", "O"]}])
    assert message(tmp_path) == "DIR/train.jsonl: none of its 1 sentences holds an entity; expected B- tags"


def test_multilabel_without_any_label(tmp_path):
    write(tmp_path, [{**LABELS, "labels": []}], [LABELS], [LABELS])
    assert message(tmp_path) == "DIR/train.jsonl: none of its 1 texts has a label"
    assert message(tmp_path, labels=["R50", "R05"]) == "DIR/train.jsonl: none of its 1 texts has a label"


def test_ids_may_repeat_in_another_split(tmp_path):
    table = Jsonl(path=write(tmp_path, [NER])).load().splits["test"]
    assert list(table["id"]) == ["n1"]
