"""Personal heads, and heads alone: what stays, what travels, what is evaluated."""

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from baselines.fedper import FedPer
from baselines.head_only import HeadOnly
from simulate.engine.serial_executor import SerialExecutor
from simulate.exchange.channel import Float32Channel
from simulate.experiment import prepare
from simulate.method import MethodError, Scope, Turn
from simulate.models.backbone import load_model
from simulate.models.structure import Structure
from tests.runs import experiment, run, scope_shapes, timeless

STRUCTURE = Structure((("b0",), ("b1",), ("b2",)), ("e",), ("n",), ("h",), "blocks")


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (FedPer(), Scope(("e", "b0", "b1", "b2", "n"), ("h",))),
        (FedPer(personal_layers=1), Scope(("e", "b0", "b1"), ("b2", "n", "h"))),
        (FedPer(layers=2), Scope(("b1", "b2", "n"), ("h",))),
        (FedPer(layers=2, personal_layers=1), Scope(("b1",), ("b2", "n", "h"))),
        (FedPer(layers=0), Scope(("n",), ("h",))),
        (HeadOnly(), Scope(("h",))),
    ],
)
def test_scopes(method, expected):
    assert method.scope(STRUCTURE) == expected
    assert method.selected(STRUCTURE, Turn(0, 1, 2, 0)) == expected.exchanged


@pytest.mark.parametrize(
    ("method", "sent"),
    [
        (FedPer(layers=2, policy="round_robin", personal_layers=1), ["b0", "b1", "b0"]),
        (FedPer(layers=2, policy="bottom", personal_layers=1), ["b0", "b0", "b0"]),
        (FedPer(layers=2, last_layers=3, personal_layers=1), ["b1", "b0 b1", "b0 b1"]),  # 1, 1.5 and 2 shared blocks
        (FedPer(layers=2, policy="bottom", personal_layers=1, warmup_rounds=1), ["b0 b1", "b0", "b0"]),
        (FedPer(layers=2, policy="gradient_norm", personal_layers=1), ["b1", "b1", "b1"]),
    ],
    ids=lambda value: value.label(STRUCTURE) if isinstance(value, FedPer) else "",
)
def test_the_policy_chooses_among_what_is_shared(method, sent):
    """Of three blocks the top one is personal: one of two trained ones is left to choose, among the two below it.

    The highest score is that of the personal block, which is no choice; the next that of b1.
    """
    turns = [Turn(0, round_, 3, 0, scores=(1.0, 2.0, 3.0)) for round_ in (1, 2, 3)]
    assert [" ".join(method.selected(STRUCTURE, turn)) for turn in turns] == sent
    assert method.scope(STRUCTURE).personal == ("b2", "n", "h")


def test_a_budget_counts_the_personal_blocks_too():
    method = FedPer(budgets=(2, 3), personal_layers=1)
    assert [method.selected(STRUCTURE, Turn(0, 1, 3, client)) for client in (0, 1)] == [("b1",), ("b0", "b1")]
    assert method.scope(STRUCTURE) == Scope(("b0", "b1"), ("b2", "n", "h"))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (FedPer(personal_layers=4), "method.personal_layers = 4, but the model has 3 layers"),
        (FedPer(layers=[0, 1], personal_layers=1), "personal_layers = 1, but b2 of them is not trained; name the"),
        (FedPer(layers=1, personal_layers=1), "method.personal_layers = 1 leaves nothing to exchange where 1 layers"),
        (FedPer(budgets=(1, 3), personal_layers=1), "personal_layers = 1 leaves nothing to exchange where 1 layers"),
        (FedPer(layers=3, last_layers=0, personal_layers=1), "leaves nothing to exchange where 0 layers are trained"),
        (FedPer(personal_layers=3), "method.personal_layers = 3 leaves nothing to exchange where 3 layers are trained"),
    ],
)
def test_what_cannot_be_personal_is_refused(method, message):
    with pytest.raises(MethodError, match=message):
        method.scope(STRUCTURE)


@pytest.mark.parametrize(
    "method",
    [{"name": "fedper"}, {"name": "fedper", "layers": 2, "personal_layers": 1}, {"name": "head_only"}],
    ids=str,
)
def test_only_what_is_shared_travels(method, tiny_decoder, ner_corpus, tmp_path):
    what = experiment(tiny_decoder, ner_corpus, method, rounds=3)
    summary = run(what, tmp_path / "run")
    shapes = scope_shapes(what)
    assert any(name.startswith("score") for name in shapes) == (method["name"] == "head_only")
    assert summary["bytes"]["up"] == 3 * 4 * Float32Channel().size(shapes.items())
    assert summary["bytes"]["down"] == 2 * 4 * Float32Channel().size(shapes.items())
    saved = load_file(tmp_path / "run" / "model" / "exchanged.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in saved.items()} == shapes


def test_each_client_is_scored_with_its_own_head_on_the_whole_split(tiny_decoder, text_corpus, tmp_path, monkeypatch):
    """The recorded loss and accuracy, computed again with plain transformers, one example at a time; of three clients
    and more, two at a time.
    """
    monkeypatch.setattr("simulate.engine.evaluation.MODELS", 2)
    what = experiment(tiny_decoder, text_corpus, "fedper", cohort={"count": 3})
    workers = SerialExecutor(what.engine)
    run(what, tmp_path / "run", workers)
    heads = {client: state for client, state in sorted(workers._states.items())}
    assert all(set(state) == {"score.weight"} for state in heads.values())
    assert len({state["score.weight"].numpy().tobytes() for state in heads.values()}) == len(heads) > 2
    prepared = prepare(what)
    split = prepared.corpus.splits["test"]
    model, tokenizer = load_model(what.model, "classification", prepared.task.model_labels, what.seed)
    base = load_file(tmp_path / "run" / "model" / "exchanged.safetensors")
    losses, hits = [], []
    for head in heads.values():
        model.load_state_dict({**base, **head}, strict=False)
        model.eval()
        for example in split:
            ids = tokenizer(example["text"], return_tensors="pt")["input_ids"]
            label = torch.tensor([prepared.corpus.labels.index(example["label"])])
            with torch.no_grad():
                logits = model(input_ids=ids).logits
            losses.append(float(torch.nn.functional.cross_entropy(logits, label)))
            hits.append(bool(logits.argmax() == label))
    last = pd.read_csv(tmp_path / "run" / "rounds.csv").iloc[-1]
    assert last["test_loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-5)
    assert last["test_accuracy"] == pytest.approx(sum(hits) / len(hits))
    own = pd.read_csv(tmp_path / "run" / "client_scores.csv")
    assert own.groupby("round")["client"].agg(list).iloc[-1] == list(heads)
    mean_of = [sum(losses[first : first + len(split)]) / len(split) for first in range(0, len(losses), len(split))]
    assert own[own["round"] == 2]["test_loss"].tolist() == pytest.approx(mean_of, abs=1e-5)
    means = own.groupby("round").mean()
    assert means["test_loss"].iloc[-1] == pytest.approx(last["test_loss"])
    assert means["validation_accuracy"].iloc[-1] == pytest.approx(last["validation_accuracy"])


def test_with_one_client_it_is_fedavg(tiny_decoder, ner_corpus, tmp_path):
    one = {"partition": {"name": "iid", "clients": 1, "min_size": 1}, "rounds": 3}
    for method in ("fedavg", "fedper"):
        run(experiment(tiny_decoder, ner_corpus, method, **one), tmp_path / method)
    left, right = (timeless(tmp_path / name, "rounds") for name in ("fedavg", "fedper"))
    scores = [column for column in left if column.startswith(("train_", "validation_", "test_"))]
    pd.testing.assert_frame_equal(left[scores], right[scores], rtol=1e-4)


def test_a_head_alone_moves_and_the_features_stay(tiny_encoder, text_corpus, tmp_path):
    """Of an encoder the pooler that no checkpoint brings belongs to the head."""
    what = experiment(tiny_encoder, text_corpus, "head_only")
    workers = SerialExecutor(what.engine)
    summary = run(what, tmp_path / "run", workers)
    before, _ = load_model(what.model, "classification", ("ill", "well"), what.seed)
    names = {name for name, tensor in before.named_parameters() if "pooler" in name or "classifier" in name}
    saved = load_file(tmp_path / "run" / "model" / "exchanged.safetensors")
    assert set(saved) == names
    for name, parameter in before.named_parameters():
        now = saved[name] if name in names else workers._worker.model.get_parameter(name)
        assert torch.equal(now, parameter) == (name not in names)
    assert summary["skip_ratio"] == 1
    assert summary["label"] == "Head only"
