"""The corpora an experiment can name as ``corpus.name``, each loaded when it is used.

To add one: write a module here with a pydantic model (``extra="forbid"``, ``frozen=True``) whose fields are its
settings and whose ``load()`` returns a `partitions.corpus.Corpus`, and register ``"name": "module:Class"`` below. The
first line of the module's docstring is what ``skipfl list`` shows. `partitions.examples` holds the checks that every
reader of a user's own files should apply.
"""

CORPORA: dict[str, str] = {
    "jsonl": "partitions.corpora.jsonl:Jsonl",
    "synthetic-ner": "partitions.corpora.synthetic:SyntheticNer",
    "synthetic-notes": "partitions.corpora.synthetic:SyntheticNotes",
}
