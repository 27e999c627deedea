"""The real corpora beside the checkout: each loads with disjoint splits and holds what the tables of its README say."""

import re
from collections import Counter
from pathlib import Path

import pytest
from datasets import Dataset

from partitions.corpora.jsonl import Jsonl
from partitions.corpus import SPLITS, Corpus
from partitions.labels import partition_labels

pytestmark = pytest.mark.real_data

NAMES = [
    "bc5cdr",
    "medical_abstracts",
    "mtsamples_ner",
    "mtsamples_ner_notes",
    "mtsamples_specialty",
    "ncbi_disease",
    "trial_criteria_ner",
    "vaers_ae_ner",
]

Counts = dict[str, tuple[float, ...]]


def tables(readme: Path) -> dict[str, Counts]:
    """The tables of a README: heading -> first cell of a row -> its numbers for train, validation and test."""
    found: dict[str, Counts] = {}
    heading = ""
    for line in readme.read_text(encoding="utf-8").splitlines():
        heading = line.removeprefix("## ") if line.startswith("## ") else heading
        if row := re.fullmatch(r"\| (.+?) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", line):
            found.setdefault(heading, {})[row[1]] = tuple(map(float, row.groups()[1:]))
    return found


def per_split(corpus: Corpus, counts) -> Counts:
    """A count of each split, as a mapping of what is counted."""
    counters = [counts(corpus.splits[split]) for split in SPLITS]
    return {key: tuple(counter[key] for counter in counters) for key in set().union(*counters)}


def ner_counts(table: Dataset) -> Counter:
    begun = Counter(tag[2:] for tags in table["tags"] for tag in tags if tag[0] == "B")
    tokens = sum(map(len, table["tokens"]))
    outside = sum(tags.count("O") for tags in table["tags"])
    return Counter(
        {
            "sentences": len(table),
            "tokens": tokens,
            "share of O": round(outside / tokens, 3),
            "entities": begun.total(),
            **{f"entities: {kind}": count for kind, count in begun.items()},
        }
    )


def class_counts(table: Dataset) -> Counter:
    labels = Counter(table["label"])
    return Counter(
        {"rows": len(table), "share of the largest class": round(max(labels.values()) / len(table), 3)} | labels
    )


@pytest.mark.parametrize("name", NAMES)
def test_holds_what_its_tables_say(real_data, name):
    said = tables(real_data / name / "README.md")
    corpus = Jsonl(path=real_data / name).load()  # checks that the splits are disjoint
    ner = "sentences" in said["Counts"]
    assert (corpus.name, corpus.task) == (name, "ner" if ner else "classification")
    assert per_split(corpus, ner_counts if ner else class_counts) == said["Counts"]
    kinds = {key.removeprefix("entities: ") for key in said["Counts"] if not ner or key.startswith("entities: ")}
    assert set(corpus.labels) == kinds - {"rows", "share of the largest class"}
    assert per_split(corpus, lambda table: Counter(group for group in table["group"] if group)) == said.get(
        "Groups", {}
    )
    labels = partition_labels(corpus.splits["train"], corpus.task)
    assert len(labels) == len(corpus.splits["train"])
    assert set(labels) <= {*corpus.labels, "none"}


def test_no_set_is_left_out(real_data):
    assert sorted(file.parent.name for file in real_data.glob("*/train.jsonl*")) == NAMES
