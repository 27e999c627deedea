"""The server optimizers an experiment can name as ``server.name``, one file a family.

To add one, write a file with a subclass of `simulate.server_optimizer.ServerOptimizer` and add its line here.
"""

SERVER_OPTIMIZERS: dict[str, str] = {
    "average": "baselines.server.average:Average",
    "momentum": "baselines.server.momentum:FedAvgM",
    "adagrad": "baselines.server.adaptive:FedAdagrad",
    "adam": "baselines.server.adaptive:FedAdam",
    "yogi": "baselines.server.adaptive:FedYogi",
}
"""Name in the configuration -> where the class is."""
