"""The frozen prefix: what is kept of it and begun from gives what the whole model gives, in every family."""

import multiprocessing
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, modeling_layers

from partitions.cache import cache_folder
from simulate.clients.tasks import TASKS
from simulate.clients.training import train_mode
from simulate.engine.prefix_cache import PrefixCache, PrefixCacheError, PrefixCacheSettings
from simulate.engine.shared import SharedFolder, SharedFolderError
from simulate.experiment import prepare
from simulate.models import ModelError
from simulate.models.attention import is_causal, remove_causal_mask
from simulate.models.backbone import checkpoint_gradients
from simulate.models.encoded import IGNORED, Encoded, flat
from simulate.models.prefix import Prefix, frozen_blocks
from simulate.models.structure import Structure, find_structure
from tests.fault_suite import small_disk
from tests.runs import experiment, require_same_bits, run, same_results, tensors, timeless
from tests.simulate.test_models import DECODERS, EACH_HEAD, TAGS, config_of

LENGTHS = [7, 3, 7, 5, 1, 7, 6]
HEADS = {"ner": AutoModelForTokenClassification, "classification": AutoModelForSequenceClassification}


def texts(task: str) -> Encoded:
    """Random texts of `LENGTHS` sub-words, with labels."""
    rng = np.random.default_rng(0)
    ids, offsets = flat([rng.integers(3, 300, length, dtype=np.int32) for length in LENGTHS], np.int32)
    each = np.arange(len(LENGTHS) + 1)
    labels = rng.integers(0, 3, len(ids) if task == "ner" else len(LENGTHS))
    labels[1:2] = IGNORED if task == "ner" else labels[1:2]
    return Encoded(ids, offsets, each, labels, labels, offsets, 0, 0)


@dataclass
class Split:
    """A model whose blocks below `depth` are frozen, and the cache of their hidden states."""

    folder: SharedFolder
    model: nn.Module
    structure: Structure
    prefix: Prefix
    cache: PrefixCache
    task: object
    data: Encoded

    @classmethod
    def make(cls, family: str, task: str, depth: int, key: str, bidirectional: bool = False) -> "Split":
        torch.manual_seed(0)
        names = {"id2label": dict(enumerate(TAGS)), "use_cache": False}
        model = HEADS[task].from_config(config_of(family, **names), dtype=torch.float32)
        if bidirectional:
            remove_causal_mask(model)
        structure = find_structure(model)
        trained = {name for block in structure.blocks[depth:] for name in block} | {*structure.final, *structure.head}
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in trained)
        assert frozen_blocks(structure, trained) == (depth, "")
        prefix, data = Prefix(model, structure, depth), texts(task)
        train_mode(model, structure, trained)
        assert not prefix.disagreement(pad=0)
        folder, shards = SharedFolder(key), [np.arange(len(LENGTHS))]
        cache = PrefixCache(folder, PrefixCacheSettings(), {"train": data}, shards, prefix.width())
        return cls(folder, model, structure, prefix, cache, TASKS[task](TAGS if task != "ner" else ("problem",)), data)

    def batch(self, windows: list[int]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        batch = self.task.collate(self.data, np.array(windows), 0)
        return batch, batch.pop("labels")

    def keep(self, *groups: list[int]) -> None:
        for windows in groups:
            self.cache.write("train", np.array(windows), self.prefix.states(self.batch(windows)[0]))

    def gradients(self, windows: list[int], cached: bool) -> tuple[float, dict[str, torch.Tensor]]:
        """The loss of a batch and its gradient by every trained tensor, without dropout above the prefix."""
        batch, labels = self.batch(windows)
        self.model.eval()
        states = self.cache.read("train", np.array(windows))
        output = self.prefix.outputs(batch, states) if cached else self.model(**batch)
        self.model.zero_grad()
        loss = self.task.loss(output.logits, labels)
        loss.backward()
        return loss.item(), {n: p.grad.clone() for n, p in self.model.named_parameters() if p.requires_grad}


def require_equal(split: Split, windows: list[int]) -> None:
    """Loss and gradients with and without cache agree within 1e-5, relative to the whole gradient."""
    (whole, expected), (loss, found) = (split.gradients(windows, cached) for cached in (False, True))
    assert loss == pytest.approx(whole, rel=1e-5)
    assert found.keys() == expected.keys()
    norm = torch.stack([gradient.norm() for gradient in expected.values()]).norm()
    assert norm > 1e-3
    assert torch.stack([(found[name] - expected[name]).norm() for name in expected]).norm() <= 1e-5 * norm


@EACH_HEAD
def test_kept_states_give_the_same_loss_and_gradients(family: str, task: str) -> None:
    for depth in (1, 2):
        split = Split.make(family, task, depth, f"{family}-{task}-{depth}")
        split.keep([4, 1, 3], [0, 2, 5, 6])  # other neighbours and padding than in the batches below
        for windows in ([0, 2, 5], [0, 1, 6, 4], [4], [3, 3]):  # nothing padded, much padded, one sub-word, twice
            require_equal(split, windows)
        if depth == 2 and family in DECODERS and is_causal(split.model.config):
            split.folder.close()
            split = Split.make(family, task, depth, f"{family}-{task}-open", bidirectional=True)
            split.keep([4, 1, 3], [0, 2, 5, 6])
            require_equal(split, [0, 1, 6, 4])
        split.folder.close()
    assert not list(cache_folder().glob(f"run-{family}-*"))


def test_running_the_halves_leaves_the_model_as_it_was() -> None:
    split = Split.make("bert", "ner", 2, "untouched")
    train_mode(split.model, split.structure, {*split.structure.blocks[2]})
    before = {name: module.training for name, module in split.model.named_modules()}
    assert True in before.values()
    assert False in before.values()
    batch, _ = split.batch([0, 1])
    split.prefix.outputs(batch, split.prefix.states(batch))
    assert {name: module.training for name, module in split.model.named_modules()} == before
    assert not any("forward" in vars(module) or module._forward_pre_hooks for module in split.model.modules())
    split.folder.close()


def test_a_full_memory_is_no_reason_against_a_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    split = Split.make("llama", "ner", 2, "full")
    monkeypatch.setattr(split.prefix, "states", Mock(side_effect=torch.OutOfMemoryError))
    with pytest.raises(torch.OutOfMemoryError):
        split.prefix.disagreement(0)
    split.folder.close()


def test_blocks_that_hand_on_more_than_hidden_states_are_found_out() -> None:
    split = Split.make("llama", "ner", 2, "more")
    remembered = {}
    blocks = split.model.model.layers
    blocks[1].register_forward_pre_hook(lambda module, args: remembered.update(handed_on=args[0].abs().sum()))
    blocks[2].register_forward_hook(lambda module, args, output: output + remembered["handed_on"])
    assert (
        split.prefix.disagreement(pad=0) == "the blocks of LlamaForTokenClassification hand on more than hidden states"
    )
    split.folder.close()


def test_dropout_below_the_trained_blocks_is_found_out() -> None:
    split = Split.make("gpt2", "ner", 2, "dropout")
    assert "transformer.drop" in split.structure.before
    split.model.transformer.drop.train()  # as in families whose dropout is no module of its own
    assert split.prefix.disagreement(pad=0).endswith("has dropout below the trained blocks that it cannot be rid of")
    split.folder.close()


def test_a_family_whose_blocks_cannot_be_passed_by_runs_without_cache() -> None:
    split = Split.make("llama", "ner", 2, "tuples")
    split.model.model.layers[1].forward = lambda *_, **__: None  # takes the place of what is no tensor
    assert split.prefix.disagreement(pad=0).startswith(
        "the blocks of LlamaForTokenClassification cannot be run apart ("
    )
    split.folder.close()


def test_states_too_large_for_float16_are_refused() -> None:
    folder = SharedFolder("half")
    shards = [np.arange(7)]
    cache = PrefixCache(folder, PrefixCacheSettings(dtype="float16"), {"train": texts("ner")}, shards, 2)
    with pytest.raises(PrefixCacheError, match="set prefix_cache"):
        cache.write("train", np.array([1]), torch.full((1, 3, 2), 7e4))
    folder.close()


def test_what_is_trained_low_has_no_prefix() -> None:
    structure = Structure((("a",), ("b",), ("c",)), ("embedding",), ("norm",), ("head",), "blocks")
    assert frozen_blocks(structure, {"embedding", "c"}) == (0, "the embeddings are trained")
    assert frozen_blocks(structure, {"a", "c", "head"}) == (0, "the lowest block is trained")
    assert frozen_blocks(structure, {"b", "head"}) == (1, "")
    assert frozen_blocks(structure, {"head"}) == (2, "")  # a pass begins at some block, so at the last


def test_there_is_room_for_evaluation_first_then_for_clients_in_order() -> None:
    data = texts("ner")
    shards = [np.array([0, 1]), np.array([2, 3]), np.array([4]), np.array([5, 6])]
    # 36 sub-words of validation; clients of 10, 12, 1 and 13; width 2 in float32: 8 bytes a sub-word
    settings = PrefixCacheSettings(limit_gb=(36 + 10 + 12) * 8 / 1e9)
    folder = SharedFolder("room")
    cache = PrefixCache(folder, settings, {"train": data, "validation": data}, shards, 2)
    assert cache.bytes_kept == (36 + 10 + 12) * 8
    assert cache.keeps("validation", np.arange(7))
    assert [cache.keeps("train", shard) for shard in shards] == [True, True, False, False]
    states = torch.arange(2 * 7 * 2, dtype=torch.float32).view(2, 7, 2)
    cache.write("train", np.array([2, 3]), states)
    assert cache.lacking("train", np.array([2, 3])) == 0
    assert cache.lacking("train", np.array([0, 2]))
    read = cache.read("train", np.array([3, 2]))
    assert torch.equal(read[1], states[0])
    assert torch.equal(read[0, :5], states[1, :5])
    assert not read[0, 5:].any()
    folder.close()


def test_no_room_on_the_disk_is_said(monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    folder = SharedFolder("full")
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        PrefixCacheError, match=r"no room for .* \(No space left on device\); set prefix_cache.limit_gb"
    ):
        PrefixCache(folder, PrefixCacheSettings(), {"train": texts("ner")}, [np.arange(7)], 2)
    folder.close()


def test_room_is_taken_where_the_system_has_no_call_for_it(monkeypatch, tmp_path) -> None:
    """As on macOS: on a disk of 4 MB all of 3 MB is written, also behind what is there, and 6 MB are refused."""
    monkeypatch.delattr(os, "posix_fallocate")
    try:
        with small_disk(tmp_path / "disk", 4), monkeypatch.context() as patch:
            patch.setenv("SKIPFL_CACHE", str(tmp_path / "disk"))
            folder = SharedFolder("small")
            folder.tensor("states", 10, torch.float32)[:] = 1
            states = folder.tensor("states", 750_000, torch.float32)
            assert states.sum() == 10
            assert (folder.path / "states").stat().st_blocks * 512 >= 3_000_000
            with pytest.raises(SharedFolderError, match=r"states2: no room for 0\.006 GB \(No space left on device\)"):
                folder.tensor("states2", 1_500_000, torch.float32)
            del states
            folder.close()
    except PermissionError as error:
        pytest.skip(str(error))


def hold(key: str, ready) -> None:
    folder = SharedFolder(key)
    folder.tensor("numbers", 3, torch.float32)[1] = 5
    ready.set()
    signal.pause()


def test_workers_share_what_is_kept_and_a_killed_one_leaves_nothing() -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    other = context.Process(target=hold, args=("shared", ready))
    other.start()
    assert ready.wait(60)
    folder = SharedFolder("shared")
    assert folder.tensor("numbers", 3, torch.float32).tolist() == [0, 5, 0]
    assert folder.path.stat().st_mode & 0o777 == 0o700
    folder.close()
    assert folder.path.is_dir()  # the other process still holds it
    other.kill()
    other.join()
    (folder.path / "held").unlink()  # as one that was killed while it tidied up leaves it
    SharedFolder("next").close()
    assert not folder.path.is_dir()


def close_tensors(one: Path, other: Path) -> None:
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_allclose(
            np.frombuffer(first[name], np.float32), np.frombuffer(second[name], np.float32), rtol=2e-3, atol=2e-5
        )


@pytest.mark.parametrize("method", ["layer_skipping", {"name": "lora", "layers": 2}, {"name": "fedper", "layers": 2}])
def test_runs_with_and_without_cache_agree(method, tiny_decoder, ner_corpus, tmp_path):
    train = {"optimizer": "sgd", "lr": 0.05, "batch_size": 4}
    cached = experiment(tiny_decoder, ner_corpus, method, train=train)
    summary = run(cached, tmp_path / "on")
    other = run(
        experiment(tiny_decoder, ner_corpus, method, train=train, prefix_cache={"enabled": False}), tmp_path / "off"
    )
    assert summary["prefix_cache"]["blocks"] == 2
    assert summary["prefix_cache"]["windows_computed"] == 60 + 20 + 20
    assert other["prefix_cache"] == {"blocks": 0, "why_not": "prefix_cache.enabled = false"}
    close_tensors(tmp_path / "on", tmp_path / "off")
    pd.testing.assert_frame_equal(timeless(tmp_path / "on", "rounds"), timeless(tmp_path / "off", "rounds"), rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "computed"),
    [
        ({}, 100),
        ({"prefix_cache": {"limit_gb": (20 + 20) * 9 * 64 / 1e9}}, None),  # some clients have no room
        ({"prefix_cache": {"dtype": "bfloat16"}, "cohort": {"count": 2}}, None),
        ({"train": {"lr": 0.01, "batch_size": 4, "local_steps": 2}}, None),
    ],
)
def test_same_bits_on_all_executors(changes, computed, tiny_decoder, ner_corpus, actors, tmp_path):
    what = experiment(tiny_decoder, ner_corpus, **changes)
    require_same_bits(what, tmp_path, actors)
    counts = pd.read_json(tmp_path / "two" / "summary.json", typ="series")["prefix_cache"]
    assert 0 < counts["windows_computed"] <= 100
    assert computed in (None, counts["windows_computed"])


def test_hits_are_counted_by_hand(tiny_decoder, ner_corpus, tmp_path):
    """60 training windows twice and 40 scored three times, of which each is new once; with room for the scored splits
    alone, those of training are never there; and of a visit of one step of four windows some more are made."""
    what = experiment(tiny_decoder, ner_corpus)
    kept = run(what, tmp_path / "kept")["prefix_cache"]
    assert (kept["windows_asked"], kept["windows_served"], kept["windows_computed"]) == (240, 240, 100)
    assert kept["hit_rate"] == pytest.approx(140 / 240)
    splits = prepare(what).splits
    room = sum(int(splits[name].lengths.sum()) for name in ("validation", "test")) * 16 * 4 / 1e9
    little = experiment(tiny_decoder, ner_corpus, prefix_cache={"limit_gb": room})
    scored = run(little, tmp_path / "scored")["prefix_cache"]
    assert (scored["windows_asked"], scored["windows_served"], scored["windows_computed"]) == (240, 120, 40)
    assert scored["hit_rate"] == pytest.approx(80 / 240)
    train = {"lr": 0.01, "batch_size": 4, "local_steps": 1}
    short = run(experiment(tiny_decoder, ner_corpus, train=train, rounds=1), tmp_path / "short")["prefix_cache"]
    assert 2 * 40 + 4 <= short["windows_asked"] <= 2 * 40 + 4 * 4  # four clients, some of whose batches are smaller
    assert short["hit_rate"] == pytest.approx(40 / short["windows_asked"])
    assert short["windows_computed"] > short["windows_asked"] - 40


def test_moving_policies_have_no_cache_and_say_so(tiny_decoder, ner_corpus, tmp_path):
    moving = {"name": "layer_skipping", "policy": "random", "layers": 2}
    summary = run(experiment(tiny_decoder, ner_corpus, moving), tmp_path / "moving")
    assert summary["prefix_cache"] == {"blocks": 0, "why_not": "the lowest block is trained"}


@pytest.mark.parametrize(
    ("family", "corpus", "method"),
    [
        ("tiny_decoder", "ner_corpus", "layer_skipping"),
        ("tiny_encoder", "text_corpus", {"name": "lora", "layers": 2}),
        ("tiny_encoder", "text_corpus", "fedavg"),
        ("tiny_decoder", "text_corpus", "fedavg"),
    ],
    ids=str,
)
def test_gradient_checkpointing_changes_no_bit(family, corpus, method, request, tmp_path, monkeypatch):
    """With dropout in the encoder, above a kept prefix and without one; what is computed again is counted."""
    model, texts_ = request.getfixturevalue(family), request.getfixturevalue(corpus)
    again = []
    checkpoint = modeling_layers.GradientCheckpointingLayer.__call__

    def watched(layer, *args, **kwargs):
        again.append(layer.gradient_checkpointing and layer.training)
        return checkpoint(layer, *args, **kwargs)

    monkeypatch.setattr(modeling_layers.GradientCheckpointingLayer, "__call__", watched)
    for name, chosen in (("with", True), ("without", False)):
        train = {"lr": 0.01, "batch_size": 4, "gradient_checkpointing": chosen}
        again.clear()
        run(experiment(model, texts_, method, train=train), tmp_path / name)
        assert any(again) == chosen
    same_results(tmp_path / "with", tmp_path / "without")


def test_a_family_without_gradient_checkpointing_is_refused(monkeypatch) -> None:
    model = HEADS["ner"].from_config(config_of("llama"), dtype=torch.float32)
    monkeypatch.setattr(type(model), "supports_gradient_checkpointing", False)
    with pytest.raises(ModelError, match=r"^train\.gradient_checkpointing: LlamaForTokenClassification cannot do so"):
        checkpoint_gradients(model)
