"""Which tensors each layer policy, schedule, budget and part trains, by hand and over the model families."""

import pytest

from baselines.importance.gradients import fisher
from baselines.layer_skipping import LayerSkipping
from baselines.parts import PARTS
from baselines.policies import FIXED, POLICIES
from simulate.config import ConfigError, build
from simulate.method import MethodError, Turn
from simulate.models.structure import Structure

SIX = Structure(tuple((f"b{number}",) for number in range(6)), ("e",), ("n",), ("h",), "blocks")


def turn(round_: int, client: int = 0, rounds: int = 5, scores: tuple[float, ...] = ()) -> Turn:
    return Turn(seed=0, round=round_, rounds=rounds, client=client, scores=scores)


def blocks(method: LayerSkipping, turn: Turn, structure: Structure = SIX) -> list[int]:
    names = method.selected(structure, turn)
    assert names[-2:] == ("n", "h")
    assert set(names) <= set(method.scope(structure).exchanged)
    return [int(name[1:]) for name in names[:-2]]


@pytest.mark.parametrize(
    ("policy", "layers", "expected"),
    [
        ("top", 2, [4, 5]),
        ("bottom", 2, [0, 1]),
        ("middle", 2, [2, 3]),
        ("middle", 3, [2, 3, 4]),
        ("alternating", 3, [1, 3, 5]),
        ("alternating", 2, [2, 5]),
        ("alternating", 4, [1, 2, 4, 5]),
        ("ends", 2, [0, 5]),
        ("ends", 3, [0, 4, 5]),
        ("top", 0, []),
        ("middle", 6, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_fixed_policies_choose_blocks(policy, layers, expected):
    assert list(FIXED[policy](6, layers)) == expected


@pytest.mark.parametrize("policy", FIXED)
@pytest.mark.parametrize("layers", range(7))
def test_fixed_policies_choose_that_many(policy, layers):
    chosen = list(FIXED[policy](6, layers))
    assert len(set(chosen)) == layers
    assert chosen == sorted(chosen)
    assert set(chosen) <= set(range(6))


def test_a_list_of_blocks():
    method = LayerSkipping(layers=(4, 1))
    assert method.scope(SIX).exchanged == ("b1", "b4", "n", "h")
    assert method.label(SIX) == "Layer skipping (layers 1, 4 of 6)"
    with pytest.raises(MethodError, match=r"method.layers = \[6\], but the model's blocks are 0 to 5"):
        LayerSkipping(layers=(6,)).scope(SIX)


def test_random_blocks_are_those_of_the_round():
    method = LayerSkipping(layers=2, policy="random")
    chosen = [blocks(method, turn(round_, client)) for round_ in range(1, 30) for client in (0, 3)]
    assert chosen[::2] == chosen[1::2]  # the whole cohort has one choice
    assert all(len(set(pair)) == 2 for pair in chosen)
    assert {block for pair in chosen for block in pair} == set(range(6))


def test_round_robin_after_warm_up():
    """A full round, then groups of four of six blocks from the embedding: 0-3, 4-5, and again."""
    method = LayerSkipping(layers=4, policy="round_robin", warmup_rounds=1)
    found = [blocks(method, turn(round_)) for round_ in range(1, 5)]
    assert found == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3], [4, 5], [0, 1, 2, 3]]


def test_scores_choose_the_highest():
    method = LayerSkipping(layers=2, policy="fisher")
    assert method.measure(turn(1)) is fisher
    assert blocks(method, turn(1, scores=(0.0, 3.0, 1.0, 2.0, 0.0, 0.5))) == [1, 3]
    assert blocks(method, turn(1, scores=(1.0,) * 6)) == [4, 5]  # ties go to the head
    assert LayerSkipping(layers=2, policy="fisher", warmup_rounds=1).measure(turn(1)) is None


def test_schedules_grow_and_shrink():
    """From 2 to 6 in five rounds: 2, 3, 4, 5, 6; from 3 to 0: 3, 2.25, 1.5, 0.75, 0, rounded half up."""
    assert [len(blocks(LayerSkipping(layers=2, last_layers=6), turn(r))) for r in range(1, 6)] == [2, 3, 4, 5, 6]
    assert [len(blocks(LayerSkipping(layers=3, last_layers=0), turn(r))) for r in range(1, 6)] == [3, 2, 2, 1, 0]
    middle = LayerSkipping(layers=1, last_layers=4, policy="alternating")
    for number in range(1, 6):
        blocks(middle, turn(number))  # within the scope


def test_budgets_by_client():
    method = LayerSkipping(budgets=(1, 3))
    assert [blocks(method, turn(1, client)) for client in range(3)] == [[5], [3, 4, 5], [5]]
    assert method.scope(SIX).exchanged == ("b3", "b4", "b5", "n", "h")
    assert method.label(SIX) == "Layer skipping (1–3/6 layers)"
    with pytest.raises(MethodError, match=r"method.budgets = 7, but the model has 6 layers"):
        LayerSkipping(budgets=(1, 7)).scope(SIX)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 2, "budgets": [1]}, "give layers or budgets, not both"),
        ({"layers": [1, 1]}, r"layers = \[1, 1\]: expected different blocks, and no policy beside them"),
        ({"skip_ratio": 0.5, "last_layers": 2}, "last_layers = 2 needs layers"),
        ({"layers": 2, "policy": "tpo"}, "unknown policy 'tpo'; did you mean 'top'?"),
        ({"layers": 2, "parts": "norms"}, "'norms_and_biases'"),
    ],
)
def test_settings_that_do_not_go_together(settings, message):
    base = {"name": "x", "corpus": "synthetic-ner", "partition": "iid"}
    with pytest.raises(ConfigError, match=message):
        build(base | {"method": {"name": "layer_skipping"} | settings})


@pytest.mark.parametrize(
    "choice", [*({"policy": policy} for policy in POLICIES if policy != "top"), {"warmup_rounds": 1}, {"parts": "mlp"}]
)
def test_what_chooses_among_blocks_needs_their_number(choice):
    base = {"name": "x", "corpus": "synthetic-ner", "partition": "iid"}
    with pytest.raises(ConfigError, match="choose among blocks; give layers, skip_ratio or budgets"):
        build(base | {"method": {"name": "fedprox", **choice}})
    if choice.get("policy") != "weight_change":  # which needs warm-up rounds too
        method = build(base | {"method": {"name": "layer_skipping", **choice}}).method
        assert method.trained_layers(16) == 6  # by its default ratio, 0.625
        assert method.skip_ratio == 0.625


@pytest.mark.parametrize("unlike", [{"layers": 1, "last_layers": 3}, {"budgets": (1, 2)}])
def test_round_robin_takes_groups_of_one_size(unlike):
    with pytest.raises(ValueError, match="takes groups of one size in turn, not last_layers or unlike budgets"):
        LayerSkipping(policy="round_robin", **unlike)
    assert LayerSkipping(policy="round_robin", budgets=(2, 2)).budgets == (2, 2)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("model.layers.0.self_attn.q_proj.weight", "attention"),
        ("model.layers.0.self_attn.q_norm.weight", "attention"),
        ("model.layers.0.mlp.gate_proj.weight", "mlp"),
        ("model.layers.0.post_attention_layernorm.weight", None),
        ("transformer.h.0.attn.c_attn.bias", "attention"),
        ("transformer.h.0.ln_1.weight", None),
        ("transformer.h.0.mlp.c_fc.weight", "mlp"),
        ("bert.encoder.layer.0.attention.self.query.weight", "attention"),
        ("bert.encoder.layer.0.intermediate.dense.weight", "mlp"),
        ("bert.encoder.layer.0.output.LayerNorm.weight", None),
        ("distilbert.transformer.layer.0.attention.q_lin.weight", "attention"),
        ("distilbert.transformer.layer.0.ffn.lin1.bias", "mlp"),
        ("distilbert.transformer.layer.0.sa_layer_norm.weight", None),
        ("model.layers.0.attn.Wqkv.weight", "attention"),
        ("model.layers.0.mlp_norm.weight", None),
    ],
)
def test_parts_by_name(name, part):
    assert [key for key in ("attention", "mlp") if PARTS[key](name)] == ([part] if part else [])
    assert PARTS["norms_and_biases"](name) == (name.endswith("bias") or "norm" in name.lower() or ".ln_" in name)
