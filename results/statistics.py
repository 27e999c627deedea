"""What several seeds say together: mean, spread, and how far the mean may be off."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


def mean(values: ArrayLike) -> float:
    """The arithmetic mean.

    Raises:
        ValueError: if there is no value.
    """
    return float(np.mean(_sample(values)))


def standard_deviation(values: ArrayLike) -> float:
    """The sample standard deviation, sqrt(sum (x - mean)² / (n - 1)); NaN for a single value.

    Raises:
        ValueError: if there is no value.
    """
    sample = _sample(values)
    return float(np.std(sample, ddof=1)) if sample.size > 1 else float("nan")


def confidence_interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Student's t-interval of the mean, mean ± t(n - 1) · sd / sqrt(n); (NaN, NaN) for a single value.

    It takes the seeds for independent draws from a normal distribution. With three seeds it is 2.5 standard deviations
    to each side: wide, because three seeds say little.

    Raises:
        ValueError: if there is no value.
    """
    sample = _sample(values)
    if sample.size == 1:
        return float("nan"), float("nan")
    quantile = float(stats.t.ppf((1 + confidence) / 2, df=sample.size - 1))
    half_width = quantile * standard_deviation(values) / np.sqrt(sample.size)
    return float(mean(values) - half_width), float(mean(values) + half_width)


def _sample(values: ArrayLike) -> np.ndarray:
    sample = np.asarray(values, dtype=float)
    if sample.size == 0:
        raise ValueError("no values: a statistic over seeds needs at least one run")
    return sample
