"""The hub reader: local copies in the hub's own layouts stand for the hub; without either, one clear line."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import yaml
from datasets import ClassLabel, Dataset, Features, List, Value

from partitions.corpora.hub import Hub
from partitions.corpus import CorpusError
from simulate.config import PRESETS, load

SECRET = "Xavier"
"""Stands for clinical text in files with a mistake: no message may hold it."""


TWO_SUBSETS = """---
configs:
- config_name: default
  data_files:
  - {split: train, path: data/train-*}
  - {split: test, path: data/test-*}
- config_name: labels
  data_files:
  - {split: train, path: labels/train-*}
---
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))


def message(**settings) -> str:
    with pytest.raises(CorpusError) as caught:
        Hub(**settings).load()
    text = str(caught.value).replace(settings["id"], "ID")
    assert "\n" not in text
    assert SECRET not in text
    return text


def jsonl(folder: Path, **splits: str) -> str:
    for split, text in splits.items():
        (folder / f"{split}.jsonl").write_text(text)
    return str(folder)


def converted(folder: Path, subset: str, features: Features, **splits: dict) -> str:
    """Parquet files as the hub lays out its own conversions: ``<subset>/<split>/0000.parquet``."""
    for split, columns in splits.items():
        (folder / subset / split).mkdir(parents=True)
        Dataset.from_dict(columns, features=features).to_parquet(folder / subset / split / "0000.parquet")
    return str(folder)


def test_a_local_copy_of_ncbi_disease_through_its_preset(tmp_path):
    tags = List(ClassLabel(names=["O", "B-Disease", "I-Disease"]))
    features = Features(id=Value("string"), tokens=List(Value("string")), ner_tags=tags)
    rows = {
        "train": {"id": ["0", "1"], "tokens": [["No", "gout"], ["Fine", "."]], "ner_tags": [[0, 1], [0, 0]]},
        "validation": {"id": ["0"], "tokens": [["Skin", "cancer"]], "ner_tags": [[1, 2]]},
        "test": {"id": ["0"], "tokens": [["Lung", "disease"]], "ner_tags": [[1, 2]]},
    }
    folder = converted(tmp_path, "ncbi_disease", features, **rows)
    reader = load("ncbi-disease", [f"corpus.id={folder}"]).corpus
    corpus = reader.load()
    assert (corpus.name, corpus.task, corpus.labels) == (tmp_path.name, "ner", ("Disease",))
    assert reader.describe() == ("ner", ("Disease",))
    assert corpus.splits["train"].to_list() == [
        {"id": "0", "tokens": ["No", "gout"], "tags": ["O", "B-Disease"], "group": "", "document": ""},
        {"id": "1", "tokens": ["Fine", "."], "tags": ["O", "O"], "group": "", "document": ""},
    ]
    assert corpus.splits["test"]["tags"][0] == ["B-Disease", "I-Disease"]
    unmapped = Hub(id=folder, columns={"tags": "ner_tags"}).load()  # the data themselves name their integers
    assert unmapped.splits["test"]["tags"][0] == ["B-Disease", "I-Disease"]


def test_a_local_copy_of_bc5cdr_through_its_preset(tmp_path):
    features = Features(tokens=List(Value("string")), tags=List(Value("int32")))
    rows = {
        "train": {"tokens": [["lithium", "salts", "and", "renal", "failure"]], "tags": [[1, 4, 0, 2, 3]]},
        "validation": {"tokens": [["aspirin"]], "tags": [[1]]},
        "test": {"tokens": [["gout"]], "tags": [[2]]},
    }
    corpus = load("bc5cdr", [f"corpus.id={converted(tmp_path, 'bc5cdr', features, **rows)}"]).corpus.load()
    assert corpus.labels == ("Chemical", "Disease")
    assert corpus.splits["train"].to_list() == [
        {
            "id": "train-1",
            "tokens": ["lithium", "salts", "and", "renal", "failure"],
            "tags": ["B-Chemical", "I-Chemical", "O", "B-Disease", "I-Disease"],
            "group": "",
            "document": "",
        }
    ]


def test_a_local_copy_of_medical_abstracts_through_its_preset(tmp_path):
    features = Features(condition_label=Value("int64"), medical_abstract=Value("string"))
    for part in ("data", "labels"):
        (tmp_path / part).mkdir()
    train = {"condition_label": [1, 2, 3, 4, 5] * 4, "medical_abstract": [f"abstract {row}" for row in range(20)]}
    test = {"condition_label": [5], "medical_abstract": ["last"]}
    for split, columns in {"train": train, "test": test}.items():
        Dataset.from_dict(columns, features=features).to_parquet(tmp_path / f"data/{split}-00000-of-00001.parquet")
    Dataset.from_dict({"condition_name": ["gout"]}).to_parquet(tmp_path / "labels/train-00000-of-00001.parquet")
    (tmp_path / "README.md").write_text(TWO_SUBSETS)
    reader = load("medical-abstracts", [f"corpus.id={tmp_path}"]).corpus
    corpus = reader.load()
    assert {split: len(table) for split, table in corpus.splits.items()} == {"train": 18, "validation": 2, "test": 1}
    assert reader.describe() == ("classification", corpus.labels)
    assert corpus.labels[2:4] == ("general pathological conditions", "neoplasms")
    assert corpus.splits["test"]["label"][0] == "general pathological conditions"
    names = [reader.label_names[code] for code in train["condition_label"]]
    for split in ("train", "validation"):
        for example in corpus.splits[split]:
            row = int(example["id"].removeprefix("train-")) - 1
            assert (example["text"], example["label"]) == (train["medical_abstract"][row], names[row])


@pytest.mark.parametrize("preset", ["ncbi-disease", "bc5cdr", "medical-abstracts"])
def test_the_mappings_say_how_they_were_checked_and_plan_without_data(preset):
    text = (PRESETS / f"{preset}.yaml").read_text()
    comment = " ".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))
    assert "checked against documentation" in comment
    assert "not against a download, because the hub was not reachable" in comment
    corpus = yaml.safe_load(text)["corpus"]
    assert corpus["name"] == "hub"
    task, labels = load(preset).corpus.describe()
    assert task == ("classification" if preset == "medical-abstracts" else "ner")
    assert len(labels) == {"ncbi-disease": 1, "bc5cdr": 2, "medical-abstracts": 5}[preset]


def test_json_lines_of_other_split_names_and_label_sets(tmp_path):
    folder = jsonl(
        tmp_path,
        train='{"note": "Fever.", "codes": ["R50"], "patient": 1}\n{"note": "Well.", "codes": [], "patient": 2}\n',
        test='{"note": "Cough.", "codes": ["R50"], "patient": 3}\n',
    )
    columns = {"text": "note", "labels": "codes", "document": "patient"}
    corpus = Hub(id=folder, columns=columns, splits={"validation": "test", "test": "test"}, allow_overlap=True).load()
    assert corpus.splits["train"].to_list() == [
        {"id": "train-1", "text": "Fever.", "labels": ["R50"], "group": "", "document": "1"},
        {"id": "train-2", "text": "Well.", "labels": [], "group": "", "document": "2"},
    ]
    assert corpus.splits["validation"]["id"][0] == "validation-1"


def test_mistakes_name_split_and_row(tmp_path):
    row = '{{"text": "{}", "label": "a"}}\n'
    folder = jsonl(tmp_path, train=row.format("x"), test=row.format("y") + f'{{"text": "{SECRET}", "label": " "}}\n')
    hint = "; corpus.splits gives other names, and corpus.holdout=0.1 makes a validation split out of train"
    assert message(id=folder) == f"ID: has no split 'validation', only 'train', 'test'{hint}"
    assert message(id=folder, splits={"validation": "test"}) == "ID, test, row 2: label is empty"
    text = message(id=folder, columns={"text": "note"}, splits={"validation": "test"})
    assert text == "ID, train: has no column 'note' (corpus.columns.text); its columns: 'text', 'label'"
    text = message(id=folder, subset="none")
    assert text == "ID: BuilderConfig 'none' not found. Available: ['default']"


def test_the_copy_of_a_local_folder_is_closed_to_others(tmp_path, monkeypatch):
    monkeypatch.setenv("SKIPFL_CACHE", str(tmp_path / "cache"))
    rows = {split: f'{{"text": "{split}", "label": "ill"}}\n' for split in ("train", "validation", "test")}
    (tmp_path / "notes").mkdir()
    Hub(id=jsonl(tmp_path / "notes", **rows)).load()
    assert stat.S_IMODE((tmp_path / "cache" / "datasets").stat().st_mode) == 0o700
    assert list((tmp_path / "cache" / "datasets").rglob("*.arrow"))
    assert not list(Path(datasets.config.HF_DATASETS_CACHE).rglob("*.arrow"))


def test_folders_that_are_no_data_set(tmp_path):
    assert message(id=str(tmp_path)) == "ID: The directory at ID doesn't contain any data files"
    jsonl(tmp_path, train=f'{{"text": "{SECRET}"\n')
    assert message(id=str(tmp_path)) == "ID: its files are malformed or differ in their columns"


def test_a_loading_script_is_never_run(tmp_path):
    (tmp_path / f"{tmp_path.name}.py").write_text("raise SystemExit('the script ran')\n")
    assert message(id=str(tmp_path)) == (
        "ID: needs a loading script, and foreign code is never run; set corpus.revision=refs/convert/parquet if the "
        "hub has converted it, or corpus.path to a folder of your own JSONL files"
    )


def test_offline_is_one_line_with_the_local_alternative(tmp_path):
    code = (
        "from partitions.corpora.hub import Hub; from partitions.corpus import CorpusError\n"
        "try: Hub(id='ncbi/ncbi_disease', revision='refs/convert/parquet').load()\n"
        "except CorpusError as error: print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout == (
        "ncbi/ncbi_disease: Couldn't reach 'ncbi/ncbi_disease' on the Hub (OfflineModeIsEnabled); without the hub, "
        "fetch it elsewhere with `hf download --repo-type dataset ncbi/ncbi_disease --revision refs/convert/parquet "
        "--local-dir FOLDER` and set corpus.id=FOLDER, or set corpus.path to a folder of your own JSONL files\n"
    ), done.stderr
