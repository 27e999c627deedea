"""How metrics, bytes and savings are worded, the same in tables and figures."""

from typing import Any

import pandas as pd

METRIC_NAMES = {"f1": "entity F1", "macro_f1": "macro F1", "accuracy": "accuracy"}


def metric_name(metric: str) -> str:
    """The printed name of a metric of the records; ``f1`` there is the strict micro F1 over entities."""
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


def byte_count(count: float) -> str:
    """Bytes to three significant digits in decimal units: 1 kB = 1e3 B, 1 MB = 1e6 B, 1 GB = 1e9 B."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def change(saving: float) -> str:
    """A saving in percent as the change it makes to the bytes: 70.5 gives ``"−70.5 %"``, 0 gives ``"±0 %"``."""
    return f"{-saving:+.1f} %".replace("-", "−") if abs(saving) >= 0.05 else "±0 %"


def with_words(label: str, words: str) -> str:
    """A method's label with more in its brackets: ``"LoRA (rank 8)", "lr 0.1"`` gives ``"LoRA (rank 8, lr 0.1)"``."""
    return f"{label[:-1]}, {words})" if label.endswith(")") else f"{label} ({words})"


def with_saving(label: str, saving: float) -> str:
    """A method's label with its change in bytes: ``"LoRA (rank 16)", 99.1`` gives ``"LoRA (rank 16, −99.1 %)"``.

    Args:
        saving: bytes saved, in percent; NaN leaves the label as it is.
    """
    return label if pd.isna(saving) else with_words(label, change(saving))


def setting(key: str, value: Any) -> str:
    """A setting as a label says it: ``"train.clip_norm", None`` gives ``"clip norm none"``."""
    shown = value if isinstance(value, list) else [value]
    words = key.removeprefix("train.").removeprefix("method.").replace(".", " ").replace("_", " ")
    return f"{words} {'/'.join(_value(part) for part in shown)}"


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def denominators(rows: pd.DataFrame) -> list[str]:
    """One sentence for each denominator of the savings in ``rows`` (columns ``label, saving, saving_denominator``)."""
    saved = rows.dropna(subset=["saving"])
    several = saved["saving_denominator"].nunique() > 1
    notes = []
    for denominator, group in saved.groupby("saving_denominator", sort=False):
        whose = f" of {', '.join(group['label'])}" if several else ""
        notes.append(f"Saving{whose}: bytes against {denominator}.")
    return notes
