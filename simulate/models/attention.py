"""Which way a model looks: causal decoders see the past only, encoders and opened decoders the whole text."""

from typing import Any

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING, PreTrainedConfig, PreTrainedModel

from simulate.models import ModelError


def is_causal(config: PreTrainedConfig) -> bool:
    """Whether a configuration is of a decoder family, one pre-trained with a causal mask.

    Families that transformers knows as causal language models and not also as masked ones (BERT is both), unless the
    configuration itself says otherwise. `remove_causal_mask` does not change the answer.
    """
    if getattr(config, "is_decoder", False):
        return True
    if getattr(config, "use_bidirectional_attention", False):  # EmbeddingGemma
        return False
    return type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING


def remove_causal_mask(model: PreTrainedModel) -> None:
    """Let every token of a causal model see the whole text (label-supervised LLaMA, arXiv 2310.01208).

    There are two switches: masks are made by what the configuration says, and where none is made because nothing is
    padded, the attention module decides.

    Raises:
        ModelError: if the model's attention has no such switch.
    """
    attentions: list[Any] = [module for module in model.modules() if getattr(module, "is_causal", False)]
    if not attentions:
        raise ModelError(f"{type(model).__name__} cannot be made bidirectional; set model.bidirectional=false")
    model.config.is_causal = False
    model.base_model.config.is_causal = False
    for module in attentions:
        module.is_causal = False
