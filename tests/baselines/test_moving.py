"""Whole runs of moving scopes and server optimizers: bytes by closed form, averages over those who trained, bits."""

import json

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from baselines.layer_skipping import LayerSkipping
from simulate.engine.executors import Task
from simulate.engine.serial_executor import SerialExecutor
from simulate.exchange.aggregation import ExactSum
from simulate.exchange.channel import Float32Channel
from simulate.method import Turn
from simulate.models.backbone import load_model, meta_model
from simulate.models.structure import Structure, find_structure
from simulate.plan import make_plan
from tests.runs import experiment, require_same_bits, run

MOVING = [
    {"name": "layer_skipping", "layers": 2, "policy": "random"},
    {"name": "layer_skipping", "layers": 3, "policy": "round_robin", "warmup_rounds": 1},
    {"name": "layer_skipping", "layers": 2, "policy": "gradient_norm"},
    {"name": "layer_skipping", "layers": 2, "policy": "fisher", "parts": "attention"},
    {"name": "layer_skipping", "layers": 1, "policy": "attention"},
    {"name": "layer_skipping", "layers": 1, "policy": "weight_change", "warmup_rounds": 1},
    {"name": "layer_skipping", "layers": 1, "last_layers": 3},
    {"name": "layer_skipping", "budgets": [1, 3]},
    {"name": "fedprox", "layers": 2, "policy": "random", "mu": 0.1},
]


@pytest.mark.parametrize("method", MOVING, ids=lambda method: "-".join(map(str, method.values())))
@pytest.mark.parametrize(("family", "corpus"), [("tiny_decoder", "ner_corpus"), ("tiny_encoder", "text_corpus")])
def test_every_moving_scope_runs_and_is_the_same_on_two_actors(method, family, corpus, tmp_path, request, actors):
    model, texts = request.getfixturevalue(family), request.getfixturevalue(corpus)
    what = experiment(model, texts, method, rounds=2, cohort={"count": 3}, server={"name": "adam", "lr": 0.01})
    require_same_bits(what, tmp_path, {"two": actors["two"]})


def shapes(what) -> tuple:
    model = meta_model(what.model, "ner", ("O", "B-problem", "I-problem", "B-treatment", "I-treatment"))
    return find_structure(model), {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}


def test_bytes_of_a_moving_policy_with_partial_participation(tiny_decoder, ner_corpus, tmp_path):
    """Up: what the round's choice holds. Down: what changed since the client was last there, in whichever rounds."""
    what = experiment(
        tiny_decoder,
        ner_corpus,
        {"name": "layer_skipping", "layers": 1, "policy": "random"},
        rounds=6,
        cohort={"count": 2},
    )
    run(what, tmp_path / "run")
    structure, of = shapes(what)
    channel = Float32Channel()

    def size(names) -> int:
        return channel.size([(name, of[name]) for name in names])

    chosen = {r: what.method.selected(structure, Turn(what.seed, r, 6)) for r in range(1, 7)}
    assert len({tuple(names) for names in chosen.values()}) > 1
    clients = pd.read_csv(tmp_path / "run" / "clients.csv")
    last: dict[int, int] = {}
    for row in clients.itertuples():
        assert row.bytes_up == size(chosen[row.round])
        assert structure.blocks[row.layers][0] in chosen[row.round]
        missed = {name for r in range(last.get(row.client, 1), row.round) for name in chosen[r]}
        names = [name for name in structure.names if name in missed]
        assert row.bytes_down == size(names)
        last[row.client] = row.round


def test_measuring_is_counted(tiny_decoder, ner_corpus, tmp_path):
    """Four scores up and four numbers of blocks down, beside what is exchanged anyway.

    Each is 8 bytes of header length, a header of 60 characters padded to 64, and 4 float32:
    {"scores":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}, and the same with "layers".
    """
    measured = {"name": "layer_skipping", "layers": 4, "policy": "gradient_norm"}
    run(experiment(tiny_decoder, ner_corpus, measured, rounds=1), tmp_path / "measured")
    run(experiment(tiny_decoder, ner_corpus, {"name": "layer_skipping", "layers": 4}, rounds=1), tmp_path / "plain")
    more = pd.read_csv(tmp_path / "measured" / "clients.csv")
    plain = pd.read_csv(tmp_path / "plain" / "clients.csv")
    assert (more["bytes_up"] - plain["bytes_up"] == 8 + 64 + 16).all()
    assert (more["bytes_down"] - plain["bytes_down"] == 8 + 64 + 16).all()
    assert (more["update_norm"] == plain["update_norm"]).all()  # measuring leaves training alone


def test_three_clients_of_different_layers_by_hand():
    """Budgets 3, 2 and 1 of three blocks, of one weight each, with 1, 2 and 3 examples; changes 6, 3 and 1 everywhere.

    b0: the first client alone, 6. b1: (1 x 6 + 2 x 3) / 3 = 4. b2, norm and head: (6 + 6 + 3 x 1) / 6 = 2.5.
    """
    structure = Structure((("b0",), ("b1",), ("b2",)), ("e",), ("n",), ("h",), "blocks")
    method, total = LayerSkipping(budgets=(3, 2, 1)), ExactSum(total_weight=6)
    for client, (examples, delta) in enumerate([(1, 6.0), (2, 3.0), (3, 1.0)]):
        names = method.selected(structure, Turn(0, 1, 1, client))
        total.add({name: torch.tensor([delta]) for name in names}, examples)
    state = {name: torch.tensor([10.0]) for name in structure.names}
    new = method.server_step(state, total.average(), total.participation(3))
    assert {name: value.item() for name, value in new.items()} == {"b0": 16, "b1": 14, "b2": 12.5, "n": 12.5, "h": 12.5}
    assert total.participation(3)["b1"] == pytest.approx(2 / 3)


def test_budgets_average_each_block_over_those_who_trained_it(tiny_decoder, ner_corpus, tmp_path):
    """Three clients of 20 examples with budgets 1, 2 and 1, each then trained alone from the same values.

    The top block moves by the mean of all three, the block below it by what the second client alone found.
    """
    method = {"name": "layer_skipping", "budgets": [1, 2, 1]}
    partition = {"name": "iid", "clients": 3, "min_size": 3}
    what = experiment(tiny_decoder, ner_corpus, method, rounds=1, partition=partition)
    executor = SerialExecutor(what.engine)
    run(what, tmp_path / "run", executor)
    clients = pd.read_csv(tmp_path / "run" / "clients.csv", dtype={"layers": str})
    assert clients["examples"].tolist() == [20, 20, 20]
    assert clients["layers"].tolist() == ["3", "2 3", "3"]
    final = load_file(tmp_path / "run" / "model" / "exchanged.safetensors")

    base = {name: load_base(what)[name].detach() for name in final}
    updates = []
    for client in range(3):
        executor.all("receive", Float32Channel().encode(base))
        list(executor.run([Task("train", (Turn(what.seed, 1, 1, client), 20), client=client)]))
        updates.append(executor.all("collect")[0].average())
    below, above = (shapes(what)[0].blocks[number][0] for number in (2, 3))
    assert [below in update for update in updates] == [False, True, False]
    assert torch.allclose(final[below] - base[below], updates[1][below], atol=1e-7)
    mean = torch.stack([update[above] for update in updates]).mean(dim=0)
    assert torch.allclose(final[above] - base[above], mean, atol=1e-7)


@pytest.mark.parametrize("policy", ["gradient_norm", "weight_change"])
def test_a_plan_counts_what_measuring_and_agreeing_cost(policy, tiny_decoder, ner_corpus, tmp_path):
    method = {"name": "layer_skipping", "layers": 2, "policy": policy, "warmup_rounds": int(policy == "weight_change")}
    what = experiment(tiny_decoder, ner_corpus, method, rounds=4)
    run(what, tmp_path / "run")
    clients, planned = pd.read_csv(tmp_path / "run" / "clients.csv"), make_plan(what)
    assert planned.transfer_bytes == pytest.approx(clients["bytes_up"].mean(), abs=1)  # all blocks are of one size
    told = clients[clients["round"] == 1]["bytes_down"].unique().tolist()
    assert told == [80 if policy == "gradient_norm" else 0]  # 8, 64 of header, 2 numbers of blocks
    assert planned.choice_bytes == (80 if policy == "gradient_norm" else 60)  # three of four rounds


def test_the_label_names_the_server_optimizer(tiny_decoder, ner_corpus, tmp_path):
    run(experiment(tiny_decoder, ner_corpus, "fedavg", rounds=1, server={"name": "yogi"}), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["label"] == "FedAvg + FedYogi"


def test_where_nothing_is_sent_nothing_at_the_server_is_named(tiny_decoder, ner_corpus, tmp_path):
    at_server = {"server": {"name": "adam"}, "aggregation": {"name": "median"}}
    summary = run(experiment(tiny_decoder, ner_corpus, "centralized", rounds=1, **at_server), tmp_path / "run")
    assert summary["label"] == "Centralized"
    assert summary["depth"] == 4


def test_weight_change_keeps_to_the_block_that_moved_farthest(tiny_decoder, ner_corpus, tmp_path):
    """After one round of all blocks, the later rounds train the one whose relative change was the largest then."""
    method = {"name": "layer_skipping", "layers": 1, "policy": "weight_change", "warmup_rounds": 1}
    what = experiment(tiny_decoder, ner_corpus, method, rounds=1)
    run(what, tmp_path / "one")
    after, base = load_file(tmp_path / "one" / "model" / "exchanged.safetensors"), load_base(what)
    structure, _ = shapes(what)

    def moved(block) -> float:
        change = sum((after[name] - base[name]).square().sum().item() for name in block)
        return (change / sum(base[name].square().sum().item() for name in block)) ** 0.5

    farthest = max(range(4), key=lambda number: moved(structure.blocks[number]))
    run(experiment(tiny_decoder, ner_corpus, method, rounds=3), tmp_path / "three")
    clients = pd.read_csv(tmp_path / "three" / "clients.csv", dtype={"layers": str})
    assert set(clients[clients["round"] == 1]["layers"]) == {"0 1 2 3"}
    assert set(clients[clients["round"] > 1]["layers"]) == {str(farthest)}


def load_base(what) -> dict[str, torch.Tensor]:
    labels = ("O", "B-problem", "I-problem", "B-treatment", "I-treatment")
    model, _ = load_model(what.model, "ner", labels, what.seed)
    return dict(model.named_parameters())
