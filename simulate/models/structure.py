"""Where the parts of a model are: embedding, repeated blocks, final layers, task head. Found, not listed by family."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from torch.func import functional_call
from transformers import PreTrainedModel

from simulate.models import ModelError


@dataclass(frozen=True)
class Structure:
    """The parameters of a model by part; each parameter is in exactly one part, a tied one under its first name.

    Attributes:
        blocks: names of each repeated block's parameters, from the input to the output.
        embedding: of the base model, what works before the blocks: token and position embeddings, their norm.
        final: of the base model, what works after the blocks: final norm, pooler.
        head: everything outside the base model, and what a checkpoint did not bring (a pooler, for example).
        block_path: path of the ``nn.ModuleList`` of the blocks.
        before: paths of the modules that run before the first block and hold none of them.
    """

    blocks: tuple[tuple[str, ...], ...]
    embedding: tuple[str, ...]
    final: tuple[str, ...]
    head: tuple[str, ...]
    block_path: str
    before: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All parameter names, from the input to the output."""
        return (*self.embedding, *(name for block in self.blocks for name in block), *self.final, *self.head)

    def blocks_of(self, names: Iterable[str]) -> tuple[int, ...]:
        """The numbers of the blocks that some of these parameters belong to."""
        chosen = set(names)
        return tuple(number for number, block in enumerate(self.blocks) if not chosen.isdisjoint(block))


def find_structure(model: nn.Module) -> Structure:
    """Find the parts of a transformers model, on any device, "meta" included.

    The blocks are the outermost ``nn.ModuleList`` of the base model with the most parameters. The rest of the base
    model is embedding if it is an ``nn.Embedding`` or runs before the first block, and final otherwise.

    Raises:
        ModelError: if the model has no list of blocks, or several (encoder-decoder models).
    """
    base = getattr(model, "base_model", model)
    base_path = next(path for path, module in model.named_modules() if module is base)
    path, blocks = _block_list(base)
    before = _runs_before(base, blocks)

    base_prefix = f"{base_path}." if base_path else ""
    block_path = base_prefix + path
    of_block: list[list[str]] = [[] for _ in blocks]
    embedding, final, head = [], [], []
    for name, _ in model.named_parameters():
        owner = model.get_submodule(name.rpartition(".")[0])
        if name.startswith(f"{block_path}."):
            of_block[int(name[len(block_path) + 1 :].split(".")[0])].append(name)
        elif not name.startswith(base_prefix) or name in getattr(model, "fresh_parameters", ()):
            head.append(name)
        elif isinstance(owner, nn.Embedding) or owner in before:
            embedding.append(name)
        else:
            final.append(name)
    paths = tuple(
        path
        for path, module in model.named_modules()
        if module in before and not f"{path}.".startswith(f"{block_path}.") and not block_path.startswith(f"{path}.")
    )
    return Structure(tuple(map(tuple, of_block)), tuple(embedding), tuple(final), tuple(head), block_path, paths)


def _block_list(base: nn.Module) -> tuple[str, nn.ModuleList]:
    """The path in the base model, and the module, of the list of blocks."""
    lists: dict[str, nn.ModuleList] = {}
    for path, module in base.named_modules():  # parents come before their children
        if isinstance(module, nn.ModuleList) and not any(path.startswith(f"{outer}.") for outer in lists):
            lists[path] = module
    sizes = {path: sum(p.numel() for p in module.parameters()) for path, module in lists.items()}
    if not any(sizes.values()):
        raise ModelError(f"{type(base).__name__} has no list of blocks (an nn.ModuleList); take a transformer model")
    largest = max(sizes, key=lambda path: sizes[path])
    rivals = [path for path, size in sizes.items() if 10 * size > sizes[largest]]
    if len(rivals) > 1:
        raise ModelError(
            f"{type(base).__name__} has {len(rivals)} lists of blocks ({', '.join(rivals)}); "
            "take a model with one, an encoder or a decoder"
        )
    return largest, lists[largest]


class _FirstBlock(Exception):
    """Ends a pass at the first block."""


def _runs_before(base: nn.Module, blocks: nn.ModuleList) -> set[nn.Module]:
    """The modules that a forward pass calls before the first block.

    The pass is made with every tensor replaced by one on the meta device, so that it computes nothing.
    """
    called: set[nn.Module] = set()

    def stop(module: nn.Module, _: object) -> None:
        raise _FirstBlock

    hooks = [
        module.register_forward_pre_hook(lambda module, _: called.add(module))
        for module in base.modules()
        if module is not base
    ]
    hooks.append(blocks[0].register_forward_pre_hook(stop))
    tensors = dict(base.named_parameters()) | dict(base.named_buffers())
    meta = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    width = cast(PreTrainedModel, base).get_input_embeddings().weight.shape[1]
    config = cast(PreTrainedModel, base).config
    cached, config.use_cache = getattr(config, "use_cache", False), True  # without, masks are made from values
    try:
        with torch.no_grad():
            functional_call(base, meta, kwargs={"inputs_embeds": torch.empty(1, 2, width, device="meta")})
    except (_FirstBlock, RuntimeError):  # RuntimeError: a step that needs values (longrope); what ran so far counts
        pass
    finally:
        config.use_cache = cached
        for hook in hooks:
            hook.remove()
    return called
