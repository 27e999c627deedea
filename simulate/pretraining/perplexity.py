"""Held-out perplexity of the model, of the untrained model and of a unigram model, over the same tokens."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from simulate.pretraining.loss import next_token_nats

WINDOW = 512
"""Longest stretch of a document that is scored at once, in tokens; each stretch begins with ``<bos>``."""


def windows(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Iterator[list[int]]:
    """Token ids of each text, ``<bos>`` before and ``<eos>`` after, cut at `WINDOW`."""
    for text in texts:
        tokens = [*tokenizer(text)["input_ids"][1:], tokenizer.eos_token_id]
        for start in range(0, len(tokens), WINDOW - 1):
            yield [tokenizer.bos_token_id, *tokens[start : start + WINDOW - 1]]


@torch.no_grad()
def model_nats(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> float:
    """Summed negative log-likelihood of the texts under the model, in nats."""
    model.eval()
    return sum(next_token_nats(model, torch.tensor([window])).item() for window in windows(tokenizer, texts))


def unigram_nats(counts: np.ndarray, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> float:
    """The same under add-one smoothed token frequencies.

    Args:
        counts: how often each token id occurs in the training tokens, ``<bos>`` (which is never predicted) left out;
            shape (vocabulary,).
    """
    nats = -np.log((counts + 1) / (counts + 1).sum())
    return float(sum(nats[window[1:]].sum() for window in windows(tokenizer, texts)))


def summary(nats: float, tokens: int, size: int) -> dict[str, float]:
    """Perplexity a token, and bits a byte of UTF-8 text."""
    return {"perplexity": float(np.exp(nats / tokens)), "bits_per_byte": nats / np.log(2) / size}


def compare(
    model: LlamaForCausalLM,
    random: LlamaForCausalLM,
    counts: np.ndarray,
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[str],
) -> dict[str, object]:
    """Size of the held-out text, and `summary` of the three models on it."""
    tokens = sum(len(window) - 1 for window in windows(tokenizer, texts))
    size = sum(len(text.encode()) for text in texts)
    return {
        "documents": len(texts),
        "tokens": tokens,
        "bytes": size,
        "trained": summary(model_nats(model, tokenizer, texts), tokens, size),
        "untrained": summary(model_nats(random, tokenizer, texts), tokens, size),
        "unigram": summary(unigram_nats(counts, tokenizer, texts), tokens, size),
    }
