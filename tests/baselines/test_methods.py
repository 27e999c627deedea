"""What each method trains and exchanges, on the embedded model's shapes, and how small it is to add one."""

from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file

import baselines
from baselines import METHODS
from baselines.fedavg import FedAvg
from baselines.fedprox import FedProx
from baselines.layer_skipping import LayerSkipping
from baselines.local_only import LocalOnly
from baselines.lora import LoRA
from simulate.config import build
from simulate.engine.serial_executor import SerialExecutor
from simulate.experiment import prepare, run
from simulate.method import Method, MethodError, Scope
from simulate.models.backbone import ModelSettings
from simulate.models.structure import Structure
from tests.baselines.helpers import elements, tiny_llama

TAGS = ("O", "B-problem", "I-problem")
LAYER = 128 * 128 * 2 + 2 * 128 * 32 + 3 * 128 * 512 + 2 * 128  # q and o, k and v, gate, up and down, two norms
HEAD = 128 * 3 + 3
EMBEDDINGS = 8016 * 128


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (LayerSkipping(layers=6), 6 * LAYER + 128 + HEAD),
        (LayerSkipping(layers=0), 128 + HEAD),
        (LayerSkipping(), 6 * LAYER + 128 + HEAD),
        (LayerSkipping(skip_ratio=0.0), 16 * LAYER + 128 + HEAD),
        (LayerSkipping(skip_ratio=0.7), 5 * LAYER + 128 + HEAD),  # 16 x 0.3 = 4.8
        (FedAvg(), EMBEDDINGS + 16 * LAYER + 128 + HEAD),
        (FedProx(), EMBEDDINGS + 16 * LAYER + 128 + HEAD),
        (FedProx(layers=2), 2 * LAYER + 128 + HEAD),
        # rank x (inputs + outputs) of q, k, v, o, gate, up and down
        (LoRA(rank=4), 16 * 4 * (256 + 160 + 160 + 256 + 640 + 640 + 640) + HEAD),
        (LoRA(rank=2, target_modules=("q_proj", "v_proj")), 16 * 2 * (256 + 160) + HEAD),
        (LocalOnly(), 0),
    ],
)
def test_exchanged_elements_by_hand(method, expected):
    assert elements(method) == expected


def test_six_of_sixteen_layers_save_what_they_save_on_llama():
    saved = 1 - elements(LayerSkipping(layers=6)) / elements(FedAvg())
    assert saved == pytest.approx(0.705, abs=0.002)


def test_scope_follows_the_policy():
    structure = Structure((("b0",), ("b1",), ("b2",)), ("e",), ("n",), ("h",), "blocks")
    assert LayerSkipping(layers=1, policy="bottom").scope(structure) == Scope(("b0", "n", "h"))
    assert LayerSkipping(layers=2).scope(structure) == Scope(("b1", "b2", "n", "h"))
    assert LayerSkipping(layers=1, policy="bottom").label(structure) == "Layer skipping (bottom, 1/3 layers)"
    with pytest.raises(MethodError, match=r"method.layers = 4, but the model has 3 layers"):
        LayerSkipping(layers=4).scope(structure)


def test_averaging_adds_the_mean_update():
    state = {"w": torch.tensor([1.0, 2.0]), "v": torch.tensor([5.0])}
    assert FedAvg().server_step(state, {"w": torch.tensor([0.5, -1.0])}, 1.0)["w"].tolist() == [1.5, 1.0]


def test_lora_starts_as_the_model_it_adapts(tiny_decoder, ner_corpus):
    from simulate.models.backbone import load_model

    model, _ = load_model(ModelSettings(name=str(tiny_decoder), max_length=32), "ner", TAGS, 0)
    ids = torch.arange(3, 9)[None]
    with torch.no_grad():
        before = model(input_ids=ids).logits
        LoRA().prepare(model)
        assert torch.equal(model(input_ids=ids).logits, before)


def test_lora_names_the_layers_there_are():
    with pytest.raises(MethodError, match=r"\['query'\] matches no linear layer; known: down_proj, gate_proj, k_proj"):
        LoRA(target_modules=("query",)).prepare(tiny_llama())


class LastOnly(Method):
    """A method of one hook, as a user would add it."""

    title: ClassVar[str] = "Last only"

    def scope(self, structure: Structure) -> Scope:
        return Scope(exchanged=(*structure.final, *structure.head))


def test_a_new_method_is_one_class_and_one_registration(tiny_decoder, text_corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(baselines, "LastOnly", LastOnly, raising=False)
    monkeypatch.setitem(METHODS, "last_only", "baselines:LastOnly")
    what = build(
        {
            "name": "toy",
            "rounds": 1,
            "corpus": {"name": "jsonl", "path": str(text_corpus)},
            "model": {"name": str(tiny_decoder), "max_length": 32},
            "partition": {"name": "iid", "clients": 2},
            "method": "last_only",
            "engine": {"executor": "serial"},
        }
    )
    summary = run(prepare(what), tmp_path / "run", SerialExecutor(what.engine))
    assert summary["label"] == "Last only"
    assert summary["parameters"]["exchanged"] == 16 + 16 * 2
    assert set(load_file(tmp_path / "run" / "model" / "exchanged.safetensors")) == {"model.norm.weight", "score.weight"}


def test_fedprox_is_one_short_file():
    import baselines.fedprox

    lines = Path(baselines.fedprox.__file__).read_text().split('"""', 2)[2].splitlines()
    assert sum(bool(line.strip()) for line in lines) < 40
