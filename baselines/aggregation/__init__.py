"""The aggregations an experiment can name as ``aggregation.name``, one file each.

To add one, write a file with a subclass of `simulate.aggregator.Aggregator` and add its line here.
"""

AGGREGATIONS: dict[str, str] = {
    "mean": "baselines.aggregation.mean:Mean",
    "median": "baselines.aggregation.median:Median",
    "trimmed_mean": "baselines.aggregation.trimmed_mean:TrimmedMean",
    "norm_bound": "baselines.aggregation.norm_bound:NormBound",
}
"""Name in the configuration -> where the class is."""
