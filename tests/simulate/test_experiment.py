"""Whole runs on tiny models: the same bits everywhere, measured bytes, equalities between methods."""

import json

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

from simulate import seeds
from simulate.clients.batches import local_steps
from simulate.clients.training import DivergenceError, train_mode
from simulate.config import build
from simulate.exchange.channel import Float32Channel
from simulate.experiment import prepare
from simulate.models.backbone import ModelSettings, load_model
from simulate.models.structure import find_structure
from tests.runs import experiment, require_same_bits, run, scope_shapes, tensors, timeless

WINDOWS = {"max_length": 8, "overflow": "windows", "stride": 2}


@pytest.mark.parametrize(
    ("method", "family", "task", "changes"),
    [
        ("layer_skipping", "tiny_decoder", "ner_corpus", {}),
        ("layer_skipping", "tiny_encoder", "text_corpus", {"cohort": {"count": 2}, "rounds": 3}),
        ("lora", "tiny_encoder", "ner_corpus", {}),
        ("fedprox", "tiny_decoder", "text_corpus", {"evaluate": {"every": 2}}),
        ("local_only", "tiny_encoder", "ner_corpus", {"cohort": {"fraction": 0.5}}),
        ("fedavg", "tiny_decoder", "ner_corpus", {"reading": WINDOWS}),
        ("layer_skipping", "tiny_encoder", "labelled_corpus", {"reading": WINDOWS, "partition": {"name": "iid"}}),
    ],
)
def test_serial_one_actor_and_two_actors_give_the_same_bits(method, family, task, changes, tmp_path, request, actors):
    what = experiment(request.getfixturevalue(family), request.getfixturevalue(task), method, **changes)
    require_same_bits(what, tmp_path, actors)


@pytest.mark.parametrize("method", ["layer_skipping", "fedavg", "fedprox", "lora"])
def test_measured_bytes_equal_the_closed_form(method, tiny_decoder, ner_corpus, tmp_path):
    what = experiment(tiny_decoder, ner_corpus, method, rounds=3)
    summary = run(what, tmp_path / "run")
    shapes = scope_shapes(what)
    transfer = Float32Channel().size(shapes.items())
    elements = sum(pd.Series(shape, dtype=int).prod() for shape in shapes.values())
    assert 4 * elements < transfer < 4 * elements + 200 * len(shapes) + 16  # what is beyond the tensors is the header
    assert summary["bytes"]["up"] == 3 * 4 * transfer
    assert summary["bytes"]["down"] == 2 * 4 * transfer  # the set-up transfer has brought what round 1 starts from
    full = Float32Channel().size(scope_shapes(experiment(tiny_decoder, ner_corpus, "fedavg")).items())
    assert summary["saving"] == pytest.approx(1 - transfer / full)
    assert f"{full} bytes" in summary["saving_denominator"]
    clients = pd.read_csv(tmp_path / "run" / "clients.csv")
    assert clients[clients["round"] == 1]["bytes_down"].sum() == 0
    assert (clients[clients["round"] == 1]["bytes_setup"] > full - 1).all()
    assert clients[clients["round"] > 1]["bytes_setup"].sum() == 0


def test_partial_participation_downloads_what_changed(tiny_decoder, ner_corpus, tmp_path):
    what = experiment(tiny_decoder, ner_corpus, rounds=4, cohort={"count": 1}, seed=1)
    run(what, tmp_path / "run")
    clients = pd.read_csv(tmp_path / "run" / "clients.csv")
    transfer = Float32Channel().size(scope_shapes(what).items())
    assert clients["bytes_up"].tolist() == [transfer] * 4
    assert clients["bytes_down"].tolist() == [0, transfer, transfer, transfer]  # whoever comes later needs what changed
    first_visits = ~clients["client"].duplicated()
    assert (clients["bytes_setup"] > 0).tolist() == first_visits.tolist()


@pytest.mark.parametrize("task", ["ner_corpus", "text_corpus"])
def test_one_client_with_all_data_is_centralized(task, tiny_decoder, tmp_path, request):
    corpus = request.getfixturevalue(task)
    partition = {"partition": {"name": "iid", "clients": 1, "min_size": 1}, "train": {"lr": 0.01, "batch_size": 8}}
    run(experiment(tiny_decoder, corpus, "fedavg", **partition), tmp_path / "fedavg")
    run(experiment(tiny_decoder, corpus, "centralized", **partition), tmp_path / "centralized")
    left, right = (timeless(tmp_path / name, "rounds") for name in ("fedavg", "centralized"))
    scores = [column for column in left if column.startswith(("train_", "validation_", "test_"))]
    pd.testing.assert_frame_equal(left[scores], right[scores], rtol=1e-4)
    assert right["bytes_total"].sum() == 0


def test_fedprox_with_mu_zero_is_fedavg(tiny_decoder, ner_corpus, tmp_path):
    run(experiment(tiny_decoder, ner_corpus, "fedavg"), tmp_path / "fedavg")
    run(experiment(tiny_decoder, ner_corpus, {"name": "fedprox", "mu": 0}), tmp_path / "fedprox")
    run(experiment(tiny_decoder, ner_corpus, {"name": "fedprox", "mu": 5.0}), tmp_path / "pulled")
    assert tensors(tmp_path / "fedavg") == tensors(tmp_path / "fedprox")
    assert tensors(tmp_path / "fedavg") != tensors(tmp_path / "pulled")


def test_fedprox_composes_with_the_scope_of_layer_skipping(tiny_decoder, ner_corpus, tmp_path):
    run(experiment(tiny_decoder, ner_corpus, {"name": "fedprox", "layers": 2, "mu": 0}), tmp_path / "fedprox")
    run(experiment(tiny_decoder, ner_corpus), tmp_path / "skipping")
    assert tensors(tmp_path / "fedprox") == tensors(tmp_path / "skipping")


def test_frozen_tensors_stay_and_trained_ones_move(tiny_decoder, ner_corpus, tmp_path):
    run(experiment(tiny_decoder, ner_corpus), tmp_path / "run")
    saved = load_file(tmp_path / "run" / "model" / "exchanged.safetensors")
    before = load_file(tiny_decoder / "model.safetensors")
    names = {name.split(".")[2] for name in saved if name.startswith("model.layers")}
    assert names == {"2", "3"}
    assert "model.embed_tokens.weight" not in saved
    assert all((saved[name] != before[name]).any() for name in saved if name in before)


def test_local_only_averages_clients_and_sends_nothing(tiny_decoder, ner_corpus, tmp_path):
    what = experiment(tiny_decoder, ner_corpus, "local_only", partition={"name": "iid", "clients": 2, "min_size": 1})
    summary = run(what, tmp_path / "run")
    assert summary["bytes"]["total"] == 0
    assert summary["saving"] is None
    rounds = pd.read_csv(tmp_path / "run" / "rounds.csv")
    assert rounds["test_loss"].iloc[-1] < rounds["test_loss"].iloc[0]
    assert not (tmp_path / "run" / "model").exists()


def test_the_resolved_configuration_repeats_the_run(tiny_decoder, text_corpus, tmp_path):
    run(experiment(tiny_decoder, text_corpus, "lora"), tmp_path / "first")
    run(build(yaml.safe_load((tmp_path / "first" / "config.yaml").read_text())), tmp_path / "second")
    assert tensors(tmp_path / "first") == tensors(tmp_path / "second")


def test_seeds_differ(tiny_decoder, ner_corpus, tmp_path):
    for seed in (0, 1):
        run(experiment(tiny_decoder, ner_corpus, seed=seed), tmp_path / str(seed))
    assert tensors(tmp_path / "0") != tensors(tmp_path / "1")


@pytest.mark.parametrize("task", ["ner_corpus", "text_corpus"])
@pytest.mark.parametrize("method", ["layer_skipping", "lora"])
@pytest.mark.parametrize("family", ["tiny_decoder", "tiny_encoder"])
def test_the_saved_set_loads_into_the_plain_model(method, family, task, tmp_path, request, monkeypatch):
    base = request.getfixturevalue(family)
    what = experiment(base, request.getfixturevalue(task), method)
    run(what, tmp_path / "run")
    folder = tmp_path / "run" / "model"
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(code, names)  # the snippet, as a reader would paste it
    prepared = prepare(what)
    server = load_model(what.model, prepared.corpus.task, prepared.task.model_labels, what.seed)[0]
    with seeds.torch_draws(what.seed, "method"):
        what.method.prepare(server)
    file = next(folder.glob("*.safetensors"))
    trained = {
        name.removeprefix("base_model.model.").replace(
            ".weight", ".default.weight" if ".lora_" in name else ".weight"
        ): t
        for name, t in load_file(file).items()
    }
    missing = server.load_state_dict(trained, strict=False)
    assert not missing.unexpected_keys
    ids = torch.arange(3, 11)[None]
    with torch.no_grad():
        assert torch.allclose(
            names["model"].eval()(input_ids=ids).logits, server.eval()(input_ids=ids).logits, atol=1e-6
        )


def test_divergence_is_an_error_that_names_the_client(tiny_decoder, ner_corpus, tmp_path):
    for method in ("layer_skipping", "centralized"):
        what = experiment(tiny_decoder, ner_corpus, method, train={"lr": 1e30, "optimizer": "sgd", "clip_norm": None})
        with pytest.raises(
            DivergenceError, match=r"client \d diverged in round \d: loss .*smaller train.lr than 1e\+30"
        ):
            run(what, tmp_path / method)
        environment = json.loads((tmp_path / method / "environment.json").read_text())
        assert environment["status"] == "failed"
        assert not (tmp_path / method / "summary.json").exists()


def test_slow_clients_take_a_part_of_their_steps_and_count(tiny_decoder, ner_corpus, tmp_path):
    """FedAvg's records hold the steps that the address gives; nobody is slow where all data are in one place."""
    train = {"lr": 0.01, "batch_size": 4, "partial_work": 0.6}
    what = experiment(tiny_decoder, ner_corpus, "fedavg", train=train, rounds=3)
    run(what, tmp_path / "slow")
    run(experiment(tiny_decoder, ner_corpus, "fedavg", rounds=3), tmp_path / "all")
    run(experiment(tiny_decoder, ner_corpus, "centralized", train=train, rounds=1), tmp_path / "central")
    slow, every, central = (pd.read_csv(tmp_path / name / "clients.csv") for name in ("slow", "all", "central"))
    expected = [
        local_steps(what.train, -(-examples // 4), seeds.generator(what.seed, "partial_work", round_, client))
        for round_, client, examples in slow[["round", "client", "examples"]].itertuples(index=False)
    ]
    assert slow["steps"].tolist() == expected
    assert every["steps"].tolist() == [-(-examples // 4) for examples in every["examples"]]
    fewer = slow["steps"] < every["steps"]
    assert 2 <= fewer.sum() <= 10
    first = slow["round"] == 1
    assert ((slow["update_norm"] != every["update_norm"]) == fewer)[first].all()
    assert slow["bytes_up"].equals(every["bytes_up"])
    assert central["steps"].tolist() == [15]


def test_centralized_takes_as_many_local_steps_as_the_cohort(tiny_decoder, ner_corpus, tmp_path):
    what = experiment(tiny_decoder, ner_corpus, "centralized", train={"lr": 0.01, "local_steps": 2}, rounds=1)
    run(what, tmp_path / "run")
    assert pd.read_csv(tmp_path / "run" / "clients.csv")["steps"].tolist() == [8]


def test_frozen_blocks_and_embeddings_have_no_dropout(tiny_encoder):
    model, _ = load_model(ModelSettings(name=str(tiny_encoder), max_length=32), "ner", ("O", "B-x", "I-x"), 0)
    structure = find_structure(model)
    train_mode(model, structure, (*structure.blocks[2], *structure.head))
    layers = model.bert.encoder.layer
    assert [layer.output.dropout.training for layer in layers] == [False, False, True]
    assert not model.bert.embeddings.dropout.training
    assert model.dropout.training
    train_mode(model, structure, structure.names)
    assert model.bert.embeddings.dropout.training
    assert layers[0].output.dropout.training
