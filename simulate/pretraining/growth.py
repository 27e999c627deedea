"""The model and its growth in depth by stacking.

Gong et al., "Efficient Training of BERT by Progressively Stacking" (ICML 2019), Section 3: a shallow model is trained,
its layers are copied on top of themselves, and training goes on; shallow steps are cheap, and the deep model starts
from useful layers.
"""

import copy

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from simulate.pretraining.settings import Pretraining
from simulate.seeds import torch_draws


def model_config(settings: Pretraining, tokenizer: PreTrainedTokenizerFast, layers: int) -> LlamaConfig:
    """The configuration of tiny-llama with a number of decoder layers: LLaMA 3.2-1B at 1/16 of its width."""
    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=settings.vocabulary,
        hidden_size=settings.hidden,
        intermediate_size=settings.mlp,
        num_hidden_layers=layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=1,
        head_dim=settings.hidden // settings.heads,
        max_position_embeddings=tokenizer.model_max_length,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def untrained(config: LlamaConfig, seed: int) -> LlamaForCausalLM:
    """The model with random weights drawn from the seed."""
    with torch_draws(seed, "weights"):
        return LlamaForCausalLM(config).float()


@torch.no_grad()
def stack(model: LlamaForCausalLM, layers: int) -> LlamaForCausalLM:
    """A deeper model: layer `i` is a copy of layer ``i % depth`` of the given one, all else is copied as it is.

    Raises:
        ValueError: if `layers` is not a multiple of the depth.
    """
    depth = model.config.num_hidden_layers
    if layers % depth:
        raise ValueError(f"cannot stack {depth} layers to {layers}: expected a multiple of {depth}")
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = layers
    grown = untrained(config, seed=0)
    grown.model.embed_tokens.load_state_dict(model.model.embed_tokens.state_dict())
    grown.model.norm.load_state_dict(model.model.norm.state_dict())
    for index, layer in enumerate(grown.model.layers):
        layer.load_state_dict(model.model.layers[index % depth].state_dict())
    return grown
