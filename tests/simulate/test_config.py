"""Settings: presets load, overrides land where users mean them, every mistake is one line that names the key."""

import pytest

from baselines import COMPARED, METHODS
from baselines.fedprox import FedProx
from baselines.layer_skipping import LayerSkipping
from baselines.lora import LoRA
from partitions.corpora.jsonl import Jsonl
from partitions.partitioners.iid import Iid
from simulate.config import ConfigError, build, load, presets

NER = "demo"


@pytest.mark.parametrize("preset", presets())
def test_every_preset_loads_and_repeats_itself(preset):
    overrides = ["corpus.path=somewhere"] if preset.startswith("minilm") else []
    experiment = load(preset, overrides)
    assert experiment.name == preset
    assert build(experiment.resolved()) == experiment


@pytest.mark.parametrize("preset", presets())
def test_every_preset_shows_its_command(preset):
    from simulate.config import PRESETS

    assert f"skipfl compare {preset}" in (PRESETS / f"{preset}.yaml").read_text()


@pytest.mark.parametrize("method", METHODS)
def test_the_demo_has_settings_that_fit_every_method(method):
    assert load(NER, method=method).parts["method"] == method


@pytest.mark.parametrize("preset", presets())
def test_every_preset_has_settings_that_fit_what_is_compared_by_default(preset):
    overrides = ["corpus.path=somewhere"] if preset.startswith("minilm") else []
    assert [load(preset, overrides, method).parts["method"] for method in COMPARED] == list(COMPARED)


def test_overrides():
    experiment = load(
        NER, ["rounds=3", "train.lr=1e-4", "partition.alpha=0.1", "method.skip_ratio=0.5", "model=minilm"]
    )
    assert experiment.rounds == 3
    assert experiment.train.lr == 1e-4
    assert experiment.partition.alpha == 0.1
    assert experiment.model.name == "minilm"
    assert load(NER, ["engine.executor=serial"]).engine.executor == "serial"


def test_a_method_starts_from_its_own_defaults():
    assert load(NER, ["method=lora", "method.rank=4"]).method == LoRA(rank=4)
    assert load(NER, ["method=fedprox", "method.mu=0.5"]).method == FedProx(mu=0.5)
    assert load(NER, ["method.mu=0.5"], method="fedprox").method == FedProx(mu=0.5)
    assert load(NER, ["method.layers=3"]).method == LayerSkipping(layers=3)


def test_layers_and_skip_ratio_replace_each_other():
    assert load(NER, ["method.skip_ratio=0.75"]).method == LayerSkipping(skip_ratio=0.75)
    with pytest.raises(ConfigError, match="layers or skip_ratio, not both"):
        load(NER, ["method.skip_ratio=0.75", "method.layers=3"])


def test_another_partitioner_keeps_what_it_shares():
    assert load(NER, ["partition.clients=7", "partition=iid"]).partition == Iid(clients=7, min_size=8)


def test_a_corpus_may_be_a_folder():
    assert load(NER, ["corpus.path=some/folder"]).corpus == Jsonl(path="some/folder")
    assert load(NER, ["corpus=some/folder"]).corpus == Jsonl(path="some/folder")
    assert load("minilm-ner", ["corpus.path=x"]).corpus == Jsonl(path="x")


def test_per_method_settings(tmp_path):
    preset = tmp_path / "mine.yaml"
    preset.write_text(
        "corpus: {name: synthetic-ner}\npartition: {name: iid}\nmethod: fedavg\ntrain: {lr: 0.1}\n"
        "per_method:\n  lora: {train.lr: 0.5, method.rank: 2}\n"
    )
    assert load(preset).train.lr == 0.1
    assert load(preset, method="lora").train.lr == 0.5
    assert load(preset, method="lora").method == LoRA(rank=2)
    assert load(preset, ["train.lr=0.7"], method="lora").train.lr == 0.7
    assert load(preset).name == "mine"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.lrr=1"], "unknown key train.lrr; did you mean 'train.lr'?"),
        (["round=1"], "unknown key round; did you mean 'rounds'?"),
        (["method.layer=1"], "unknown key method.layer; did you mean 'method.layers'?"),
        (["method=lorra"], "unknown method 'lorra'; did you mean 'lora'?"),
        (["partition=dirichle"], "unknown partition 'dirichle'; did you mean 'dirichlet'?"),
        (["corpus=synthetic"], "unknown corpus 'synthetic'; did you mean 'synthetic-ner'?"),
        (["method.policy=topp"], "method.policy = 'topp': unknown policy 'topp'; did you mean 'top'?"),
        (["rounds=0"], "rounds = 0: Input should be greater than or equal to 1"),
        (["rounds=many"], "rounds = 'many': Input should be a valid integer, unable to parse string as an integer"),
        (["train.lr=-1"], "train.lr = -1: Input should be greater than 0"),
        (["train.optimizer=adam"], "train.optimizer = 'adam': Input should be 'adamw' or 'sgd'"),
        (["engine.workers=two"], "engine.workers = 'two'"),
        (["method.skip_ratio=1.5"], "method.skip_ratio = 1.5: Input should be less than or equal to 1"),
        (["train=5"], "train = 5: expected a mapping of settings"),
        (["rounds"], "override 'rounds': expected key=value, such as train.lr=1e-3"),
        (["train.lr=[1"], "override 'train.lr=[1': not YAML: expected ',' or ']'"),
        (["model.max_length=4"], "model.max_length = 4: Input should be greater than or equal to 8"),
        (["partition.alpha=0"], "partition.alpha = 0: Input should be greater than 0"),
    ],
)
def test_mistakes_are_one_line_with_the_key(overrides, message):
    with pytest.raises(ConfigError) as error:
        load(NER, overrides)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere.yaml: no such file"):
        load(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="unknown preset 'dmeo'; did you mean 'demo'"):
        load("dmeo")
    broken = tmp_path / "broken.yaml"
    broken.write_text("rounds: 3\ntrain: {lr: [1\n")
    with pytest.raises(ConfigError, match=r"broken.yaml, line \d+: not YAML"):
        load(broken)
    broken.write_text("- a\n")
    with pytest.raises(ConfigError, match="expected a mapping of settings, got \\["):
        load(broken)
    broken.write_text("method: lora\npartition: iid\n")
    with pytest.raises(ConfigError, match=r"corpus\.name is not set"):
        load(broken)
