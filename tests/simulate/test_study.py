"""Studies: which settings of a comparison go to which method, and what stands beside what."""

import json
import shutil
import warnings
from pathlib import Path

import pytest

from baselines.fedavg import FedAvg
from baselines.layer_skipping import LayerSkipping
from baselines.lora import LoRA
from simulate.api import simulate
from simulate.config import ConfigError
from simulate.engine.records import RunFolderError
from simulate.study import comparison
from tests.runs import experiment

METHODS = ("layer_skipping", "fedavg", "lora")


def compared(*overrides: str) -> dict:
    """Method -> its experiment under seed 0."""
    runs = comparison("demo", METHODS, [0], overrides, Path("out"))
    return {folder.name.removesuffix("-seed0"): experiment for folder, experiment in runs.items()}


def test_a_setting_of_methods_goes_to_those_that_have_it():
    found = compared("method.layers=3", "rounds=2")
    assert [found[name].method for name in METHODS] == [LayerSkipping(layers=3), FedAvg(), LoRA(layers=3)]
    assert {experiment.rounds for experiment in found.values()} == {2}


def test_a_setting_of_one_method_goes_to_it_alone_and_counts_before_those_of_all():
    found = compared("lora.layers=5", "method.layers=3", "lora.rank=2", "fedavg.train.lr=0.5", "train.lr=0.25")
    assert [found[name].method for name in METHODS] == [LayerSkipping(layers=3), FedAvg(), LoRA(layers=5, rank=2)]
    assert [found[name].train.lr for name in METHODS] == [0.25, 0.5, 0.25]


def test_one_method_may_have_another_optimizer_and_server():
    sgd = ("optimizer=sgd", "weight_decay=0", "clip_norm=null")
    found = compared(
        *(f"fedavg.train.{text}" for text in sgd), "lora.server=adam", "lora.server.lr=0.5", "fedavg.aggregation=median"
    )
    assert [found[name].train.optimizer for name in METHODS] == ["adamw", "sgd", "adamw"]
    assert found["fedavg"].train.clip_norm is None
    assert [found[name].parts["aggregation"] for name in METHODS] == ["mean", "median", "mean"]
    assert [found[name].parts["server"] for name in METHODS] == ["average", "average", "adam"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lora.rnk=2", "unknown key lora.rnk; did you mean 'lora.rank'?"),
        ("fedavg.layers=2", "unknown key fedavg.layers; fedavg has no settings"),
        ("lroa.rank=2", "unknown key lroa.rank; did you mean 'lora'?"),
        ("fedprox.mu=1", "fedprox.mu: fedprox is not among the methods here (layer_skipping, fedavg, lora)"),
        ("lora.train.lrr=1", "unknown key train.lrr; did you mean 'train.lr'?"),
        ("lora.corpus.train=1", "unknown key lora.corpus.train"),
        ("method.rnk=2", "unknown key method.rnk for layer_skipping, fedavg, lora; did you mean 'method.rank'?"),
        ("lora.skip_ratio=0.5", "method: give layers or skip_ratio, not both"),
    ],
)
def test_a_mistaken_key_is_one_line(override, message):
    with pytest.raises(ConfigError) as error:
        compared("method.layers=3", override)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_study_is_not_finished_from_another_corpus_or_model(tiny_decoder, ner_corpus, tmp_path):
    """A kept run beside runs of something else would be compared as if it were the same; alone it is only kept."""
    model = Path(shutil.copytree(tiny_decoder, tmp_path / "model"))
    corpus = Path(shutil.copytree(ner_corpus, tmp_path / "corpus"))
    what = experiment(model, corpus, rounds=1)
    first, second = tmp_path / "seed0", tmp_path / "seed1"
    simulate({first: what})
    study = {first: what, second: what.model_copy(update={"seed": 1})}
    file, weights = corpus / "validation.jsonl", model / "model.safetensors"
    text, bits = file.read_bytes(), weights.read_bytes()

    file.write_bytes(text[: text.rstrip().rfind(b"\n") + 1])  # without its last example
    with pytest.raises(RunFolderError, match="seed0: the validation split of the corpus has changed since this run"):
        simulate(study)
    simulate({first: what})
    file.write_bytes(text)

    weights.write_bytes(bits[:-1] + bytes([bits[-1] ^ 1]))
    told = (
        r"seed0: model\.safetensors of the model has changed since this run: restore the model, or begin another study"
    )
    with pytest.raises(RunFolderError, match=told):
        simulate(study)
    assert not second.exists()
    weights.write_bytes(bits)

    third = tmp_path / "seed2"
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="finished before")
        simulate(study)
    assert (second / "summary.json").is_file()
    for folder, changes in {first: {"commit": "0" * 40}, second: {"commit": "1" * 40, "device": "cuda"}}.items():
        file = folder / "environment.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        simulate(study)  # nothing follows them
        assert not told
        simulate(study | {third: what.model_copy(update={"seed": 2})})
    assert [str(warning.message) for warning in told if "kept" in str(warning.message)] == [
        f"finished before and kept, but made elsewhere than the runs that follow: {first} with other commit, {second} "
        "with other commit and device; the last bits of results may differ for it"
    ]
    assert (third / "summary.json").is_file()


def test_a_study_is_not_finished_with_other_clients(tiny_decoder, ner_corpus, tmp_path):
    """Two examples change their group, and so their client, which no digest of texts and tags tells."""
    corpus = Path(shutil.copytree(ner_corpus, tmp_path / "corpus"))
    what = experiment(tiny_decoder, corpus, rounds=1, partition={"name": "natural", "clients": 3})
    first, second = tmp_path / "seed0", tmp_path / "seed1"
    simulate({first: what})
    file = corpus / "train.jsonl"
    one, other, *rest = file.read_text().splitlines(keepends=True)
    swapped = [one.replace("site0", "site1"), other.replace("site1", "site0")]
    assert swapped != [one, other]
    file.write_text("".join([*swapped, *rest]))
    study = {first: what, second: what.model_copy(update={"seed": 1})}
    with pytest.raises(RunFolderError, match="seed0: client 0 no longer holds the examples that it held in this run"):
        simulate(study)
    assert not second.exists()
    file.write_text("".join([one, other, *rest]))
    simulate(study)
    assert (second / "summary.json").is_file()
