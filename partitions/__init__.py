"""Clinical corpora as labelled examples, and how those examples are spread over clients.

A reader of `partitions.corpora` gives a `Corpus` of three splits; `partitions.labels` gives each training example the
label by which it is spread; a partitioner of `partitions.partitioners` turns those labels and a random generator into
a `Partition`, which says which examples each client holds; `partitions.statistics` describes it. Validation and test
splits are never partitioned. Nothing here knows models or training.
"""
