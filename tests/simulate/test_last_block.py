"""The last block, computed for the tokens that are read: the same loss and gradients as of the whole model."""

from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from simulate.models.attention import remove_causal_mask
from simulate.models.last_block import LastBlock
from simulate.models.prefix import Prefix
from simulate.models.structure import find_structure
from tests.runs import experiment, run, timeless
from tests.simulate.test_models import EACH_HEAD, TAGS, config_of

HEADS = {"ner": AutoModelForTokenClassification, "classification": AutoModelForSequenceClassification}
PAD = 0


def model_of(family: str, task: str, bidirectional: bool = False) -> nn.Module:
    torch.manual_seed(0)
    config = config_of(family, id2label=dict(enumerate(TAGS)), use_cache=False)
    config.pad_token_id = PAD
    model = HEADS[task].from_config(config, dtype=torch.float32).eval()
    if bidirectional:
        remove_causal_mask(model)
    return model


def batch_of(lengths: list[int]) -> dict[str, torch.Tensor]:
    """Random texts, padded on the right."""
    ids = torch.full((len(lengths), max(lengths)), PAD)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(3, 300, (length,), generator=torch.Generator().manual_seed(row))
    return {"input_ids": ids, "attention_mask": (ids != PAD).long()}


def gradients(model: nn.Module, output: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    labels = torch.arange(len(output)) % output.shape[-1]
    nn.functional.cross_entropy(output, labels).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def require_equal(model: nn.Module, last: LastBlock, batch: dict[str, torch.Tensor]) -> None:
    """Logits and gradients agree within 1e-5, relative to all of them."""
    whole = model(**batch).logits
    expected = gradients(model, whole)
    with last.reading(batch["input_ids"]):
        alone = model(**batch).logits
    found = gradients(model, alone)
    assert (alone - whole).norm() <= 1e-5 * whole.norm()
    assert found.keys() == expected.keys()
    norm = torch.stack([gradient.norm() for gradient in expected.values()]).norm()
    assert norm > 1e-3
    assert torch.stack([(found[name] - expected[name]).norm() for name in expected]).norm() <= 1e-5 * norm


@EACH_HEAD
def test_it_gives_the_same_or_is_not_used(family: str, task: str) -> None:
    model = model_of(family, task)
    last = LastBlock(model, find_structure(model))
    used = task == "classification" and family in {"llama", "mistral", "qwen2", "gemma"}
    assert last.fits() == used
    assert "forward" not in vars(last.block)
    if used:
        for lengths in ([5, 5], [7, 3, 1, 6], [4]):
            require_equal(model, last, batch_of(lengths))


def test_a_decoder_that_sees_the_whole_text() -> None:
    model = model_of("llama", "classification", bidirectional=True)
    last = LastBlock(model, find_structure(model))
    assert last.fits()
    for lengths in ([5, 5], [7, 3, 1, 6]):
        require_equal(model, last, batch_of(lengths))


def test_the_token_that_is_read_is_the_last_that_is_no_padding_token() -> None:
    """Texts that end in the padding token itself, as where the end of a text is it; nothing is masked."""
    model = model_of("llama", "classification")
    batch = batch_of([5, 5, 5])
    batch["input_ids"][0, 3:] = PAD
    batch["input_ids"][1, 2] = PAD
    batch["attention_mask"][:] = 1
    require_equal(model, LastBlock(model, find_structure(model)), batch)


def test_it_does_its_feed_forward_layer_for_one_token_a_text_and_goes_with_the_kept_prefix() -> None:
    model = model_of("llama", "classification")
    structure = find_structure(model)
    last, prefix, batch = LastBlock(model, structure), Prefix(model, structure, 1), batch_of([7, 3, 6])
    expected, states = model(**batch).logits, prefix.states(batch)
    rows = []
    hook = last.block.mlp.register_forward_hook(lambda module, args, output: rows.append(args[0].shape))
    with last.reading(batch["input_ids"]):
        found = prefix.outputs(batch, states).logits
    hook.remove()
    assert rows == [(3, model.config.hidden_size)]
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_blocks_that_do_something_else_are_found_out() -> None:
    model = model_of("llama", "classification")
    block = model.model.layers[-1]
    block.register_forward_hook(lambda module, args, output: output + args[0].mean(1, keepdim=True))
    assert LastBlock(model, find_structure(model)).fits()  # what is added outside of `forward` is added in both
    model = model_of("llama", "classification")
    block = model.model.layers[-1]
    block.mlp.register_forward_hook(lambda module, args, output: output + args[0].abs().sum())
    assert not LastBlock(model, find_structure(model)).fits()


def test_a_run_gives_the_same_with_and_without_it(tiny_decoder: Path, text_corpus: Path, tmp_path: Path) -> None:
    """Every trained tensor, the last block's queries included, and the scores; without it the block does all tokens."""
    what = experiment(tiny_decoder, text_corpus, "fedavg", train={"lr": 0.05, "optimizer": "sgd", "batch_size": 4})
    run(what, tmp_path / "with")
    with patch.object(LastBlock, "fits", return_value=False):
        run(what, tmp_path / "without")
    found, expected = (load_file(*(tmp_path / name / "model").glob("*.safetensors")) for name in ("with", "without"))
    assert any(not torch.equal(found[name], expected[name]) for name in expected)  # two ways were taken
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, rtol=1e-4, atol=1e-6), name
    scores = [timeless(tmp_path / name, "rounds").select_dtypes("number") for name in ("with", "without")]
    pd.testing.assert_frame_equal(*scores, rtol=1e-4)
