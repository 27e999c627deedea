"""The frozen prefix of a model: the blocks below the first trained one, which can be run apart from the rest."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from simulate.models.structure import Structure

Inputs = Mapping[str, torch.Tensor]


def frozen_blocks(structure: Structure, changing: set[str]) -> tuple[int, str]:
    """How many blocks lie below all that ever changes, at most all but one; and where there are none, why.

    Args:
        structure: of the model.
        changing: names of all tensors that are trained or written to at some time of the run.
    """
    if not changing.isdisjoint(structure.embedding):
        return 0, "the embeddings are trained"
    trained = structure.blocks_of(changing)
    if trained and trained[0] == 0:
        return 0, "the lowest block is trained"
    depth = trained[0] if trained else len(structure.blocks) - 1
    return depth, "" if depth else "the model has one block"


class _Entered(Exception):
    """Ends a pass at the first block above the prefix."""


class Prefix:
    """Splits the forward pass of a transformers model before one of its blocks.

    The model computes everything around its blocks (masks, positions) as always; only the hidden states that enter the
    block are taken, or given. That makes it independent of the family.

    Args:
        model: the model, which stays as it is between calls.
        structure: of the model.
        blocks: how many blocks the prefix has, fewer than the model.
    """

    def __init__(self, model: PreTrainedModel, structure: Structure, blocks: int) -> None:
        self.model = model
        every = list(model.get_submodule(structure.block_path).children())
        self.below, self.entry, self.last = every[:blocks], every[blocks], every[-1]

    @torch.no_grad()
    def states(self, batch: Inputs) -> torch.Tensor:
        """The hidden states that enter the first block above the prefix, (texts, tokens, width), without dropout."""
        with self._evaluating():
            return self._states(batch)

    def _states(self, batch: Inputs) -> torch.Tensor:
        """The same with the dropout that the model has as it is now."""
        taken: list[torch.Tensor] = []

        def take(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            taken.append(args[0] if args else kwargs["hidden_states"])
            raise _Entered

        handle = self.entry.register_forward_pre_hook(take, with_kwargs=True)
        try:
            self.model(**batch)
        except _Entered:
            pass
        finally:
            handle.remove()
        return taken[0]

    def width(self) -> int:
        """Of the hidden states."""
        one = torch.ones(1, 1, dtype=torch.long, device=next(self.model.parameters()).device)
        return self.states({"input_ids": one, "attention_mask": one}).shape[-1]

    def outputs(self, batch: Inputs, states: torch.Tensor) -> Any:
        """What the model gives for a batch, from the hidden states that `states` gave for it."""
        with self._entered_with(states):
            return self.model(**batch)

    @torch.no_grad()
    def disagreement(self, pad: int) -> str:
        """Why the two halves together are not the whole; empty where they are.

        Tried on two short texts, one of them padded: in evaluation mode, in which blocks that hand on more than hidden
        states differ, and with the dropout that the model has as it is now, none of which may lie below.
        """
        name = type(self.model).__name__
        rope = getattr(self.model.config, "rope_parameters", None) or {}
        if isinstance(rope, Mapping) and rope.get("rope_type") == "longrope":
            return f"positions in {name} depend on the longest text of a batch"
        device = next(self.model.parameters()).device
        ids = torch.tensor([[1, 2, 3, 4, 5], [5, 4, 1, pad, pad]], device=device)
        mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], device=device)
        batch, kept = {"input_ids": ids, "attention_mask": mask}, mask[..., None]
        last: list[torch.Tensor] = []
        handle = self.last.register_forward_hook(lambda module, args, output: last.append(output))
        try:
            states = self.states(batch)
            with self._evaluating():
                self.model(**batch)
                self.outputs(batch, states * kept)
            in_training = self._states(batch)
            whole, halves = (output * kept for output in last)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # whatever a family does when its blocks are passed by
            return f"the blocks of {name} cannot be run apart ({type(error).__name__})"
        finally:
            handle.remove()
        tolerance = 1e-4 if whole.dtype == torch.float32 else 3e-2
        if not (halves - whole).norm() <= tolerance * whole.norm():
            return f"the blocks of {name} hand on more than hidden states"
        if not ((in_training - states) * kept).norm() <= tolerance * (states * kept).norm():
            return f"{name} has dropout below the trained blocks that it cannot be rid of"
        return ""

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Within the block nothing is in training mode."""
        training = [module for module in self.model.modules() if module.training]
        self.model.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True

    @contextmanager
    def _entered_with(self, states: torch.Tensor) -> Iterator[None]:
        """Within the block, the blocks of the prefix do nothing, but for the last, which gives these states."""

        def give(*args: Any, **kwargs: Any) -> torch.Tensor:
            return states

        for block in self.below:
            block.forward = give if block is self.below[-1] else _pass_on
        try:
            yield
        finally:
            for block in self.below:
                del block.forward


def _pass_on(hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    return hidden_states
