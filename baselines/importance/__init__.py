"""Measures of how much a block matters for a client's examples, each the name of a layer policy.

The cohort's scores are averaged by examples, and the server's choice goes back to the clients: both are counted.
"""

from baselines.importance.attention import attention
from baselines.importance.gradients import fisher, gradient_norm
from simulate.method import Measure

MEASURES: dict[str, Measure] = {
    "gradient_norm": gradient_norm,
    "fisher": fisher,
    "attention": attention,
}
"""Name of the policy -> measure."""
