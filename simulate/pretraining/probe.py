"""What the frozen features are worth: logistic regression on them, against the same on random weights.

For entity recognition a word's feature is the hidden state at its last sub-word; for classification a text's feature
is the mean of its hidden states. The layer and the regularisation are chosen on the validation split, the figures are
those of the test split.
"""

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import spmatrix
from seqeval.metrics import f1_score as entity_f1
from seqeval.scheme import IOB2
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from simulate.pretraining.growth import untrained

SPLITS = ("train", "validation", "test")
INVERSE_REGULARISATION = (0.001, 0.01)
RANDOM_SEEDS = (0, 1)
MAX_TOKENS = 256

Features = dict[str, np.ndarray | spmatrix]
"""Split -> one row a word (or a text)."""

Score = Callable[[str, np.ndarray], dict[str, float]]
"""(split, predictions) -> metrics; the first one is what the layer is chosen by."""


@dataclass(frozen=True)
class Probe:
    """A corpus as the probe needs it: inputs and one target a row, by split."""

    inputs: dict[str, list[Any]]
    targets: dict[str, list[str]]

    @classmethod
    def read(cls, folder: Path, content: str, target: str) -> "Probe":
        """Read ``<split>.jsonl.gz`` of each split; `content` and `target` are the keys of a row."""
        inputs, targets = {}, {}
        for split in SPLITS:
            with gzip.open(folder / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
                rows = [json.loads(line) for line in lines]
            inputs[split] = [row[content] for row in rows]
            targets[split] = [
                label for row in rows for label in (row[target] if isinstance(row[target], list) else [row[target]])
            ]
        return cls(inputs, targets)

    def score_tags(self, split: str, predicted: np.ndarray) -> dict[str, float]:
        """Entity F1 (strict IOB2, micro) and token macro F1."""
        ends = np.cumsum([len(words) for words in self.inputs[split]])[:-1]
        gold = [list(tags) for tags in np.split(np.array(self.targets[split]), ends)]
        tags = [list(tags) for tags in np.split(predicted, ends)]
        return {
            "entity_f1": float(entity_f1(gold, tags, mode="strict", scheme=IOB2, zero_division=0)),
            "token_macro_f1": float(f1_score(self.targets[split], predicted, average="macro", zero_division=0)),
        }

    def score_labels(self, split: str, predicted: np.ndarray) -> dict[str, float]:
        """Accuracy and macro F1."""
        return {
            "accuracy": float(accuracy_score(self.targets[split], predicted)),
            "macro_f1": float(f1_score(self.targets[split], predicted, average="macro", zero_division=0)),
        }


def best(probe: Probe, candidates: dict[str, Features], score: Score) -> dict[str, object]:
    """Fit every candidate at every regularisation; test metrics of the one best on validation."""
    found: tuple[float, dict[str, object]] = (-1.0, {})
    for name, features in candidates.items():
        for strength in INVERSE_REGULARISATION if isinstance(features["train"], np.ndarray) else (1.0, 10.0):
            model = LogisticRegression(C=strength, max_iter=200).fit(features["train"], probe.targets["train"])
            metrics = score("validation", model.predict(features["validation"]))
            chosen_by = next(iter(metrics.values()))
            if chosen_by > found[0]:
                test = score("test", model.predict(features["test"]))
                found = (chosen_by, {"features": name, "C": strength, "validation": metrics, "test": test})
    return found[1]


@torch.no_grad()
def hidden_states(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    inputs: Sequence[str | list[str]],
    layers: Sequence[int],
) -> np.ndarray:
    """Features of every word (of lists of words) or of every text (of strings) at some layers.

    Returns:
        float32, shape (layers, words or texts, hidden); layer 0 is the embedding.
    """
    model.eval()
    rows = []
    for content in inputs:
        words = not isinstance(content, str)
        encoded = tokenizer(
            content, is_split_into_words=words, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        states = model.model(input_ids=encoded["input_ids"], output_hidden_states=True, use_cache=False).hidden_states
        chosen = torch.stack([states[layer][0] for layer in layers])
        if words:
            last = {word: position for position, word in enumerate(encoded.word_ids()) if word is not None}
            chosen = chosen[:, [last.get(word, 0) for word in range(len(content))]]
        else:
            chosen = chosen[:, 1:].mean(dim=1, keepdim=True)
        rows.append(chosen.float().numpy())
    return np.concatenate(rows, axis=1)


def layer_features(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, probe: Probe) -> dict[str, Features]:
    """Standardised features of the embedding and of every quarter of the depth."""
    depth = model.config.num_hidden_layers
    layers = sorted({round(depth * quarter / 4) for quarter in range(5)})
    states = {split: hidden_states(model, tokenizer, probe.inputs[split], layers) for split in SPLITS}
    features = {}
    for index, layer in enumerate(layers):
        scaler = StandardScaler().fit(states["train"][index])
        features[f"layer {layer}"] = {split: scaler.transform(states[split][index]) for split in SPLITS}
    return features


def word_identity(probe: Probe) -> Features:
    """One-hot features of the lower-cased word."""
    words = {split: [[word.lower()] for sentence in probe.inputs[split] for word in sentence] for split in SPLITS}
    encoder = OneHotEncoder(handle_unknown="ignore").fit(words["train"])
    return {split: encoder.transform(words[split]) for split in SPLITS}


def tfidf(probe: Probe) -> Features:
    """Term weights of words and word pairs, of the whole text."""
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2).fit(probe.inputs["train"])
    return {split: vectorizer.transform(probe.inputs[split]) for split in SPLITS}


def probe(checkpoint: Path, ner: Path, classification: Path, progress: Callable[[str], None]) -> dict[str, object]:
    """Probe the checkpoint, random weights (several draws) and a reference without a model on two corpora."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    trained = LlamaForCausalLM.from_pretrained(checkpoint)
    models = {"trained": trained, **{f"random {seed}": untrained(trained.config, seed) for seed in RANDOM_SEEDS}}
    tagging, labelling = Probe.read(ner, "tokens", "tags"), Probe.read(classification, "text", "label")
    figures: dict[str, object] = {}
    for corpus, data, score, reference in (
        (ner.name, tagging, tagging.score_tags, ("word identity", word_identity)),
        (classification.name, labelling, labelling.score_labels, ("tf-idf", tfidf)),
    ):
        entries = {reference[0]: best(data, {reference[0]: reference[1](data)}, score)}
        for name, model in models.items():
            features = layer_features(model, tokenizer, data)
            entries[name] = best(data, features, score)
            if name == "trained":
                entries["trained, embedding only"] = best(data, {"layer 0": features["layer 0"]}, score)
            progress(f"{corpus}, {name}: {entries[name]}")
        figures[corpus] = {"rows": {split: len(data.targets[split]) for split in SPLITS}, "probes": entries}
    return figures
