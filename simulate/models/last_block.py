"""The last block of a model whose task head reads one token of each text, computed for these tokens alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel

from simulate.models.structure import Structure

FAMILIES = {"llama", "mistral", "qwen2", "gemma"}
"""Those whose blocks do what `_forward` does, for texts of any length, in training too."""


class LastBlock:
    """The last block of a decoder of `FAMILIES` under a head that classifies texts by their last token.

    The other tokens matter to it as keys and values only: their queries, attention and feed-forward layer lead to
    nothing that anyone reads. What is read is as before, but for float rounding and the draws of attention dropout; the
    rest of what the block hands on is zero.

    Args:
        model: the model, which stays as it is between calls.
        structure: of the model.
    """

    def __init__(self, model: PreTrainedModel, structure: Structure) -> None:
        self.model = model
        self.block: Any = list(model.get_submodule(structure.block_path).children())[-1]
        self.read = torch.empty(0, dtype=torch.long)  # which token of each text

    @torch.no_grad()
    def fits(self) -> bool:
        """Whether the model is one for which this holds: by its family, and tried on two short texts, one padded."""
        config = self.model.config
        if config.model_type not in FAMILIES or config._attn_implementation != "sdpa" or config.pad_token_id is None:
            return False
        pad = config.pad_token_id
        device = next(self.model.parameters()).device
        texts = [[1, 2, 3, 4, 5], [5, 4, 1, pad, pad]]
        batch = {"input_ids": torch.tensor(texts, device=device)}
        batch["attention_mask"] = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], device=device)
        try:
            whole = self.model(**batch).logits
            with self.reading(batch["input_ids"]):
                alone = self.model(**batch).logits
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception:  # whatever a method has made of the block
            return False
        return whole.shape == alone.shape and bool((alone - whole).norm() <= 1e-4 * whole.norm())

    @contextmanager
    def reading(self, ids: torch.Tensor) -> Iterator[None]:
        """Within the block of code, the model computes only what is read of texts, int64 of (texts, longest).

        Transformers reads the last token that is no padding token.
        """
        places = torch.arange(ids.shape[1], device=ids.device)
        self.read = (places * (ids != self.model.config.pad_token_id)).argmax(-1)
        computed_twice = self.block.gradient_checkpointing
        self.block.forward, self.block.gradient_checkpointing = self._forward, False  # the second would come too late
        try:
            yield
        finally:
            self.block.gradient_checkpointing = computed_twice
            del self.block.forward

    def _forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        **_: Any,
    ) -> torch.Tensor:
        """What the block's own `forward` does, with one query for each text."""
        assert position_embeddings is not None
        block, attention, read = self.block, self.block.self_attn, self.read
        texts, tokens, _width = hidden_states.shape
        each = torch.arange(texts, device=read.device)
        cos, sin = (part.expand(texts, -1, -1) for part in position_embeddings)
        entering = block.input_layernorm(hidden_states)

        query = _heads(attention.q_proj(entering[each, read])[:, None], attention.head_dim)
        query = _rotated(query, cos[each, read][:, None], sin[each, read][:, None])
        # the queries of a group of heads that share keys and values, as if they were those of several tokens
        query = query.reshape(texts, -1, attention.num_key_value_groups, attention.head_dim)
        key = _rotated(_heads(attention.k_proj(entering), attention.head_dim), cos, sin)
        value = _heads(attention.v_proj(entering), attention.head_dim)
        if attention_mask is not None:
            seen = attention_mask.expand(texts, -1, -1, -1)[each, :, read][:, :, None]
        elif attention.is_causal:
            seen = (torch.arange(tokens, device=read.device) <= read[:, None])[:, None, None]
        else:
            seen = None
        attended = scaled_dot_product_attention(
            query,
            key,
            value,
            seen,
            dropout_p=attention.attention_dropout if attention.training else 0.0,
            scale=attention.scaling,
        )
        stream = hidden_states[each, read] + attention.o_proj(attended.reshape(texts, -1))
        stream = stream + block.mlp(block.post_attention_layernorm(stream))
        return torch.zeros_like(hidden_states, dtype=stream.dtype).index_put_((each, read), stream)


def _heads(projected: torch.Tensor, width: int) -> torch.Tensor:
    """(texts, tokens, heads x width) as (texts, heads, tokens, width)."""
    return projected.unflatten(-1, (-1, width)).transpose(1, 2)


def _rotated(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding; the angles are (texts, tokens, width of a head)."""
    first, second = heads.chunk(2, dim=-1)
    return heads * cos[:, None] + torch.cat((-second, first), dim=-1) * sin[:, None]
