"""Local training of one virtual client on the resident model."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from simulate.models.structure import Structure
from simulate.settings import Settings

Batch = dict[str, torch.Tensor]
LossOf = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
LocalTerm = Callable[[Mapping[str, nn.Parameter]], None]


class TrainSettings(Settings):
    """Local training of one client.

    Attributes:
        optimizer: adamw or sgd; its state starts anew at each client and round.
        lr: peak learning rate.
        weight_decay: decoupled for adamw, added to the gradient for sgd.
        momentum: of sgd.
        batch_size: examples a step. Here and below an example that is read in several windows counts once for each.
        batch_tokens: sub-words a step, padding included, instead of `batch_size`: as many examples of similar length as
            fit. Memory then depends little on how long texts are.
        local_epochs: passes over the client's examples each round.
        local_steps: steps each round instead of `local_epochs`; batches go round the client's examples.
        partial_work: probability that a client of a round is too slow for all its steps and takes a number of them
            that is drawn evenly from 1 to all; what it has learned counts (the inexact local work of FedProx, Li et al.
            2020, arXiv 1812.06127, sections 3.2 and 5.2, where whole epochs are drawn). null for none.
        clip_norm: largest L2 norm of the gradient over all trained tensors; null for none.
        warmup_rounds: rounds over which the learning rate rises linearly to `lr`.
        decay: how it falls over the remaining rounds, linear or cosine to `final_lr` x lr at the last round.
        final_lr: see `decay`.
        precision: float32, or bf16: matrix products in bfloat16 (autocast), weights and optimizer in float32.
        gradient_checkpointing: keep only what enters each trained block, and compute what happens in it again in the
            backward pass: less memory, a forward pass more of time. Results are the same.
    """

    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    batch_size: Annotated[int, Field(ge=1)] = 8
    batch_tokens: Annotated[int, Field(ge=1)] | None = None
    local_epochs: Annotated[int, Field(ge=1)] = 1
    local_steps: Annotated[int, Field(ge=1)] | None = None
    partial_work: Annotated[float, Field(gt=0, le=1)] | None = None
    clip_norm: Annotated[float, Field(gt=0)] | None = 1.0
    warmup_rounds: Annotated[int, Field(ge=0)] = 0
    decay: Literal["none", "linear", "cosine"] = "none"
    final_lr: Annotated[float, Field(ge=0, le=1)] = 0.1
    precision: Literal["float32", "bf16"] = "float32"
    gradient_checkpointing: bool = False

    @model_validator(mode="after")
    def _momentum_is_of_sgd(self) -> Self:
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum = {self.momentum:g} is of sgd, {self.optimizer} has its own: set optimizer=sgd")
        return self


class DivergenceError(ArithmeticError):
    """Local training that left the finite numbers; the message names client and round."""


@dataclass(frozen=True)
class LocalResult:
    """What local training reports: steps taken, and the mean over steps of the batch loss (without local terms)."""

    steps: int
    loss: float


def learning_rate(settings: TrainSettings, round_: int, rounds: int) -> float:
    """The learning rate of a round, 1 to `rounds`: linear warm-up, then constant, linear or cosine decay."""
    if round_ <= settings.warmup_rounds:
        return settings.lr * round_ / settings.warmup_rounds
    if settings.decay == "none":
        return settings.lr
    after = max(1, rounds - settings.warmup_rounds - 1)
    progress = (round_ - settings.warmup_rounds - 1) / after
    shape = 1 - progress if settings.decay == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return settings.lr * (settings.final_lr + (1 - settings.final_lr) * shape)


def train_client(
    forward: Callable[[Batch], torch.Tensor],
    trained: Mapping[str, nn.Parameter],
    batches: Iterable[Batch],
    settings: TrainSettings,
    lr: float,
    local_term: LocalTerm,
    loss_of: LossOf,
) -> LocalResult:
    """Train in place from the values the model holds.

    Args:
        forward: the model's logits for a batch without its labels.
        trained: the parameters that the optimizer moves.
        batches: the client's batches in order.
        settings: optimizer settings.
        lr: this round's learning rate.
        local_term: adds the method's own gradient.
        loss_of: the mean loss of logits against the batch's labels.
    """
    optimizer = _optimizer(settings, list(trained.values()), lr)
    losses = []
    for batch in batches:
        labels = batch.pop("labels")
        loss = loss_of(forward(batch), labels)
        loss.backward()
        local_term(trained)
        if settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(trained.values(), settings.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    return LocalResult(len(losses), float(torch.stack(losses).double().mean()))


def _optimizer(settings: TrainSettings, parameters: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr, momentum=settings.momentum, weight_decay=settings.weight_decay, foreach=True
        )
    return torch.optim.AdamW(parameters, lr, weight_decay=settings.weight_decay, fused=True)


def train_mode(model: nn.Module, structure: Structure, trained: Iterable[str]) -> None:
    """Training mode where something is trained, evaluation mode (no dropout) in what is wholly frozen.

    A block is frozen when none of its parameters is trained; so is all that comes before the blocks (embeddings and
    their dropout) when no embedding is. The task head is always in training mode.
    """
    trained = set(trained)
    model.train()
    blocks = model.get_submodule(structure.block_path)
    for block, names in zip(blocks.children(), structure.blocks, strict=True):
        block.train(not trained.isdisjoint(names))
    if trained.isdisjoint(structure.embedding):
        for path in structure.before:
            model.get_submodule(path).eval()
