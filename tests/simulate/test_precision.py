"""Runs in bfloat16, and what the comparison of precisions measures, as far as it is not seconds."""

import sys

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from simulate.bench import precision
from tests.runs import experiment, run


def test_the_shape_of_workload_a_at_another_width():
    config = precision.make_model(256).config
    assert (config.hidden_size, config.intermediate_size, config.num_hidden_layers) == (256, 688, 16)
    assert (config.num_attention_heads, config.num_key_value_heads, config.vocab_size) == (8, 4, 4096)


def test_each_way_is_compared_with_float32(monkeypatch):
    """Three turns, in which steps take as long as told."""
    told = {"float32": iter([1.0, 2.0, 3.0]), "bf16": iter([2.0, 2.0, 1.5])}
    monkeypatch.setattr(precision, "WAYS", ("float32", "bf16"))
    monkeypatch.setattr(precision, "TURNS", 3)
    monkeypatch.setattr(precision, "stepper", lambda hidden, way: told[way].__next__)
    first, second = precision.measure(64)
    assert (first["ms a step"], first["smallest"], first["largest"], first["× float32"]) == (2000, 1000, 3000, 1)
    assert (second["ms a step"], second["× float32"]) == (2000, 1)  # of 2, 1 and 0.5


@pytest.mark.parametrize("way", ["float32", "bf16"])
def test_a_step_trains(way):
    assert 0 < precision.stepper(64, way)() < 60


def test_sizes_that_cannot_be_are_refused(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["precision", "--sizes", "128,100"])
    with pytest.raises(SystemExit, match=r"^error: --sizes '128,100': expected multiples of 64 separated by commas$"):
        precision.main()


def test_a_run_in_bf16_is_near_that_in_float32_and_not_the_same(tiny_decoder, ner_corpus, tmp_path):
    """bfloat16 has 8 bits of a number: losses of the first round agree to a per cent, later ones, which depend on what
    was learned, to ten; weights and what is sent are float32 in both.
    """
    losses, sent = {}, {}
    for how in ("float32", "bf16"):
        what = experiment(tiny_decoder, ner_corpus, train={"lr": 0.01, "batch_size": 4, "precision": how})
        run(what, tmp_path / how)
        clients = pd.read_csv(tmp_path / how / "clients.csv")
        losses[how], sent[how] = clients["loss"], clients["bytes_up"]
    assert losses["bf16"][:4].tolist() == pytest.approx(losses["float32"][:4].tolist(), rel=0.01)
    assert losses["bf16"].tolist() == pytest.approx(losses["float32"].tolist(), rel=0.1)
    assert losses["bf16"].tolist() != losses["float32"].tolist()
    assert sent["bf16"].tolist() == sent["float32"].tolist()
    model = load_file(next((tmp_path / "bf16" / "model").glob("*.safetensors")))
    assert {tensor.dtype for tensor in model.values()} == {torch.float32}
