import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.statistics import confidence_interval, mean, standard_deviation

samples = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20)


def test_three_seeds_by_hand():
    # 80, 82, 87: mean 83; squared deviations 9 + 1 + 16 = 26; 26 / 2 = 13.
    assert mean([80, 82, 87]) == 83
    assert standard_deviation([80, 82, 87]) == pytest.approx(math.sqrt(13))
    # t(0.975, 2) = 4.302653 (any t table); half width 4.302653 * sqrt(13) / sqrt(3) = 8.956686.
    assert confidence_interval([80, 82, 87]) == pytest.approx((83 - 8.956686, 83 + 8.956686), abs=1e-5)


def test_two_seeds_by_hand():
    # sd of 1 and 3 is sqrt(2); t(0.975, 1) = 12.706205; half width 12.706205 * sqrt(2) / sqrt(2).
    assert confidence_interval([1, 3]) == pytest.approx((2 - 12.706205, 2 + 12.706205), abs=1e-5)


def test_one_seed_has_no_spread():
    assert mean([5.0]) == 5.0
    assert math.isnan(standard_deviation([5.0]))
    assert all(math.isnan(bound) for bound in confidence_interval([5.0]))


def test_no_seed_is_an_error():
    with pytest.raises(ValueError, match="at least one run"):
        mean([])


@given(samples)
def test_interval_holds_the_mean_and_widens_with_confidence(values: list[float]):
    low, high = confidence_interval(values)
    wide_low, wide_high = confidence_interval(values, confidence=0.99)
    assert wide_low <= low <= mean(values) <= high <= wide_high


@given(samples, st.floats(-1e3, 1e3))
def test_shifting_the_sample_keeps_its_spread(values: list[float], shift: float):
    assert standard_deviation([v + shift for v in values]) == pytest.approx(standard_deviation(values), abs=1e-6)
