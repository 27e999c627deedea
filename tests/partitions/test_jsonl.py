"""The JSONL reader: what it accepts, every mistake it names, and the real corpora against their own tables."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from partitions.corpora.jsonl import Jsonl
from partitions.corpus import CorpusError
from partitions.labels import partition_labels

NER = {"id": "n1", "tokens": ["chest", "pain", "today"], "tags": ["B-problem", "I-problem", "O"], "group": "site A"}
TEXT = {"id": "t1", "text": "Chest pain since Monday.", "label": "Cardiology", "group": "site A"}
SECRET = "Xavier"
"""Stands for clinical text in files with a mistake: no message may hold it."""


def write(folder: Path, train, validation=None, test=None) -> Path:
    """A corpus folder from rows: mappings, or lines given as text or bytes; one NER example where none are given."""
    for split, rows in {"train": train, "validation": validation or [NER], "test": test or [NER]}.items():
        lines = [json.dumps(row) if isinstance(row, dict) else row for row in rows]
        data = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines)
        (folder / f"{split}.jsonl").write_bytes(data)
    return folder


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
    assert corpus.splits["train"].column_names == ["id", "tokens", "tags", "group"]
    assert corpus.splits["train"][0] == NER


def test_reads_classification(tmp_path):
    rows = [TEXT, {**TEXT, "id": "t2", "label": "Urology"}]
    corpus = Jsonl(path=write(tmp_path, rows, rows, rows), name="mine").load()
    assert (corpus.name, corpus.task, corpus.labels) == ("mine", "classification", ("Cardiology", "Urology"))
    assert corpus.splits["test"].column_names == ["id", "text", "label", "group"]
    assert corpus.splits["test"][1] == rows[1]


def test_optional_keys_other_keys_blank_lines_bom_and_integer_names(tmp_path):
    bare = {"tokens": ["pain"], "tags": ["B-problem"], "comment": "dropped"}
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
    assert Jsonl(path=tmp_path).load().splits["train"][0] == NER


def test_task_settles_examples_with_the_keys_of_both(tmp_path):
    both = {**NER, **TEXT}
    write(tmp_path, [both], [both], [both])
    hint = "has the keys of both tasks; set corpus.task to ner or classification"
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
    assert message(tmp_path) == "DIR/validation.jsonl: holds no examples; expected one JSON object a line"


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
            "tag 2 of 3 is 'I-problem' after 'O'; in IOB2 an entity begins with 'B-problem'",
        ),
        (
            {**NER, "tags": ["B-test", "I-problem", "O"]},
            "tag 2 of 3 is 'I-problem' after 'B-test'; in IOB2 an entity begins with 'B-problem'",
        ),
        ({**NER, "id": 1.5}, "id is a number; expected a string or an integer"),
        ({**NER, "group": ["a"]}, "group is a list; expected a string or an integer"),
        (NER, "id 'n1' is already on line 1"),
    ],
)
def test_mistakes_in_ner_examples(tmp_path, row, expected):
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
        ({"note": SECRET}, "has neither the keys 'tokens' and 'tags' (ner) nor 'text' and 'label' (classification)"),
        ({"tokens": [SECRET]}, "has the key 'tokens' but no key 'tags'"),
        ({"label": SECRET}, "has the key 'label' but no key 'text'"),
    ],
)
def test_first_example_without_a_task(tmp_path, row, expected):
    assert message(write(tmp_path, [row])) == f"DIR/train.jsonl, line 1: {expected}"


def test_splits_of_different_tasks(tmp_path):
    text = message(write(tmp_path, [NER], [TEXT]))
    assert text.startswith("DIR/validation.jsonl, line 1: is a classification example in a ner corpus")


def test_labels_must_be_known(tmp_path):
    unseen = {**NER, "id": "n2", "tags": ["B-test", "O", "O"]}
    write(tmp_path, [NER], None, [NER, unseen])
    assert message(tmp_path) == "DIR/test.jsonl, line 2: label 'test' is not among the train split's: 'problem'"
    assert Jsonl(path=tmp_path, labels=["problem", "test"]).load().labels == ("problem", "test")
    text = message(tmp_path, labels=["test"])
    assert text == "DIR/train.jsonl, line 1: label 'problem' is not among corpus.labels: 'test'"


def test_a_label_that_may_be_text_is_not_quoted(tmp_path):
    rows = [{**TEXT, "id": f"t{index}", "label": f"class {index}"} for index in range(30)]
    write(tmp_path, rows, [{**TEXT, "label": LONG}], rows)
    text = message(tmp_path)
    assert text == "DIR/validation.jsonl, line 1: label of 280 characters is not among the train split's: 30 labels"
    write(tmp_path, [{**TEXT, "id": LONG}, {**TEXT, "id": LONG}], [TEXT], [TEXT])
    assert message(tmp_path) == "DIR/train.jsonl, line 2: id of 280 characters is already on line 1"


def test_ner_without_any_entity(tmp_path):
    write(tmp_path, [{**NER, "tags": ["O", "O", "O"]}])
    assert message(tmp_path) == "DIR/train.jsonl: none of its 1 sentences holds an entity; expected B- tags"


def test_ids_may_repeat_in_another_split(tmp_path):
    assert len(Jsonl(path=write(tmp_path, [NER], [NER], [NER])).load().splits["test"]) == 1


ENTITIES = {
    "mtsamples_ner": {"problem": (540, 204, 199), "treatment": (149, 43, 36), "test": (120, 39, 50)},
    "mtsamples_ner_notes": {"problem": (1132, 112, 298), "treatment": (306, 41, 86), "test": (266, 21, 78)},
    "vaers_ae_ner": {
        "nervous_AE": (406, 83, 162),
        "procedure": (337, 57, 126),
        "other_AE": (301, 62, 168),
        "investigation": (148, 29, 59),
    },
    "ncbi_disease": {"Disease": (5133, 787, 960)},
    "bc5cdr": {"Chemical": (5203, 5347, 5385), "Disease": (4182, 4246, 4424)},
    "trial_criteria_ner": {
        "treatment": (2198, 320, 652),
        "chronic_disease": (1725, 181, 421),
        "upper_bound": (947, 127, 277),
        "lower_bound": (845, 113, 264),
        "clinical_variable": (835, 108, 255),
        "cancer": (598, 101, 186),
        "gender": (174, 33, 47),
        "allergy_name": (146, 24, 55),
        "age": (135, 19, 39),
        "pregnancy": (116, 16, 37),
        "contraception_consent": (109, 19, 27),
        "language_fluency": (28, 5, 9),
        "bmi": (17, 3, 5),
        "ethnicity": (10, 1, 3),
        "technology_access": (6, 1, 1),
    },
}
SENTENCES_AND_TOKENS = {
    "mtsamples_ner": ((587, 197, 201), (9960, 3288, 3394)),
    "mtsamples_ner_notes": ((1129, 120, 297), (20066, 2322, 5288)),
    "vaers_ae_ner": ((602, 126, 286), (11192, 2097, 5145)),
    "ncbi_disease": ((5411, 922, 940), (135663, 23965, 24497)),
    "bc5cdr": ((4545, 4559, 4797), (118137, 117352, 124750)),
    "trial_criteria_ner": ((3106, 445, 895), (49420, 6609, 14021)),
}
CLASSES = {
    "mtsamples_specialty": {
        "Cardiovascular / Pulmonary": (234, 33, 67),
        "Orthopedic": (157, 22, 45),
        "General Medicine": (141, 19, 40),
        "Gastroenterology": (132, 20, 38),
        "Obstetrics / Gynecology": (102, 15, 29),
        "Urology": (93, 13, 27),
        "Neurology": (86, 12, 24),
        "ENT - Otolaryngology": (55, 8, 16),
        "Ophthalmology": (53, 7, 15),
        "Hematology - Oncology": (39, 6, 11),
        "Pain Management": (37, 5, 11),
        "Nephrology": (34, 5, 10),
        "Psychiatry / Psychology": (30, 4, 8),
    },
    "medical_abstracts": {
        "general pathological conditions": (613, 88, 175),
        "neoplasms": (419, 60, 120),
        "cardiovascular diseases": (399, 57, 114),
        "nervous system diseases": (243, 35, 69),
        "digestive system diseases": (186, 26, 53),
    },
}
GROUPS = {"mtsamples_ner": 7, "mtsamples_ner_notes": 7, "mtsamples_specialty": 11}
"""Natural groups in the train split; the other corpora have none."""


def per_split(counters: list[Counter]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(counter[key] for counter in counters) for key in counters[0]}


@pytest.mark.real_data
@pytest.mark.parametrize("name", ENTITIES)
def test_real_ner_corpora_hold_what_their_tables_say(real_data, name):
    corpus = Jsonl(path=real_data / name).load()
    tables = list(corpus.splits.values())
    sentences, tokens = SENTENCES_AND_TOKENS[name]
    assert (corpus.name, corpus.task, corpus.labels) == (name, "ner", tuple(sorted(ENTITIES[name])))
    assert tuple(map(len, tables)) == sentences
    assert tuple(sum(map(len, table["tokens"])) for table in tables) == tokens
    begun = [Counter(tag[2:] for tags in table["tags"] for tag in tags if tag[0] == "B") for table in tables]
    assert per_split(begun) == ENTITIES[name]
    assert len(set(tables[0]["group"]) - {""}) == GROUPS.get(name, 0)
    labels = partition_labels(tables[0], corpus.task)
    assert len(labels) == sentences[0]
    assert set(labels) <= {*corpus.labels, "none"}


@pytest.mark.real_data
@pytest.mark.parametrize("name", CLASSES)
def test_real_classification_corpora_hold_what_their_tables_say(real_data, name):
    corpus = Jsonl(path=real_data / name).load()
    tables = list(corpus.splits.values())
    assert (corpus.name, corpus.task, corpus.labels) == (name, "classification", tuple(sorted(CLASSES[name])))
    assert per_split([Counter(table["label"]) for table in tables]) == CLASSES[name]
    assert len(set(tables[0]["group"]) - {""}) == GROUPS.get(name, 0)
