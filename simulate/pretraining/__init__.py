"""Pre-training of the embedded model `tiny-llama`: text, tokenizer, training, held-out perplexity, probes, model card.

Run as ``python -m simulate.pretraining train|evaluate|probe|card``.
"""
