"""LoRA on chosen blocks, FFA-LoRA, FedEx-LoRA and FLoRA: numbers by hand, equalities, bytes, and what is saved."""

from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2ForTokenClassification

from baselines.fedex_lora import FedExLoRA
from baselines.ffa_lora import FFALoRA
from baselines.flora import FLoRA
from baselines.lora import LoRA
from simulate import seeds
from simulate.config import ConfigError, build, load
from simulate.engine.serial_executor import SerialExecutor
from simulate.exchange.aggregation import ExactSum
from simulate.exchange.channel import Float32Channel, State
from simulate.exchange.low_rank import LowRankChanges
from simulate.method import Method, MethodError, Scope, Turn, Visit
from simulate.models.backbone import ModelSettings, load_model, meta_model
from simulate.models.structure import Structure, find_structure
from simulate.plan import make_plan
from tests import runs
from tests.baselines.helpers import elements
from tests.runs import require_same_bits, run

TAGS = ("O", "B-problem", "I-problem")
HEAD = 128 * 3 + 3
BLOCK = 256 + 160 + 160 + 256 + 640 + 640 + 640  # inputs + outputs of q, k, v, o, gate, up and down of tiny-llama
SGD = {"optimizer": "sgd", "lr": 0.1, "weight_decay": 0.0, "clip_norm": None, "batch_size": 4}
LAYERS = {  # outputs and inputs of the adapted layers of a block of the tiny decoder
    "self_attn.q_proj": (16, 16),
    "self_attn.k_proj": (8, 16),
    "self_attn.v_proj": (8, 16),
    "self_attn.o_proj": (16, 16),
    "mlp.gate_proj": (32, 16),
    "mlp.up_proj": (32, 16),
    "mlp.down_proj": (16, 32),
}


def experiment(model: Path, corpus: Path, method, **changes):
    """Three clients of equal size."""
    partition = {"name": "iid", "clients": 3, "min_size": 1}
    return runs.experiment(model, corpus, method, **{"partition": partition, **changes})


def saved(folder: Path) -> State:
    (file,) = (folder / "model").glob("*.safetensors")
    return load_file(file)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (LoRA(rank=4, layers=6), 6 * 4 * BLOCK + HEAD),
        (LoRA(rank=4, skip_ratio=0.75, policy="middle"), 4 * 4 * BLOCK + HEAD),
        (LoRA(rank=2, layers=1, target_modules="q_proj"), 2 * 256 + HEAD),
        (LoRA(rank=2, layers=3, parts="attention"), 3 * 2 * (256 + 160 + 160 + 256) + HEAD),
        (FFALoRA(rank=4), 16 * 4 * (128 + 32 + 32 + 128 + 512 + 512 + 128) + HEAD),  # rank x outputs
        (FedExLoRA(rank=4, layers=2), 2 * 4 * BLOCK + HEAD),
        (FLoRA(ranks=(2, 4), layers=2), 2 * 4 * BLOCK + HEAD),
    ],
)
def test_exchanged_elements_by_hand(method, expected):
    assert elements(method) == expected


def test_nothing_flows_below_the_first_adapted_block(tiny_decoder):
    model, _ = load_model(ModelSettings(name=str(tiny_decoder), max_length=32), "ner", TAGS, 0)
    method = LoRA(layers=2, policy="middle")
    method.prepare(model)
    structure = find_structure(model)
    adapted = {name.split(".")[2] for name in structure.names if ".lora_" in name}
    assert adapted == {"1", "2"}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in method.scope(structure).exchanged)
    entering = []
    for block in model.model.layers:
        block.register_forward_pre_hook(lambda _, arguments: entering.append(arguments[0].requires_grad))
    model(input_ids=torch.arange(3, 9)[None])
    assert entering == [False, False, True, True]


def test_settings_of_lora():
    assert LoRA(target_modules="q_proj, v_proj").target_modules == ("q_proj", "v_proj")
    assert load("demo", ["method=lora", "method.target_modules=q_proj,v_proj"]).method.target_modules == (
        "q_proj",
        "v_proj",
    )
    model = meta_model(ModelSettings(name="tiny-llama"), "ner", TAGS)
    with pytest.raises(MethodError, match=r"\['key'\] matches no linear layer; known: down_proj"):
        LoRA(target_modules="q_proj,key").prepare(model)
    with pytest.raises(MethodError, match="leave no linear layer to adapt"):
        LoRA(layers=0).prepare(model)
    with pytest.raises(MethodError, match=r"method.layers = 17, but the model has 16 layers"):
        LoRA(layers=17).prepare(model)
    with pytest.raises(ConfigError, match=r"rank = 2 and ranks = \[4, 8\]: give one of them"):
        load("demo", ["method=flora", "method.rank=2", "method.ranks=[4,8]"])
    again = build(load("demo", ["method=flora", "method.ranks=[4,8]"]).resolved())
    assert (again.method.rank, again.method.ranks) == (8, (4, 8))


def test_labels():
    structure = Structure((("b0",), ("b1",)), ("e",), ("n",), ("h",), "blocks")
    assert LoRA(rank=4).label(structure) == "LoRA (rank 4)"
    assert LoRA(layers=1, mu=0.1).label(structure) == "LoRA (1/2 layers, rank 8, FedProx mu 0.1)"
    assert FLoRA(ranks=(4, 8)).label(structure) == "FLoRA (ranks 4/8)"


def test_weights_that_are_transposed_are_refused():
    model = GPT2ForTokenClassification(GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=10, n_positions=8))
    with pytest.raises(MethodError, match=r"FedEx-LoRA merges into nn\.Linear, and this model has Conv1D layers"):
        FedExLoRA().prepare(model)


# one step and full rank


def gradients(model, names) -> State:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    ids, labels = torch.arange(3, 9)[None], torch.tensor([[0, 1, 2, 0, 1, 2]])
    model(input_ids=ids, labels=labels).loss.backward()
    return {name: model.get_parameter(name).grad for name in names}


def test_one_step_of_full_rank_is_the_step_of_the_weight(tiny_decoder):
    """B = 0, so that A has no gradient, and B's is s G A^T with G the weight's gradient and s = alpha / rank.

    One step of SGD changes the weight by s dB A = -lr s^2 G A^T A. With A = I / s (rank = inputs) this is -lr G.
    """
    settings = ModelSettings(name=str(tiny_decoder), max_length=32)
    weight = "model.layers.1.self_attn.q_proj"
    full, _ = load_model(settings, "ner", TAGS, 0)
    expected = gradients(full, [f"{weight}.weight"])[f"{weight}.weight"]
    model, _ = load_model(settings, "ner", TAGS, 0)
    method = LoRA(rank=16, alpha=48, target_modules="q_proj")
    method.prepare(model)
    a, b = f"{weight}.lora_A.default.weight", f"{weight}.lora_B.default.weight"
    with torch.no_grad():
        model.get_parameter(a).copy_(torch.eye(16) / 3)
    found = gradients(model, [a, b])
    assert not found[a].any()
    step = method.scaling * (-0.1 * found[b]) @ (torch.eye(16) / 3)
    assert expected.abs().max() > 1e-4
    torch.testing.assert_close(step, -0.1 * expected, rtol=1e-4, atol=1e-8)


class Identity(FFALoRA):
    """FFA-LoRA of full rank whose A is the identity, so that B is the change of the weight."""

    def prepare(self, model: torch.nn.Module) -> None:
        super().prepare(model)
        for name, parameter in model.named_parameters():
            if ".lora_A." in name:
                torch.nn.init.eye_(parameter)


class Queries(Method):
    """Trains the adapted weights themselves, and the head."""

    title: ClassVar[str] = "Queries"

    def scope(self, structure: Structure) -> Scope:
        return Scope((*(name for name in structure.names if "q_proj" in name), *structure.head))


def test_ffa_of_full_rank_is_training_the_weights(tiny_decoder, ner_corpus, tmp_path):
    """With A = I and alpha = rank the model is (W + B) x: B's gradient is W's, and so is every step and average."""
    what = experiment(tiny_decoder, ner_corpus, "fedavg", train=SGD)
    adapters = Identity(rank=16, alpha=16, target_modules="q_proj")
    run(what.model_copy(update={"method": adapters}), tmp_path / "ffa")
    run(what.model_copy(update={"method": Queries()}), tmp_path / "full")
    before, full, ffa = load_file(tiny_decoder / "model.safetensors"), saved(tmp_path / "full"), saved(tmp_path / "ffa")
    for block in range(4):
        name = f"model.layers.{block}.self_attn.q_proj"
        change = full[f"{name}.weight"] - before[f"{name}.weight"]
        assert change.abs().max() > 1e-4
        torch.testing.assert_close(ffa[f"base_model.model.{name}.lora_B.weight"], change, rtol=1e-3, atol=1e-6)
        assert torch.equal(ffa[f"base_model.model.{name}.lora_A.weight"], torch.eye(16))


# what the server makes of two clients

A, B, W = "q.lora_A.default.weight", "q.lora_B.default.weight", "q.base_layer.weight"


def summed(method: Method, updates: list[tuple[int, State]]) -> ExactSum:
    """The sum over clients 0, 1, ... of (weight, update)."""
    total = ExactSum(sum(weight for weight, _ in updates))
    for client, (weight, update) in enumerate(updates):
        total.add(method.contribution(update, Turn(0, 1, 1, client)), weight)
    return total


def test_ffa_averages_products_exactly():
    """A = 2; B_0 = 1 with weight 1 and B_1 = 3 with weight 3: the mean product is (1 x 2 + 3 x 6) / 4 = 5 = 2.5 x 2."""
    structure = Structure(((W, A, B),), ("e",), ("n",), ("h",), "blocks")
    method = FFALoRA()
    assert method.scope(structure) == Scope(exchanged=(B, "h"), frozen=(A,))
    assert method.selected(structure, Turn(0, 1, 1, 0)) == (B, "h")
    total = summed(method, [(1, {B: torch.tensor([[1.0]])}), (3, {B: torch.tensor([[3.0]])})])
    new = method.server_step({A: torch.tensor([[2.0]]), B: torch.zeros(1, 1)}, total.average(), {})
    assert new == {B: torch.tensor([[2.5]])}


def test_fedex_by_hand():
    """A = 1, B = 0; client 0 (weight 1) changes them by 1 and 2, client 1 (weight 3) by -1 and 4; alpha / rank = 2.

    Products: 2 x 2 = 4 and 4 x 0 = 0, mean 1. Means: A 0.5, B 3.5, product 1.75. Residue 1 - 1.75 = -0.75, times 2.
    """
    method = FedExLoRA(rank=1)
    total = summed(
        method,
        [
            (1, {A: torch.tensor([[1.0]]), B: torch.tensor([[2.0]]), "h": torch.tensor([4.0])}),
            (3, {A: torch.tensor([[-1.0]]), B: torch.tensor([[4.0]]), "h": torch.tensor([0.0])}),
        ],
    )
    state = {A: torch.tensor([[1.0]]), B: torch.tensor([[0.0]]), "h": torch.tensor([1.0])}
    new = method.server_step(state, total.average(), {})
    assert {name: value.item() for name, value in new.items()} == {A: 0.5, B: 3.5, "h": 2.0}
    ((name, (left, right)),) = method.merges(total.average(), total.weights).items()
    assert name == W
    assert (left @ right).item() == pytest.approx(-1.5)
    assert left.shape[1] == 1  # (clients - 1) x rank


def test_fedex_of_one_client_has_no_residue(tiny_decoder, ner_corpus, tmp_path):
    total = summed(FedExLoRA(rank=1), [(5, {A: torch.tensor([[1.0]]), B: torch.tensor([[2.0]])})])
    assert FedExLoRA(rank=1).merges(total.average(), total.weights) == {}
    alone = {"partition": {"name": "iid", "clients": 1, "min_size": 1}}
    fedex = run(experiment(tiny_decoder, ner_corpus, "fedex_lora", **alone), tmp_path / "fedex")
    lora = run(experiment(tiny_decoder, ner_corpus, "lora", **alone), tmp_path / "lora")
    assert fedex["final"] == lora["final"]
    assert fedex["bytes"] == lora["bytes"]


def test_flora_by_hand():
    """Ranks 1 and 2 on a 1 x 1 weight, weights 1 and 3, alpha / rank = 2.

    B_0 A_0 = 2 x 3 = 6; B_1 A_1 = 1 x 1 + 2 x 2 = 5; mean (6 + 15) / 4 = 5.25, times 2 = 10.5, of rank 3.
    """
    method = FLoRA(ranks=(1, 2))
    total = summed(
        method,
        [
            (1, {A: torch.tensor([[3.0]]), B: torch.tensor([[2.0]]), "h": torch.tensor([4.0])}),
            (3, {A: torch.tensor([[1.0], [2.0]]), B: torch.tensor([[1.0, 2.0]]), "h": torch.tensor([0.0])}),
        ],
    )
    (left, right) = method.merges(total.average(), total.weights)[W]
    assert (left.shape, right.shape) == ((1, 3), (3, 1))
    assert (left @ right).item() == pytest.approx(10.5)
    assert right.flatten().tolist() == [0.75, 0.75, 1.5]  # p_i A_i on top of each other
    state = {A: torch.zeros(2, 1), B: torch.zeros(1, 2), "h": torch.tensor([1.0])}
    assert method.server_step(state, total.average(), {}) == {"h": torch.tensor([2.0])}  # adapters stay as they were


def test_an_adapter_is_averaged_over_those_who_trained_it():
    """Three clients of weights 1, 3 and 4, of which the last did not train q: the shares of q are 1/4 and 3/4."""
    method = FLoRA(rank=1, alpha=1)
    one = {A: torch.tensor([[1.0]]), B: torch.tensor([[1.0]])}
    two = {A: torch.tensor([[1.0]]), B: torch.tensor([[3.0]])}
    total = summed(method, [(1, one), (3, two), (4, {"h": torch.tensor([0.0])})])
    left, right = method.merges(total.average(), total.weights)[W]
    assert (left @ right).item() == pytest.approx((1 + 9) / 4)


# whole runs


def recording(kind: type[Method]) -> tuple[type[Method], list[tuple[int, State]]]:
    """The method, and a list that fills with what the server receives of each client."""
    received: list[tuple[int, State]] = []

    class Recording(kind):
        def contribution(self, update: State, turn: Turn) -> State:
            copied = {name: tensor.clone() for name, tensor in update.items()}  # the next one arrives in its place
            received.append((turn.client, copied))
            return super().contribution(update, turn)

    return Recording, received


@pytest.mark.parametrize(("kind", "settings"), [(FedExLoRA, {"rank": 2}), (FLoRA, {"ranks": (1, 3)})])
@pytest.mark.parametrize("clients", [1, 3])
def test_the_global_model_is_the_mean_of_the_clients_models(
    kind, settings, clients, tiny_decoder, ner_corpus, tmp_path
):
    """After a round every adapted weight is W + (alpha / rank) sum_i p_i B_i A_i; with one client its own product."""
    method, received = recording(kind)
    partition = {"name": "dirichlet", "clients": clients, "alpha": 0.5, "min_size": 3}
    what = experiment(tiny_decoder, ner_corpus, "fedavg", rounds=1, partition=partition)
    what = what.model_copy(update={"method": method(**settings)})
    run(what, tmp_path / "run")
    examples = pd.read_csv(tmp_path / "run" / "clients.csv").set_index("client")["examples"]
    model, _ = load_model(what.model, "ner", TAGS, what.seed)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with seeds.torch_draws(what.seed, "method"):
        what.method.prepare(model)
    for layer in ("model.layers.0.self_attn.k_proj", "model.layers.3.mlp.down_proj"):
        mean = torch.zeros_like(before[f"{layer}.weight"])
        for client, update in received:
            a, b = update[f"{layer}.lora_A.default.weight"], update[f"{layer}.lora_B.default.weight"]
            if kind is FedExLoRA:
                a = a + model.get_parameter(f"{layer}.lora_A.default.weight").detach()
            mean += examples[client] / examples.sum() * (b @ a)
        expected = before[f"{layer}.weight"] + 2 * mean
        assert mean.abs().max() > 1e-4
        torch.testing.assert_close(saved(tmp_path / "run")[f"{layer}.weight"], expected, rtol=1e-5, atol=1e-7)


class Watched(FLoRA):
    """FLoRA that looks at whole trained adapters before they are cut to the client's rank."""

    seen: ClassVar[list[tuple[int, int, int]]] = []

    def upload(self, change: State, visit: Visit) -> tuple[State, State]:
        update, memory = super().upload(change, visit)
        for name in change:
            if ".lora_" in name:
                along = 1 if ".lora_A." in name else 0
                trained = int((visit.start[name] + change[name]).any(dim=along).sum())
                self.seen.append((change[name].shape[1 - along], trained, update[name].shape[1 - along]))
        return update, memory


def test_ranks_above_a_clients_own_stay_zero_and_unsent(tiny_decoder, ner_corpus, tmp_path):
    """AdamW with weight decay over several steps: (resident rank, rows or columns not zero, sent) of each adapter."""
    what = experiment(tiny_decoder, ner_corpus, "fedavg", rounds=1)
    run(what.model_copy(update={"method": Watched(ranks=(4, 1, 2))}), tmp_path / "run")
    assert set(Watched.seen) == {(4, 4, 4), (4, 1, 1), (4, 2, 2)}
    assert len(Watched.seen) == 3 * 4 * 7 * 2  # clients, blocks, layers, A and B


def test_new_adapters_are_drawn_each_round_by_address():
    start = {A: torch.ones(4, 16), B: torch.zeros(8, 4), "h": torch.ones(2)}
    method = FLoRA(ranks=(2, 4))
    first = method.begin(start, Turn(0, 1, 9, 0))
    assert list(first) == [A]
    assert not first[A][2:].any()
    assert first[A][:2].abs().max() <= 0.25  # uniform within 1 / sqrt(inputs)
    assert torch.equal(first[A], method.begin(start, Turn(0, 1, 9, 0))[A])
    for other in (Turn(0, 2, 9, 0), Turn(1, 1, 9, 0), Turn(0, 1, 9, 2)):
        assert not torch.equal(first[A], method.begin(start, other)[A])


# bytes


def adapters(rank: int, blocks: int, only: str = "") -> dict[str, tuple[int, ...]]:
    """Names and shapes of the adapters of the upper `blocks` blocks of the tiny decoder, and of the head."""
    shapes: dict[str, tuple[int, ...]] = {"score.weight": (5, 16), "score.bias": (5,)}
    for block in range(4 - blocks, 4):
        for layer, (outputs, inputs) in LAYERS.items():
            shapes[f"model.layers.{block}.{layer}.lora_A.default.weight"] = (rank, inputs)
            shapes[f"model.layers.{block}.{layer}.lora_B.default.weight"] = (outputs, rank)
    return {name: shape for name, shape in shapes.items() if only in name or "score" in name}


def stacked(rank: int, blocks: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of changes of this rank, or of the weights where they are smaller."""
    shapes: dict[str, tuple[int, ...]] = {}
    for block in range(4 - blocks, 4):
        for layer, (outputs, inputs) in LAYERS.items():
            name = f"model.layers.{block}.{layer}.base_layer.weight"
            if rank * (outputs + inputs) < outputs * inputs:
                shapes |= {f"{name}.left": (outputs, rank), f"{name}.right": (rank, inputs)}
            else:
                shapes[name] = (outputs, inputs)
    return shapes


HEADS = {"score.weight": (5, 16), "score.bias": (5,)}


@pytest.mark.parametrize(
    ("method", "up", "down"),
    [
        ({"name": "lora", "rank": 2, "layers": 2}, [adapters(2, 2)] * 3, adapters(2, 2)),
        ({"name": "ffa_lora", "rank": 2}, [adapters(2, 4, "lora_B")] * 3, adapters(2, 4, "lora_B")),
        # the averages, and residues of rank (clients - 1) x rank: 4, and 8, where no factors are smaller
        ({"name": "fedex_lora", "rank": 2}, [adapters(2, 4)] * 3, adapters(2, 4) | stacked(4, 4)),
        ({"name": "fedex_lora", "rank": 4, "layers": 1}, [adapters(4, 1)] * 3, adapters(4, 1) | stacked(8, 1)),
        # the stack of ranks 1, 3 and 1, and the head
        ({"name": "flora", "ranks": [1, 3]}, [adapters(1, 4), adapters(3, 4), adapters(1, 4)], HEADS | stacked(5, 4)),
    ],
    ids=["lora", "ffa", "fedex", "fedex-dense", "flora"],
)
def test_measured_bytes_equal_the_closed_form(method, up, down, tiny_decoder, ner_corpus, tmp_path):
    size = Float32Channel().size
    summary = run(experiment(tiny_decoder, ner_corpus, method, rounds=3), tmp_path / "run")
    clients = pd.read_csv(tmp_path / "run" / "clients.csv")
    assert clients["bytes_up"].tolist() == [size(shapes.items()) for shapes in up] * 3
    assert clients["bytes_down"].tolist() == [0, 0, 0] + [size(down.items())] * 6
    assert summary["bytes"]["up"] == 3 * sum(size(shapes.items()) for shapes in up)
    plan = make_plan(experiment(tiny_decoder, ner_corpus, method, rounds=3))
    assert plan.transfer_bytes == round(sum(size(shapes.items()) for shapes in up) / 3)
    assert plan.download_bytes >= size(down.items())


@pytest.mark.parametrize(
    ("method", "rank", "averages"),
    [({"name": "flora", "rank": 1}, 2, HEADS), ({"name": "fedex_lora", "rank": 1}, 1, adapters(1, 4))],
    ids=["flora", "fedex"],
)
def test_who_was_away_downloads_all_changes_that_it_missed(method, rank, averages, tiny_decoder, ner_corpus, tmp_path):
    """Two clients of four in each round, all of rank 1: FLoRA's stack is of rank 2, FedEx-LoRA's residue of rank 1.

    A client's last download was at the beginning of its last round, or is the set-up, before round 1.
    """
    partition = {"name": "iid", "clients": 4, "min_size": 1}
    what = experiment(tiny_decoder, ner_corpus, method, rounds=8, partition=partition, cohort={"count": 2}, seed=1)
    run(what, tmp_path / "run")
    clients = pd.read_csv(tmp_path / "run" / "clients.csv")
    held, missed = {}, []
    for number, client in zip(clients["round"], clients["client"], strict=True):
        missed.append(number - 1 - held.get(client, 0))
        held[client] = number - 1
    size = Float32Channel().size
    expected = [size((averages | stacked(rank * n, 4)).items()) if n else 0 for n in missed]
    assert clients["bytes_down"].tolist() == expected
    assert len(set(missed)) > 3
    assert any(missed[first] != missed[first + 1] for first in range(2, 16, 2))  # different in one round


def test_changes_are_kept_while_they_are_smaller_than_the_weight():
    changes = LowRankChanges(elements=4 * 6)
    steps = [(torch.randn(4, 1), torch.randn(1, 6)) for _ in range(3)]
    for step in steps:
        changes.add(step)
    assert changes.last(3) is None  # 30 elements against 24
    left, right = changes.last(2)
    assert (left.shape, right.shape) == ((4, 2), (2, 6))
    torch.testing.assert_close(left @ right, steps[1][0] @ steps[1][1] + steps[2][0] @ steps[2][1])
    changes.add((torch.randn(4, 3), torch.randn(3, 6)))
    assert changes.last(1) is None


# everywhere the same, and useful outside


@pytest.mark.parametrize(
    ("method", "family", "changes"),
    [
        ({"name": "lora", "layers": 2}, "tiny_encoder", {}),
        ({"name": "ffa_lora", "rank": 2}, "tiny_decoder", {}),
        ({"name": "fedex_lora", "rank": 2}, "tiny_encoder", {}),
        ({"name": "flora", "ranks": [1, 2, 4]}, "tiny_decoder", {"cohort": {"count": 2}, "rounds": 3}),
        ({"name": "fedex_lora", "rank": 2, "budgets": [1, 2, 3]}, "tiny_decoder", {}),
        ({"name": "flora", "rank": 2, "layers": 2, "policy": "round_robin"}, "tiny_decoder", {}),
        ({"name": "lora", "rank": 2, "layers": 1, "policy": "gradient_norm"}, "tiny_decoder", {}),
    ],
)
def test_serial_one_actor_and_two_actors_give_the_same_bits(
    method, family, changes, ner_corpus, tmp_path, request, actors
):
    what = experiment(request.getfixturevalue(family), ner_corpus, method, **changes)
    require_same_bits(what, tmp_path, actors)


@pytest.mark.parametrize(
    "method",
    [
        {"name": "lora", "layers": 1, "policy": "bottom"},
        {"name": "ffa_lora"},
        {"name": "fedex_lora", "rank": 2},
        {"name": "flora", "ranks": [1, 3]},
    ],
    ids=lambda method: method["name"],
)
@pytest.mark.parametrize(("family", "corpus"), [("tiny_decoder", "ner_corpus"), ("tiny_encoder", "text_corpus")])
def test_the_saved_result_is_the_model_that_was_evaluated(method, family, corpus, tmp_path, request, monkeypatch):
    """The README's lines give the logits of the worker's model after the last round."""
    what = experiment(request.getfixturevalue(family), request.getfixturevalue(corpus), method)
    executor = SerialExecutor(what.engine)
    run(what, tmp_path / "run", executor)
    folder = tmp_path / "run" / "model"
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(code, names)  # the snippet, as a reader would paste it
    ids = torch.arange(3, 11)[None]
    with torch.no_grad():
        ours = executor._worker.model.eval()(input_ids=ids).logits
        torch.testing.assert_close(names["model"].eval()(input_ids=ids).logits, ours, rtol=1e-4, atol=1e-5)
