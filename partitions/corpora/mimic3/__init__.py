"""MIMIC-III v1.4, the clinical database of PhysioNet, in the layout of its release."""

from partitions.corpora.mimic3.reader import LeakageWarning, Mimic3

__all__ = ["LeakageWarning", "Mimic3"]
