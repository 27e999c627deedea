"""The partitioners an experiment can name as ``partition.name``, each loaded when it is used.

To add one: write a module here with a class on `partitions.partitioners.base.Partitioner` (or, to skew by label, group
or cluster, on `partitions.partitioners.skew.SkewPartitioner`) whose fields are its settings and whose ``shares`` says
in which shares the clients hold each class, and register ``"name": "module:Class"`` below. The first line of the
module's docstring is what ``skipfl list`` shows.
"""

PARTITIONERS: dict[str, str] = {
    "iid": "partitions.partitioners.iid:Iid",
    "dirichlet": "partitions.partitioners.dirichlet:Dirichlet",
    "dirichlet-per-client": "partitions.partitioners.dirichlet_per_client:DirichletPerClient",
    "pathological": "partitions.partitioners.pathological:Pathological",
    "quantity": "partitions.partitioners.quantity:Quantity",
    "natural": "partitions.partitioners.natural:Natural",
}
