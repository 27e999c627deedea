"""Long examples: windows, which window labels a word, and how predictions of windows are merged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulate.clients.tasks import Classification, Multilabel, Ner
from simulate.models import ModelError
from simulate.models.backbone import ModelSettings
from simulate.models.encoded import IGNORED, Encoded
from simulate.models.tokenize import _encode_texts, _encode_words
from simulate.models.windows import best_window, head_and_tail, window_starts
from tests.simulate.test_models import NUMBERS, word_piece


def test_starts_by_hand() -> None:
    """Ten places in windows of four, begun two apart: 0, 2, 4, 6; three apart: 0, 3, 6; four apart: 0, 4, 6."""
    assert window_starts(10, 4, 2).tolist() == [0, 2, 4, 6]
    assert window_starts(10, 4, 3).tolist() == [0, 3, 6]
    assert window_starts(10, 4, 4).tolist() == [0, 4, 6]
    assert window_starts(4, 4, 2).tolist() == window_starts(0, 4, 2).tolist() == [0]


def test_head_and_tail_by_hand() -> None:
    assert head_and_tail(9, 5).tolist() == [0, 1, 2, 7, 8]
    assert head_and_tail(5, 5).tolist() == [0, 1, 2, 3, 4]


def test_best_window_by_hand() -> None:
    """Windows 0-3, 2-5 and 4-7 of eight places.

    Both ways, place 2 sees 1 to its right in the first window and 0 to its left in the second; place 3 sees 0 and 1.
    The first and last places lie at the border of the text, which hides nothing. One way only the left counts, so that
    a place belongs to the first window that holds it.
    """
    places, starts = np.arange(8), np.array([0, 2, 4])
    assert best_window(places, starts, 8, 4, causal=False).tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    assert best_window(places, starts, 8, 4, causal=True).tolist() == [0, 0, 0, 0, 1, 1, 2, 2]


@given(st.integers(0, 60), st.integers(1, 20), st.integers(1, 20), st.booleans())
def test_windows_cover_and_follow_each_other(length: int, room: int, stride: int, causal: bool) -> None:
    starts = window_starts(length, room, min(stride, room))
    assert (np.diff(starts) > 0).all()
    assert (np.diff(starts) <= room).all()
    assert starts[0] == 0
    assert starts[-1] + room >= length
    best = best_window(np.arange(length), starts, length, room, causal)
    assert (np.diff(best) >= 0).all()
    inside = np.arange(length) - starts[best]
    assert ((inside >= 0) & (inside < room)).all()


@given(st.lists(st.integers(0, 40), min_size=1, max_size=4), st.integers(1, 6), st.booleans())
def test_every_word_is_labelled_once_in_order(sizes: list[int], stride: int, causal: bool) -> None:
    rng = np.random.default_rng(sum(sizes))
    words = [["painfully" if rng.random() < 0.3 else "no" for _ in range(size)] for size in sizes]
    tags = [[["O", "B-problem"][rng.integers(2)] for _ in sentence] for sentence in words]
    settings = ModelSettings(max_length=8, overflow="windows", stride=stride)
    encoded = _encode_words(words, tags, NUMBERS, word_piece(), settings, causal)
    assert (encoded.truncated, encoded.lost_words, len(encoded)) == (0, 0, len(sizes))
    assert encoded.lengths.max() <= 8
    assert encoded.labels[encoded.labels != IGNORED].tolist() == encoded.gold.tolist()


def test_a_perfect_prediction_of_windows_scores_one() -> None:
    """Fifteen words in windows of six sub-words; the labels that stand in the windows are all there is to predict."""
    words, tags = [["pain"] * 15, ["fever"]], [["O", "B-problem", "I-problem"] * 5, ["B-problem"]]
    settings = ModelSettings(max_length=8, overflow="windows")
    encoded = _encode_words(words, tags, NUMBERS, word_piece(), settings, causal=False)
    assert encoded.in_windows == 1
    assert encoded.window_offsets.tolist() == [0, 4, 5]  # beginning at 0, 3, 6, 9
    parts = [encoded.labels[a:b] for a, b in zip(encoded.offsets, encoded.offsets[1:], strict=False)]
    predictions = [part[part != IGNORED] for part in parts]
    scores = Ner(["problem"]).score(encoded, predictions)
    assert scores["f1"] == 1.0
    predictions[0] = np.zeros_like(predictions[0])
    assert 0 < Ner(["problem"]).score(encoded, predictions)["recall"] < 1


def test_texts_in_windows_by_hand() -> None:
    """Nine words in windows of six: 0-5 and 3-8; the label stands at each."""
    texts = ["pain " * 9, "no pain"]
    settings = ModelSettings(max_length=8, overflow="windows")
    encoded = _encode_texts(texts, np.array([1, 0]), word_piece(), settings)
    assert encoded.window_offsets.tolist() == [0, 2, 3]
    assert encoded.labels.tolist() == [1, 1, 0]
    assert encoded.example_lengths.tolist() == [16, 4]
    assert encoded.windows(np.array([1, 0])).tolist() == [2, 0, 1]
    # The first text's windows vote 3 to 0 and 0 to 1 for the classes: 1.5 to 0.5 on average.
    logits = [np.array([3.0, 0.0]), np.array([0.0, 1.0]), np.array([1.0, 0.0])]
    scores = Classification(["no", "yes"]).score(encoded, logits)
    assert scores["accuracy"] == 0.5
    logits[1] = np.array([0.0, 4.0])
    assert Classification(["no", "yes"]).score(encoded, logits) == {
        "macro_f1": 1.0,
        "accuracy": 1.0,
        "auroc": 1.0,
        "auprc": 1.0,
    }


def test_head_and_tail_of_a_text() -> None:
    """Room for six of "no no no no pain pain pain pain": three of each."""
    settings = ModelSettings(max_length=8, overflow="head_tail")
    encoded = _encode_texts(["no " * 4 + "pain " * 4], np.array([0]), word_piece(), settings)
    assert encoded.ids.tolist() == [2, 4, 4, 4, 5, 5, 5, 3]
    assert encoded.truncated == 1


def test_label_sets_have_a_row_a_window() -> None:
    gold = np.array([[1, 0], [0, 0]])
    settings = ModelSettings(max_length=8, overflow="windows")
    encoded = _encode_texts(["pain " * 9, "no pain"], gold, word_piece(), settings)
    assert encoded.labels.tolist() == [[1, 0], [1, 0], [0, 0]]
    logits = [np.array([2.0, -1.0]), np.array([-1.0, -1.0]), np.array([-1.0, -1.0])]
    assert Multilabel(["a", "b"]).score(encoded, logits)["micro_f1"] == 1.0


def test_settings_that_do_not_fit() -> None:
    words, tags = [["pain"]], [["O"]]
    with pytest.raises(ModelError, match=r"model.overflow = head_tail is for texts; for ner choose windows or head"):
        _encode_words(words, tags, NUMBERS, word_piece(), ModelSettings(overflow="head_tail"), causal=False)
    settings = ModelSettings(max_length=8, overflow="windows", stride=7)
    with pytest.raises(ModelError, match=r"model.stride = 7, but a window holds 6 sub-words"):
        _encode_texts(["pain"], np.array([0]), word_piece(), settings)


def test_saved_and_opened_is_the_same(tmp_path) -> None:
    import pickle

    settings = ModelSettings(max_length=8, overflow="windows")
    encoded = _encode_texts(["pain " * 9, "no"], np.array([[1, 0], [0, 1]]), word_piece(), settings)
    encoded.save(tmp_path)
    opened = Encoded.open(tmp_path)
    for name in ("ids", "offsets", "window_offsets", "labels", "gold", "word_offsets"):
        assert np.array_equal(getattr(opened, name), getattr(encoded, name))
        assert getattr(opened, name).dtype == getattr(encoded, name).dtype
        assert not getattr(opened, name).flags.owndata
    assert (opened.truncated, opened.lost_words) == (0, 0)
    pickled = pickle.dumps(opened)
    assert len(pickled) < 400  # the path, not the arrays
    assert pickle.loads(pickled).ids.tolist() == encoded.ids.tolist()
