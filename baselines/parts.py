"""Parts of blocks: attention, MLP, or norms and biases, told by the names that transformers gives them."""

from collections.abc import Callable
from typing import Literal

Part = Literal["all", "attention", "mlp", "norms_and_biases"]


def is_norm_or_bias(name: str) -> bool:
    """A bias, or the scale of a normalisation (BitFit, Ben Zaken et al. 2022, arXiv 2106.10199: biases)."""
    return name.endswith(".bias") or _is_norm(name)


def is_attention(name: str) -> bool:
    """A tensor inside the attention module, a normalisation in there included."""
    return any("attn" in module or "attention" in module for module in name.lower().split(".")[:-2])


def is_mlp(name: str) -> bool:
    """A tensor of the feed-forward part: neither attention nor one of the block's own normalisations."""
    return not is_attention(name) and not _is_norm(name)


def _is_norm(name: str) -> bool:
    module = name.lower().split(".")[-2]
    return "norm" in module or module.startswith("ln")


PARTS: dict[Part, Callable[[str], bool]] = {
    "all": lambda name: True,
    "attention": is_attention,
    "mlp": is_mlp,
    "norms_and_biases": is_norm_or_bias,
}
"""What a setting names -> whether a block's parameter of this name belongs to it."""
