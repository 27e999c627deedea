"""The embedded corpus: determinism, clean splits, honest noise, ambiguity, and how hard it is for simple baselines."""

import itertools
import json
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import Dataset
from pydantic import ValidationError
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score as class_f1_score
from sklearn.pipeline import Pipeline, make_pipeline

from partitions.corpora.synthetic import SyntheticNer, SyntheticNotes, notes
from partitions.corpora.synthetic.grammar import Draws, Grammar
from partitions.corpora.synthetic.hospitals import HOSPITALS, Hospital
from partitions.corpora.synthetic.lexicon import SPECIALTIES
from partitions.corpora.synthetic.noise import entity_spans, noisy_tags
from partitions.corpora.synthetic.surface import styled
from partitions.corpora.synthetic.writer import GRAMMAR
from partitions.corpus import SPLITS, Corpus

SMALL = {"train": 60, "validation": 20, "test": 30}


@cache
def ner() -> Corpus:
    return SyntheticNer().load()


@cache
def classified() -> Corpus:
    return SyntheticNotes().load()


def lower(tokens: list[str]) -> list[str]:
    return [token.casefold() for token in tokens]


# The grammar


def new_draws() -> Draws:
    return Draws(np.random.default_rng(0))


def expand(*templates: str, **bindings: str) -> list[tuple[str, str]]:
    out = Grammar({"start": templates, "organ.renal": ["left kidney"]}, {}).expand(
        "start", new_draws(), lambda: "renal", bindings
    )
    return list(zip(out.tokens, out.tags, strict=True))


def test_grammar_tags_spans_and_glues_parts() -> None:
    assert expand("[p a mass] in <his> <*organ> , <7..7>/<3.0..3.0>", his="her") == [
        ("a", "B-problem"),
        ("mass", "I-problem"),
        ("in", "O"),
        ("her", "O"),
        ("left", "O"),
        ("kidney", "O"),
        (",", "O"),
        ("7/3.0", "O"),
    ]


def test_grammar_glues_an_alternative_to_what_stands_before_it() -> None:
    assert expand("x{y|y}z") == [("xyz", "O")]


@pytest.mark.parametrize("template", ["[p mass", "{a|b", "mass ]", "a } b"])
def test_grammar_refuses_unbalanced_templates(template: str) -> None:
    with pytest.raises(ValueError, match="template"):
        Grammar({"start": [template]}, {})


def test_every_rule_leads_to_text() -> None:
    bindings = {name: name for name in ("he", "his", "him", "age", "person.noun")}
    draws = new_draws()
    specialties = itertools.cycle(SPECIALTIES)
    roots = [name for name in GRAMMAR.rules if name.startswith(("section.", "frame.", "ambiguous"))]
    assert len(roots) > 15
    for rule, _ in itertools.product(roots, range(300)):
        assert GRAMMAR.expand(rule, draws, lambda: next(specialties), bindings).tokens


# Style


def rewritten(template: str, **style) -> str:
    """A template in the style of a hospital, entities in brackets."""
    draws = new_draws()
    sentence = Grammar({"start": [template]}, {}).expand("start", draws, str, {})
    out = styled(sentence, Hospital(name="", patients={}, sections={}, **style), 0.0, draws)
    closed = [*out.tags[1:], "O"]
    return " ".join(
        ("[" if tag[0] == "B" else "") + token + ("]" if tag != "O" and after[0] != "I" else "")
        for token, tag, after in zip(out.tokens, out.tags, closed, strict=True)
    )


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("the patient has a history of [p multiple sclerosis]", "pt h/o [ms]"),
        ("he was given [t his morphine sulfate] daily", "given [ms] qd"),
        ("[x oxygen saturation] on [t oxygen]", "[o2 sat] on [o2]"),
        ("chest [p pain]", "chest [pain]"),
        ("[p chest] [p pain]", "[chest] [pain]"),
    ],
)
def test_shorthand_and_terseness_keep_entities(template: str, expected: str) -> None:
    assert rewritten(template, shorthand=1.0, terse=1.0, case="lower") == expected


def test_letter_case() -> None:
    assert rewritten("seen by dr. chen for [p a elevated inr]") == "Seen by Dr. Chen for [an elevated INR]"
    assert rewritten("[p pain]", case="upper") == "[PAIN]"


def test_misspellings_keep_tokens_and_tags() -> None:
    draws = new_draws()
    sentence = Grammar({"start": ["severe [p abdominal pain] and 120/80"]}, {}).expand("start", draws, str, {})
    plain = Hospital(name="", patients={}, sections={}, case="lower")
    slips = [styled(sentence, plain, 1.0, draws) for _ in range(50)]
    assert all(slip.tags == sentence.tags for slip in slips)
    assert all(slip.tokens[2:] == ["pain", "and", "120/80"] for slip in slips)  # short words and figures stay
    assert len({slip.tokens[1] for slip in slips}) > 10


# Both corpora


@pytest.mark.parametrize("reader", [SyntheticNer, SyntheticNotes])
def test_same_seed_same_corpus(reader: type) -> None:
    first, again, other = reader(**SMALL).load(), reader(**SMALL).load(), reader(**SMALL, seed=1).load()
    for split in SPLITS:
        assert first.splits[split].to_dict() == again.splits[split].to_dict()
        assert first.splits[split].to_dict() != other.splits[split].to_dict()
        assert len(first.splits[split]) == SMALL[split]


def test_notes_are_deterministic_and_disjoint_over_seeds() -> None:
    first = list(notes(1, 40))
    assert first == list(notes(1, 40))
    assert first[:10] == list(notes(1, 10))
    assert not set(first) & set(notes(2, 40))
    assert all(len(note.split()) > 20 for note in first)


@pytest.mark.parametrize("load", [ner, classified])
def test_no_text_occurs_twice(load) -> None:
    corpus = load()
    column = "tokens" if corpus.task == "ner" else "text"
    texts = [
        " ".join(row).casefold() if corpus.task == "ner" else row.casefold()
        for split in SPLITS
        for row in corpus.splits[split][column]
    ]
    assert len(texts) == len(set(texts)) == 2800


@pytest.mark.parametrize("load", [ner, classified])
def test_groups_are_the_hospitals(load) -> None:
    for split in SPLITS:
        assert set(load().splits[split]["group"]) == {hospital.name for hospital in HOSPITALS[:6]}


@pytest.mark.parametrize("reader", [SyntheticNer, SyntheticNotes])
def test_bad_settings_are_refused(reader: type) -> None:
    for settings in ({"hospitals": 9}, {"train": 0}, {"noise": 0.9}, {"sentences": 3}):
        with pytest.raises(ValidationError, match=next(iter(settings))):
            reader(**settings)


# Entity recognition


def test_tags_are_valid_iob2() -> None:
    for split in SPLITS:
        for tokens, tags in zip(ner().splits[split]["tokens"], ner().splits[split]["tags"], strict=True):
            assert len(tokens) == len(tags) >= 3
            assert all(tokens)
            for before, tag in itertools.pairwise(["O", *tags]):
                assert tag == "O" or tag[2:] in ner().labels
                assert tag[0] != "I" or before[2:] == tag[2:]


def test_sentences_of_a_note_stay_in_one_split() -> None:
    splits_of = defaultdict(set)
    for split in SPLITS:
        for identifier in ner().splits[split]["id"]:
            splits_of[identifier.rsplit("-", 1)[0]].add(split)
    assert all(len(found) == 1 for found in splits_of.values())


def test_noise_touches_training_only() -> None:
    clean = SyntheticNer(noise=0).load()
    for split in ("validation", "test"):
        assert clean.splits[split].to_dict() == ner().splits[split].to_dict()
    assert clean.splits["train"]["tokens"] == ner().splits["train"]["tokens"]
    entities = changed = 0
    for tags, noisy in zip(clean.splits["train"]["tags"], ner().splits["train"]["tags"], strict=True):
        kept = {(start, end, noisy[start]) for start, end in entity_spans(noisy)}
        spans = [(start, end, tags[start]) for start, end in entity_spans(tags)]
        entities += len(spans)
        changed += sum(span not in kept for span in spans)
    assert 0.02 <= changed / entities <= 0.05


def test_every_slip_of_the_annotator_changes_one_entity() -> None:
    tags = ["O", "B-problem", "I-problem", "O", "B-test"]
    seen = set()
    for seed in range(200):
        noisy = noisy_tags(tags, 1.0, ner().labels, np.random.default_rng(seed))
        before = {(s, e, tags[s]) for s, e in entity_spans(tags)}
        after = {(s, e, noisy[s]) for s, e in entity_spans(noisy)}
        assert not before & after
        assert all(tag[0] != "I" or noisy[place - 1][2:] == tag[2:] for place, tag in enumerate(noisy))
        seen.add(tuple(noisy))
    assert ("O", "O", "O", "O", "O") in seen  # both left out
    assert ("O", "B-test", "I-test", "O", "O") in seen  # another type; left out
    assert ("O", "B-problem", "O", "B-test", "I-test") in seen  # both boundaries moved
    assert noisy_tags(tags, 0.0, ner().labels, np.random.default_rng(0)) == tags


def test_many_entities_are_ambiguous() -> None:
    """Share of test mentions whose words are, elsewhere in the corpus, another type, part of one, or no entity."""
    rows = [row for split in SPLITS for row in SyntheticNer(noise=0).load().splits[split]]
    phrases = {tuple(lower(row["tokens"][s:e])) for row in rows for s, e in entity_spans(row["tags"])}
    roles = defaultdict(set)
    for row in rows:
        for start, end in all_spans(len(row["tokens"]), 6):
            phrase = tuple(lower(row["tokens"][start:end]))
            if phrase in phrases:
                types = {tag[2:] for tag in row["tags"][start:end]}
                if len(types) == 1:
                    roles[phrase].add(types.pop() or "O")
    mentions = [tuple(lower(row["tokens"][s:e])) for row in ner().splits["test"] for s, e in entity_spans(row["tags"])]
    share = sum(len(roles[mention]) > 1 for mention in mentions) / len(mentions)
    assert 0.2 <= share <= 0.5
    for word in ("ms", "pe", "pt", "ct", "discharge", "oxygen", "glucose", "potassium"):
        assert len(roles[(word,)]) >= 2, word


def all_spans(length: int, longest: int) -> list[tuple[int, int]]:
    return [(s, e) for s in range(length) for e in range(s + 1, min(length, s + longest) + 1)]


def test_hospitals_differ_in_what_they_annotate() -> None:
    counts = defaultdict(Counter)
    for group, tags in zip(ner().splits["train"]["group"], ner().splits["train"]["tags"], strict=True):
        counts[group].update(tag[2:] for tag in tags if tag[0] == "B")
    shares = np.array([[count[label] / count.total() for label in ner().labels] for count in counts.values()])
    assert (np.ptp(shares, axis=0) > 0.07).all()


# Baselines that see words and not sentences


def by_token(train: Dataset, test: Dataset) -> list[list[str]]:
    """The commonest tag of each word in training; unknown words are outside; runs of one type are one entity."""
    counts = defaultdict(Counter)
    for row in train:
        for token, tag in zip(lower(row["tokens"]), row["tags"], strict=True):
            counts[token][tag] += 1
    commonest = {token: count.most_common(1)[0][0] for token, count in counts.items()}
    predicted = []
    for tokens in test["tokens"]:
        tags = [commonest.get(token, "O") for token in lower(tokens)]
        for place, tag in enumerate(tags):
            if tag[0] == "I" and (place == 0 or tags[place - 1][2:] != tag[2:]):
                tags[place] = f"B-{tag[2:]}"
        predicted.append(tags)
    return predicted


def by_phrase(train: Dataset, test: Dataset) -> list[list[str]]:
    """The longest phrase annotated in training, from left to right, with its commonest type (or none)."""
    counts = defaultdict(Counter)
    rows = [(lower(row["tokens"]), row["tags"], dict(entity_spans(row["tags"]))) for row in train]
    for tokens, tags, spans in rows:
        for start, end in spans.items():
            counts[tuple(tokens[start:end])][tags[start][2:]] += 1
    longest = max(map(len, counts))
    known = set(counts)
    for tokens, _, spans in rows:
        for start, end in all_spans(len(tokens), longest):
            if tuple(tokens[start:end]) in known and spans.get(start) != end:
                counts[tuple(tokens[start:end])][""] += 1
    types = {phrase: count.most_common(1)[0][0] for phrase, count in counts.items()}
    predicted = []
    for tokens in test["tokens"]:
        words, tags, start = lower(tokens), ["O"] * len(tokens), 0
        while start < len(words):
            ends = range(min(len(words), start + longest), start, -1)
            end = next((end for end in ends if types.get(tuple(words[start:end]))), None)
            if end is not None:
                entity = types[tuple(words[start:end])]
                tags[start:end] = [f"B-{entity}"] + [f"I-{entity}"] * (end - start - 1)
            start = end or start + 1
        predicted.append(tags)
    return predicted


@pytest.mark.parametrize(("tagger", "low", "high"), [(by_token, 0.33, 0.45), (by_phrase, 0.45, 0.55)])
def test_a_word_list_does_not_solve_recognition(tagger, low: float, high: float) -> None:
    splits = ner().splits
    predicted = tagger(splits["train"], splits["test"])
    assert low <= f1_score(list(splits["test"]["tags"]), predicted, mode="strict", scheme=IOB2) <= high


def bag_of_words(ngrams: tuple[int, int]) -> Pipeline:
    """tf-idf and logistic regression."""
    return make_pipeline(
        TfidfVectorizer(ngram_range=ngrams, sublinear_tf=True), LogisticRegression(C=10, max_iter=1000)
    )


@pytest.mark.parametrize(("ngrams", "low", "high"), [((1, 1), 0.50, 0.60), ((1, 2), 0.56, 0.67)])
def test_a_bag_of_words_does_not_solve_classification(ngrams: tuple[int, int], low: float, high: float) -> None:
    train, test = classified().splits["train"], classified().splits["test"]
    predicted = bag_of_words(ngrams).fit(train["text"], train["label"]).predict(test["text"])
    assert low <= np.mean(predicted == np.array(test["label"])) <= high
    assert class_f1_score(test["label"], predicted, average="macro") <= high


def test_a_bag_of_words_stays_clearly_below_a_fine_tuned_model() -> None:
    corpus, scores = reference("minilm-notes", "centralized")
    splits = SyntheticNotes(**corpus).load().splits
    for ngrams in ((1, 1), (1, 2)):
        model = bag_of_words(ngrams).fit(splits["train"]["text"], splits["train"]["label"])
        predicted = model.predict(splits["test"]["text"])
        assert class_f1_score(splits["test"]["label"], predicted, average="macro") < scores["macro_f1"] - 0.15


def reference(study: str, method: str) -> tuple[dict, dict]:
    """Corpus settings and test metrics of a committed run of a fine-tuned model."""
    folder = Path(__file__).parents[2] / "results" / "reference" / study / f"{method}-seed0"
    corpus = yaml.safe_load((folder / "config.yaml").read_text())["corpus"]
    del corpus["name"]
    return corpus, json.loads((folder / "summary.json").read_text())["best"]["test"]


@pytest.mark.parametrize("method", ["layer_skipping", "fedavg", "lora"])
def test_a_word_list_stays_clearly_below_fine_tuned_models(method: str) -> None:
    corpus, scores = reference("demo", method)
    splits = SyntheticNer(**corpus).load().splits
    gold = list(splits["test"]["tags"])
    for tagger in (by_token, by_phrase):
        assert f1_score(gold, tagger(splits["train"], splits["test"]), mode="strict", scheme=IOB2) < scores["f1"] - 0.15


# Classification


def test_classes_and_lengths() -> None:
    train = classified().splits["train"]
    assert classified().labels == tuple(sorted(SPECIALTIES))
    assert set(train["label"]) == set(SPECIALTIES)
    lengths = [len(text.split()) for text in train["text"]]
    assert 60 <= np.mean(lengths) <= 100
    assert 40 <= min(lengths) <= max(lengths) <= 120


def test_label_noise_touches_training_only() -> None:
    clean = SyntheticNotes(noise=0).load()
    for split in ("validation", "test"):
        assert clean.splits[split].to_dict() == classified().splits[split].to_dict()
    assert clean.splits["train"]["text"] == classified().splits["train"]["text"]
    changed = np.array(clean.splits["train"]["label"]) != np.array(classified().splits["train"]["label"])
    assert 0.02 <= changed.mean() <= 0.05


def test_hospitals_differ_in_whom_they_treat() -> None:
    train = classified().splits["train"]
    by_hospital = defaultdict(Counter)
    for group, label in zip(train["group"], train["label"], strict=True):
        by_hospital[group][label] += 1
    heart, cancer = by_hospital["Saint Anselm Heart Institute"], by_hospital["Lakeview Cancer Center"]
    assert heart.most_common(1)[0][0] == "cardiology"
    assert cancer.most_common(1)[0][0] == "oncology"
