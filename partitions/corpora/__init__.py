"""The corpora an experiment can name as ``corpus.name``, each loaded when it is used.

To add one: write a module here with a class on `partitions.reader.CorpusReader` whose fields are its settings and whose
``read()`` returns a `partitions.corpus.Corpus`, and register ``"name": "module:Class"`` below. The first line of the
module's docstring is what ``skipfl list`` shows. `partitions.assembly` checks examples and lays them out.
"""

CORPORA: dict[str, str] = {
    "brat": "partitions.corpora.brat:Brat",
    "conll": "partitions.corpora.conll:Conll",
    "hub": "partitions.corpora.hub:Hub",
    "i2b2-2010": "partitions.corpora.i2b2_2010:I2b2Concepts",
    "jsonl": "partitions.corpora.jsonl:Jsonl",
    "mimic3": "partitions.corpora.mimic3:Mimic3",
    "synthetic-ner": "partitions.corpora.synthetic:SyntheticNer",
    "synthetic-notes": "partitions.corpora.synthetic:SyntheticNotes",
    "table": "partitions.corpora.table:TableFolder",
}
