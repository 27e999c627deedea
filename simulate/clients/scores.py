"""Metrics of predictions, all as fractions.

seqeval and scikit-learn are imported when something is scored: workers, which only predict, do without them.
"""

from collections.abc import Sequence

import numpy as np

PRECISION_AT = 5


def entities(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], types: Sequence[str]
) -> dict[str, float]:
    """Micro F1, precision and recall of exact entities in strict IOB2 (seqeval), and the F1 of each type.

    Args:
        gold: IOB2 tags of each sentence.
        predicted: as many for each.
        types: entity types that get their own F1.
    """
    from seqeval.metrics import classification_report
    from seqeval.scheme import IOB2

    if not any(tag != "O" for sentence in (*gold, *predicted) for tag in sentence):
        return dict.fromkeys(("f1", "precision", "recall", *(f"f1_{kind}" for kind in types)), 0.0)
    report = classification_report(gold, predicted, mode="strict", scheme=IOB2, output_dict=True, zero_division=0)
    micro = report["micro avg"]
    of_type = {f"f1_{kind}": float(report.get(kind, {"f1-score": 0.0})["f1-score"]) for kind in types}
    overall = {"f1": "f1-score", "precision": "precision", "recall": "recall"}
    return {name: float(micro[key]) for name, key in overall.items()} | of_type


def classes(gold: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Macro F1 over all classes and accuracy; of two classes also AUROC and AUPRC with the second as the positive one.

    AUPRC is average precision: the sum of precision times the gain in recall over the ranking. Where the examples are
    all of one class, ranking says nothing: AUROC is then 0.5 and AUPRC the share of positives.

    Args:
        gold: numbers of classes, shape (n,).
        logits: shape (n, classes).
    """
    from sklearn.metrics import accuracy_score, average_precision_score, f1_score, roc_auc_score

    predicted = logits.argmax(axis=1)
    found = {
        "macro_f1": float(
            f1_score(gold, predicted, labels=np.arange(logits.shape[1]), average="macro", zero_division=0)
        ),
        "accuracy": float(accuracy_score(gold, predicted)),
    }
    if logits.shape[1] == 2:
        margin = logits[:, 1] - logits[:, 0]
        one_class = len(np.unique(gold)) < 2
        found["auroc"] = 0.5 if one_class else float(roc_auc_score(gold, margin))
        found["auprc"] = float(gold.mean()) if one_class else float(average_precision_score(gold, margin))
    return found


def label_sets(gold: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Micro and macro F1 at probability 0.5, micro and macro AUROC, and precision at 5.

    As in Mullenbach et al., "Explainable Prediction of Medical Codes from Clinical Text" (arXiv 1802.05695, section
    4.4), macro averages are over labels; labels without both yes and no in `gold` have no AUROC and are left out of
    its mean (0.5 if none is left). Precision at 5 is the mean share of the 5 highest ranked labels that are right; with
    fewer labels than 5, of all.

    Args:
        gold: 0 or 1, shape (n, labels).
        logits: the same shape.
    """
    from sklearn.metrics import f1_score, roc_auc_score

    predicted = logits > 0
    mixed = (gold.min(axis=0) == 0) & (gold.max(axis=0) == 1)
    one_value = gold.min() == gold.max()
    top = np.argsort(-logits, axis=1, kind="stable")[:, :PRECISION_AT]
    return {
        "micro_f1": float(f1_score(gold, predicted, average="micro", zero_division=0)),
        "macro_f1": float(f1_score(gold, predicted, average="macro", zero_division=0)),
        "auroc_micro": 0.5 if one_value else float(roc_auc_score(gold.ravel(), logits.ravel())),
        "auroc_macro": float(roc_auc_score(gold[:, mixed], logits[:, mixed], average="macro")) if mixed.any() else 0.5,
        f"precision_at_{PRECISION_AT}": float(np.take_along_axis(gold, top, axis=1).mean()),
    }
