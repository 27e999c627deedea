"""Metrics on numbers derived by hand."""

import numpy as np
import pytest

from simulate.clients import scores


def test_entities_are_exact_spans_of_their_type() -> None:
    """Gold: one problem of two words, one test. Predicted: the problem cut short, the test right: 1 of 2 both ways."""
    gold = [["B-problem", "I-problem", "O"], ["B-test"]]
    predicted = [["B-problem", "O", "O"], ["B-test"]]
    found = scores.entities(gold, predicted, ("problem", "test"))
    assert found == {"f1": 0.5, "precision": 0.5, "recall": 0.5, "f1_problem": 0.0, "f1_test": 1.0}


def test_nothing_to_find_and_nothing_found() -> None:
    assert set(scores.entities([["O"]], [["O"]], ("problem",)).values()) == {0.0}


def test_two_classes_are_also_ranked() -> None:
    """Margins 2, 1, -1, -2 with gold 1, 0, 1, 0.

    Of the four pairs (positive, negative) three are in order: AUROC 3/4. Down the ranking precision at the positives is
    1/1 and 2/3, each adding half the recall: AUPRC 5/6. Predicted 1, 1, 0, 0: F1 of either class 1/2.
    """
    logits = np.array([[0.0, 2.0], [0.0, 1.0], [0.0, -1.0], [0.0, -2.0]])
    found = scores.classes(np.array([1, 0, 1, 0]), logits)
    assert found == pytest.approx({"macro_f1": 0.5, "accuracy": 0.5, "auroc": 3 / 4, "auprc": 5 / 6})


def test_a_single_class_cannot_be_ranked() -> None:
    found = scores.classes(np.array([0, 0]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert (found["auroc"], found["auprc"]) == (0.5, 0.0)


def test_three_classes_have_no_ranking() -> None:
    assert set(scores.classes(np.array([0, 1, 2]), np.eye(3))) == {"macro_f1", "accuracy"}


def test_label_sets_by_hand() -> None:
    """Two texts, three labels; predicted yes where the logit is above 0.

    Gold 110 / 010, predicted 101 / 010: of 3 gold and 3 predicted labels 2 agree, micro F1 2/3. By label: 1, 2/3 (one
    found of two), 0: macro 5/9. The first label is the only one with both yes and no among the texts, and it is ranked
    right: macro AUROC 1. With three labels the first five are all: precision (2/3 + 1/3) / 2. Of the nine pairs of a
    yes {2, -1, 3} and a no {1, -2, -3}, 8 are in order.
    """
    gold = np.array([[1, 1, 0], [0, 1, 0]])
    logits = np.array([[2.0, -1.0, 1.0], [-2.0, 3.0, -3.0]])
    assert scores.label_sets(gold, logits) == pytest.approx(
        {
            "micro_f1": 2 / 3,
            "macro_f1": 5 / 9,
            "auroc_micro": 8 / 9,
            "auroc_macro": 1.0,
            "precision_at_5": 0.5,
        }
    )


def test_precision_at_five_of_seven() -> None:
    gold = np.array([[1, 0, 0, 0, 1, 1, 1]])
    logits = np.array([[7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]])
    assert scores.label_sets(gold, logits)["precision_at_5"] == pytest.approx(2 / 5)
