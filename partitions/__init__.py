"""Clinical corpora as labelled examples, and how those examples are spread over clients.

A reader of `partitions.corpora` gives a `Corpus` of three splits; `partitions.traits` says what each training example
is told apart by (its labels, group, document, text); a partitioner of `partitions.partitioners` turns those and a
random generator into a `Partition`, which says which examples each client holds; `partitions.statistics` describes it.
Validation and test splits are never partitioned. Nothing here knows models or training.

What readers are made of, each of use to a new one:

- `partitions.reader`: the settings that every reader has, and what it must implement;
- `partitions.files`: the files of a folder, and their lines, with errors that name file and line;
- `partitions.columns`: tables of whatever columns, whose integers stand for labels; `partitions.holdout`: a validation
  split for those that have none;
- `partitions.entities`: entities marked by position as sentences with tags;
- `partitions.examples`: checks on an example; `partitions.assembly`: a corpus of the examples of its splits;
- `partitions.overlap`: no text and no document in two splits;
- `partitions.cache`: what takes long to read is read once.
"""
