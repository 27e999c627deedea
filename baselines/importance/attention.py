"""Importance of blocks by attention: how much of it falls on the tokens that the task is about."""

from collections.abc import Iterable

import torch
from torch import nn
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedModel

from simulate.clients.training import Batch, LossOf
from simulate.method import MethodError
from simulate.models.attention import is_causal
from simulate.models.encoded import IGNORED
from simulate.models.structure import Structure


@torch.no_grad()
def attention(model: nn.Module, structure: Structure, batches: Iterable[Batch], loss: LossOf) -> list[float]:
    """The blocks whose attention falls on the task's tokens (SAFL).

    Li and Zhang 2025, "Selective Attention Federated Learning" (arXiv 2504.11793, section III):
    ``A_l = sum_h sum_i sum_j a_hij [token j is relevant]``, here divided by heads and tokens i, so that it is the mean
    share of a token's attention. Relevant are, for ner, the labelled sub-words of entities; for texts the token that
    the head reads: the first of an encoder, the last of a decoder that sees the whole text. Behind a causal mask no
    other token attends to the last one, so that `check` refuses that.

    Raises:
        MethodError: if the model does not give its attention.
    """
    assert isinstance(model, PreTrainedModel)
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")  # the other ways never form the matrix
    mass = torch.zeros(len(structure.blocks), dtype=torch.float64)
    tokens = 0
    try:
        for batch in batches:
            labels, mask = batch.pop("labels"), batch["attention_mask"].bool()
            output = model(**batch, output_attentions=True)
            found = output.attentions
            if not found or len(found) != len(structure.blocks):
                raise MethodError(f"method.policy = attention, but {type(model).__name__} does not give its attention")
            relevant = _entities(labels) if output.logits.dim() == 3 else _pooled(mask, is_causal(model.config))
            for block, weights in enumerate(found):
                mass[block] += attention_mass(weights, relevant, mask).cpu()
            tokens += int(mask.sum())
    finally:
        model.set_attn_implementation(before)
    return (mass / max(1, tokens)).tolist()


def attention_mass(weights: torch.Tensor, relevant: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The attention that real tokens give to relevant ones, summed over the tokens, averaged over the heads; float64.

    Args:
        weights: (texts, heads, tokens that attend, tokens that are attended to), each row a distribution.
        relevant: (texts, tokens), whether a token is relevant.
        mask: (texts, tokens), whether a token is none of padding.
    """
    given = (weights.double().mean(dim=1) * relevant[:, None, :]).sum(dim=-1)
    return (given * mask).sum()


def check(model: nn.Module) -> None:
    """Refuse a model in which attention says nothing of what the task is about.

    Raises:
        MethodError: if it classifies texts by the last token of a causal decoder.
    """
    assert isinstance(model, PreTrainedModel)
    opened = getattr(model.config, "is_causal", True) is False  # by `model.bidirectional`
    if opened or not is_causal(model.config):
        return
    if type(model) is MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(type(model.config), None):
        raise MethodError(
            "method.policy = attention: no token of a causal decoder but the last itself attends to the last, which "
            "the classification reads; take an encoder, model.bidirectional=true, ner, or another policy"
        )


def _entities(labels: torch.Tensor) -> torch.Tensor:
    """The labelled sub-words of entities, (sentences, tokens); the outside tag is number 0."""
    return (labels != IGNORED) & (labels != 0)


def _pooled(mask: torch.Tensor, causal: bool) -> torch.Tensor:
    """The token of each text that the head reads, (texts, tokens)."""
    place = mask.sum(dim=1) - 1 if causal else torch.zeros(len(mask), dtype=torch.long, device=mask.device)
    return torch.arange(mask.shape[1], device=mask.device) == place[:, None]
