"""The settings of a pre-training run, and the files of its work folder."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from simulate.settings import Settings

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Stage(Settings):
    """One depth of the growing model: that many decoder layers for that many steps."""

    layers: Count
    steps: Count


def growing(steps: int) -> tuple[Stage, ...]:
    """4, 8 and 16 layers for a quarter, a quarter and half of the steps: two thirds of the time goes to 16 layers."""
    return Stage(layers=4, steps=steps // 4), Stage(layers=8, steps=steps // 4), Stage(layers=16, steps=steps // 2)


class Pretraining(Settings):
    """Everything that decides the weights: equal settings give equal bits on the same machine with one thread.

    Attributes:
        seed: of the synthetic notes, the order of the text, the first weights and every batch. The held-out notes are
            those of `seed + 1`.
        notes: synthetic notes to train on.
        text: folders of real text (see `simulate.pretraining.text.read_folder`).
        held_out: share of each folder's documents, its last ones, kept out of training.
        text_share: probability that a sequence is of real text, where folders were given.
        stages: growth by stacking; each depth a multiple of the one before.
        batch_tokens: tokens a step.
        lengths: sequence lengths in tokens; step `s` uses ``lengths[s % len(lengths)]``.
        peak_lr: learning rate of the plateau; 1e-3 to 3e-3 suits this width.
        warmup: steps of linear warm-up at the start of every stage.
        decay: share of all steps over which the rate falls linearly to zero at the end.
        weight_decay: AdamW's, on matrices only.
        clip: largest gradient norm.
    """

    seed: Annotated[int, Field(ge=0)] = 7
    notes: Count = 40_000
    text: tuple[Path, ...] = ()
    held_out: Share = 0.05
    text_share: Share = 0.45
    vocabulary: Annotated[int, Field(ge=300)] = 8016
    hidden: Count = 128
    mlp: Count = 512
    heads: Count = 4
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)] = growing(8000)
    batch_tokens: Count = 2048
    lengths: Annotated[tuple[Count, ...], Field(min_length=1)] = (128, 128, 128, 512)
    peak_lr: Annotated[float, Field(gt=0)] = 3e-3
    warmup: Count = 100
    decay: Share = 0.35
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    clip: Annotated[float, Field(gt=0)] = 1.0


class WorkFolder:
    """Names of what a run keeps between its steps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = folder / "settings.json"
        self.tokenizer = folder / "tokenizer"
        self.streams = folder / "streams.safetensors"
        self.state = folder / "state.safetensors"
        self.training = folder / "training.json"
        self.perplexity = folder / "perplexity.json"
        self.probe = folder / "probe.json"
