"""The embedded corpus: clinical notes of several hospitals, generated from a seed, for two tasks and pre-training."""

from partitions.corpora.synthetic.classification import SyntheticNotes
from partitions.corpora.synthetic.ner import SyntheticNer
from partitions.corpora.synthetic.notes import notes

__all__ = ["SyntheticNer", "SyntheticNotes", "notes"]
