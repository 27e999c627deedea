"""Clinical corpora as labelled examples, and how those examples are spread over clients.

A reader of `partitions.corpora` gives a `Corpus` of three splits; `partitions.traits` says what each training example
is told apart by (its labels, group, document, text); a partitioner of `partitions.partitioners` turns those and a
random generator into a `Partition`, which says which examples each client holds; `partitions.statistics` describes it.
Validation and test splits are never partitioned. Nothing here knows models or training.
"""
