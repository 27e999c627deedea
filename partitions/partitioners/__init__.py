"""The partitioners an experiment can name as ``partition.name``, each loaded when it is used.

To add one: write a module here with a class on `partitions.partitioners.base.Partitioner` whose fields are its
settings and whose ``assign`` gives each example a client, and register ``"name": "module:Class"`` below. The first
line of the module's docstring is what ``skipfl list`` shows.
"""

PARTITIONERS: dict[str, str] = {
    "iid": "partitions.partitioners.iid:Iid",
    "dirichlet": "partitions.partitioners.dirichlet:Dirichlet",
}
