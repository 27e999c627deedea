"""Backbones: any transformers model made of a list of blocks, its parts, its loading and its tokenization."""


class ModelError(ValueError):
    """A model that cannot be used as asked; the message names it, says what is wrong and what to do."""
