"""Simulated faults: where they strike, what of them is recorded, and that an update which is lost leaves no trace."""

import io
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file, save_file

from simulate.api import replay
from simulate.api import run as run_command
from simulate.config import ConfigError, build
from simulate.engine.executors import Task
from simulate.engine.faults import FaultSettings
from simulate.engine.serial_executor import SerialExecutor
from simulate.exchange.aggregation import AggregationError
from simulate.exchange.changes import l2_norm
from simulate.exchange.channel import Float32Channel, PayloadError
from simulate.method import Turn
from tests.conftest import write_corpus
from tests.runs import SGD, experiment, run, scope_shapes, tensors, timeless

SIX = {"partition": {"name": "dirichlet", "clients": 6, "alpha": 0.5, "min_size": 3}}


def turns(rounds: int, clients: int, seed: int = 0) -> list[list[Turn]]:
    """By client, then by round."""
    return [[Turn(seed, round_, rounds, client) for round_ in range(1, rounds + 1)] for client in range(clients)]


def test_clients_drop_out_as_often_as_asked():
    struck = np.array([[FaultSettings(dropout=0.3).drops(turn) for turn in row] for row in turns(100, 50)])
    assert struck.mean() == pytest.approx(0.3, abs=0.02)  # the standard error of 5000 draws is 0.0065
    assert struck.mean(axis=0).std() == pytest.approx((0.3 * 0.7 / 50) ** 0.5, rel=0.3)  # independently of each other
    assert not any(FaultSettings().drops(turn) for row in turns(20, 20) for turn in row)


def test_clients_come_and_go_for_whole_periods():
    settings = FaultSettings(availability=0.6, persistence=5)
    there = np.array([[settings.available(turn) for turn in row] for row in turns(100, 60)])
    assert there.mean() == pytest.approx(0.6, abs=0.04)
    begins = set()
    for row in there:
        moments = {int(moment) % 5 for moment in np.flatnonzero(np.diff(row))}
        assert len(moments) == 1
        begins |= moments
    assert begins == set(range(5))
    assert all(FaultSettings().available(turn) for row in turns(20, 20) for turn in row)


def test_a_slow_client_is_slow_in_every_round():
    settings = FaultSettings(slowness=0.5, deadline=10)
    times = np.array([[settings.time(turn, 8) for turn in row] for row in turns(3, 400)])
    assert (times == times[:, :1]).all()
    logs = np.log(times[:, 0] / 8)
    assert (logs.mean(), logs.std()) == (pytest.approx(0, abs=0.08), pytest.approx(0.5, abs=0.06))
    assert FaultSettings(deadline=10).time(Turn(0, 1, 1, 3), 8) == 8


def test_the_same_clients_lie_in_all_rounds():
    settings = FaultSettings(byzantine=0.25)
    liars = np.array([[settings.lies(turn, 10) for turn in row] for row in turns(4, 10)])
    assert liars.sum(axis=0).tolist() == [3, 3, 3, 3]  # 2.5, rounded up
    assert (liars == liars[:, :1]).all()
    others = {tuple(c for c in range(10) if settings.lies(Turn(seed, 1, 1, c), 10)) for seed in range(10)}
    assert len(others) > 5
    assert not any(FaultSettings().lies(turn, 10) for row in turns(1, 10) for turn in row)


def test_what_liars_send_by_hand():
    update = {"a": torch.tensor([1.0, -2.0]), "b": torch.full((40, 50), 3.0), "c": torch.zeros(0)}
    turn = Turn(0, 2, 3, 1)
    flipped = FaultSettings(byzantine=0.5, strength=2).lie(turn, update)
    assert flipped["a"].tolist() == [-2, 4]
    assert FaultSettings(byzantine=0.5, attack="scale", strength=10).lie(turn, update)["a"].tolist() == [10, -20]
    noise = FaultSettings(byzantine=0.5, attack="noise", strength=2).lie(turn, update)
    assert {name: tensor.shape for name, tensor in noise.items()} == {n: t.shape for n, t in update.items()}
    assert noise["b"].std() == pytest.approx(2 * 3, rel=0.05)
    assert abs(float(noise["b"].mean())) < 0.5  # of 2000 draws of standard deviation 6: a standard error of 0.13
    assert all(
        torch.equal(noise[name], again)
        for name, again in FaultSettings(byzantine=0.5, attack="noise", strength=2).lie(turn, update).items()
    )


@pytest.mark.parametrize(
    ("damage", "check"), [("nan", torch.isnan), ("infinite", torch.isinf), ("oversized", lambda t: t == 1e30)]
)
def test_damage_strikes_one_element(damage, check):
    channel = Float32Channel()
    update = {"a": torch.ones(3, 4), "b": torch.ones(5), "empty": torch.zeros(0)}
    settings = FaultSettings(corrupted=0.999, damage=damage)
    arrived = channel.decode(settings.arrives(Turn(0, 1, 1, 0), channel.encode(update)))
    assert sum(int(check(tensor).sum()) for tensor in arrived.values()) == 1
    assert sum(int((tensor != 1).sum()) for tensor in arrived.values()) == 1


def test_truncated_bytes_are_no_update():
    channel = Float32Channel()
    payload = channel.encode({"a": torch.ones(3, 4)})
    arrived = FaultSettings(corrupted=0.999, damage="truncated").arrives(Turn(0, 1, 1, 0), payload)
    assert len(arrived) == len(payload) // 2
    with pytest.raises(PayloadError, match=rf"^{len(arrived)} bytes cannot be decoded: "):
        channel.decode(arrived)
    assert len(FaultSettings(corrupted=0.999).arrives(Turn(0, 1, 1, 0), channel.encode({}))) == 0


def test_l2_norm_by_hand():
    assert l2_norm({"a": torch.tensor([3.0]), "b": torch.tensor([[0.0, 4.0]])}) == 5
    assert l2_norm({}) == 0


LOSSES = {
    "dropped": {"dropout": 0.5},
    "late": {"slowness": 0.6, "deadline": 3},
    "nan": {"corrupted": 0.5, "damage": "nan"},
    "infinite": {"corrupted": 0.5, "damage": "infinite"},
    "oversized": {"corrupted": 0.5, "damage": "oversized"},
    "truncated": {"corrupted": 0.5, "damage": "truncated"},
    "too long": {"byzantine": 0.3, "attack": "scale", "strength": 100, "max_norm": 5},
}

REASONS = {
    "late": r"took \d\S+ of 3|",
    "nan": r"the update of \S+ has an element of size nan, more than 262144|",
    "infinite": r"the update of \S+ has an element of size inf, more than 262144|",
    "oversized": r"the update of \S+ has an element of size 1\S+e\+30, more than 262144|",
    "truncated": r"\d+ bytes cannot be decoded: .+|",
    "too long": r"L2 norm \d\S+, more than 5|",
}


def test_lost_updates_leave_the_average_of_the_others_bit_for_bit(tiny_decoder, ner_corpus, tmp_path):
    """The others are trained once more, alone, by workers that know no faults; bytes count whatever was sent."""
    plain = experiment(tiny_decoder, ner_corpus, rounds=1, **SIX)
    workers = SerialExecutor(plain.engine)
    run(plain, tmp_path / "plain", workers)
    everyone = pd.read_csv(tmp_path / "plain" / "clients.csv")
    assert everyone["status"].tolist() == ["ok"] * 6
    transfer = Float32Channel().size(scope_shapes(plain).items())
    base = SerialExecutor(plain.engine)
    base.start(workers._worker.job)
    initial = base.first("initial")
    for name, faults in LOSSES.items():
        run(experiment(tiny_decoder, ner_corpus, rounds=1, faults=faults, **SIX), tmp_path / name)
        clients = pd.read_csv(tmp_path / name / "clients.csv", keep_default_na=False)
        there = clients[clients["status"] == "ok"]
        lost = clients[clients["status"] != "ok"]
        assert len(there) > 0, name
        assert len(lost) > 0, name
        assert set(lost["status"]) == {name if name in ("dropped", "late") else "rejected"}
        assert clients["bytes_up"].tolist() == [0 if s == "dropped" else transfer for s in clients["status"]]
        assert (clients["bytes_setup"] == everyone["bytes_setup"]).all()
        (row,) = pd.read_csv(tmp_path / name / "rounds.csv").iloc[1:].to_dict("records")
        status = "rejected" if "rejected" in set(lost["status"]) else name
        assert {key: row[key] for key in ("clients", "dropped", "late", "rejected", "skipped")} == {
            "clients": len(there),
            "dropped": 0,
            "late": 0,
            "rejected": 0,
            "skipped": 0,
            status: len(lost),
        }
        assert row["train_loss"] == pytest.approx(
            (there["loss"].astype(float) * there["examples"]).sum() / there["examples"].sum()
        )
        base.all("receive", Float32Channel().encode(initial))
        weight = int(clients["examples"].sum())
        tasks = [Task("train", (Turn(plain.seed, 1, 1, client), weight), client=client) for client in there["client"]]
        list(base.run(tasks))
        (total,) = base.all("collect")
        expected = {key: initial[key] + delta for key, delta in total.average().items()}
        assert {key: tensor.numpy().tobytes() for key, tensor in expected.items()} == tensors(tmp_path / name), name
        assert clients["reason"].str.match(rf"({REASONS.get(name, '')})$").all(), set(clients["reason"])


@pytest.mark.parametrize("scope", [{}, {"layers": 2, "policy": "gradient_norm"}], ids=str)
def test_variates_stay_the_mean_over_all_clients_when_updates_are_lost(scope, tiny_decoder, ner_corpus, tmp_path):
    """What a client keeps changes only if its update counts; else the mean of all variates would leave the server's."""
    faults = {"dropout": 0.2, "corrupted": 0.3, "slowness": 0.5, "deadline": 8, "min_clients": 3}
    method = {"name": "scaffold", **scope}
    what = experiment(tiny_decoder, ner_corpus, method, rounds=6, cohort={"count": 4}, faults=faults, **SGD)
    workers = SerialExecutor(what.engine)
    run(what, tmp_path / "run", workers)
    rounds, clients = (pd.read_csv(tmp_path / "run" / f"{table}.csv") for table in ("rounds", "clients"))
    assert 0 < rounds["skipped"].sum() < 6
    assert {"ok", "dropped", "late", "rejected", "skipped"} == set(clients["status"])
    variates = workers._worker.extras
    assert sum(bool(variate.any()) for variate in variates.values()) > 5
    for name, variate in variates.items():
        own = [state[name] for state in workers._states.values() if name in state]
        assert torch.allclose(variate, sum(own, torch.zeros_like(variate)) / 4, atol=1e-6)


def test_a_round_without_updates_is_skipped(tiny_decoder, ner_corpus, tmp_path):
    """All drop out of both rounds: set-up transfers and nothing else, and the model that the run began with."""
    what = experiment(tiny_decoder, ner_corpus, faults={"dropout": 0.999})
    summary = run(what, tmp_path / "run")
    rounds, clients = (pd.read_csv(tmp_path / "run" / f"{table}.csv") for table in ("rounds", "clients"))
    assert rounds["skipped"].tolist() == [0, 1, 1]
    assert rounds["clients"].tolist() == [0, 0, 0]
    assert rounds["dropped"].tolist() == [0, 4, 4]
    assert rounds["train_loss"].isna().all()
    assert rounds["test_loss"].nunique() == 1
    assert rounds["bytes_total"].tolist() == [0, 0, 0]
    assert (clients["bytes_setup"] > 0).tolist() == [True] * 4 + [False] * 4
    assert clients[["steps", "bytes_up", "bytes_down"]].to_numpy().sum() == 0
    assert clients["loss"].isna().all()
    assert summary["faults"] == {"dropped": 8, "late": 0, "rejected": 0, "rejected_scores": 0, "skipped": 2}
    saved = load_file(tmp_path / "run" / "model" / "exchanged.safetensors")
    before = load_file(tiny_decoder / "model.safetensors")
    assert sum(torch.equal(saved[name], before[name]) for name in saved if name in before) > 15


def test_too_few_updates_skip_a_round_and_are_recorded(tiny_decoder, ner_corpus, tmp_path):
    """Of four, each round some drop out: rounds with fewer than three updates leave the model, and say so."""
    faults = {"dropout": 0.4, "min_clients": 3}
    run(experiment(tiny_decoder, ner_corpus, rounds=4, faults=faults), tmp_path / "run")
    rounds = pd.read_csv(tmp_path / "run" / "rounds.csv").iloc[1:]
    clients = pd.read_csv(tmp_path / "run" / "clients.csv")
    arrived = 4 - rounds["dropped"].to_numpy()
    assert set(arrived < 3) == {True, False}
    assert rounds["skipped"].tolist() == (arrived < 3).astype(int).tolist()
    assert rounds["clients"].tolist() == np.where(arrived < 3, 0, arrived).tolist()
    losses = [pd.read_csv(tmp_path / "run" / "rounds.csv")["test_loss"][0], *rounds["test_loss"]]
    assert [now == last for last, now in itertools.pairwise(losses)] == (arrived < 3).tolist()
    unused = clients[clients["status"] == "skipped"]
    assert len(unused) == arrived[arrived < 3].sum()
    assert set(unused["reason"]) <= {f"{count} of at least 3 updates arrived" for count in range(3)}
    assert (unused["bytes_up"] > 0).all()


def test_cohorts_are_drawn_among_those_that_are_there(tiny_decoder, ner_corpus, tmp_path):
    faults = {"availability": 0.5, "persistence": 2}
    what = experiment(tiny_decoder, ner_corpus, rounds=5, cohort={"count": 3}, faults=faults, **SIX)
    run(what, tmp_path / "run")
    clients = pd.read_csv(tmp_path / "run" / "clients.csv")
    sizes = set()
    for number in range(1, 6):
        there = {c for c in range(6) if what.faults.available(Turn(what.seed, number, 5, c))}
        drawn = set(clients[clients["round"] == number]["client"])
        assert drawn <= there
        assert len(drawn) == min(3, len(there))
        sizes.add(len(drawn))
    assert len(sizes) > 1


def test_a_client_that_diverges_is_rejected_if_asked(tiny_decoder, ner_corpus, tmp_path):
    diverging = {"lr": 1e30, "optimizer": "sgd", "clip_norm": None}
    run(experiment(tiny_decoder, ner_corpus, train=diverging, faults={"reject": True}), tmp_path / "run")
    clients = pd.read_csv(tmp_path / "run" / "clients.csv")
    assert set(clients["status"]) == {"rejected"}
    assert clients["reason"].str.contains("diverged: loss|has an element of size").all()
    assert pd.read_csv(tmp_path / "run" / "rounds.csv")["skipped"].tolist() == [0, 1, 1]


@pytest.fixture
def poisoned(tiny_decoder, tmp_path) -> tuple[Path, Path]:
    """A model that is NaN where it reads the first word, and a corpus in which only notes of one site of three do."""
    model = Path(shutil.copytree(tiny_decoder, tmp_path / "model"))
    weights = load_file(model / "model.safetensors")
    weights["model.embed_tokens.weight"][3] = torch.nan  # behind padding, unknown and end
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    corpus = write_corpus(tmp_path / "corpus", "ner", {"train": 60, "validation": 20, "test": 20})
    for file in corpus.iterdir():
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        for row in rows:
            row["tokens"] = [word if word != "word0" else "word1" for word in row["tokens"]]
            if file.stem == "train" and row["group"] == "site1":
                row["tokens"], row["tags"] = [*row["tokens"], "word0"], [*row["tags"], "O"]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return model, corpus


def test_scores_that_cannot_be_averaged_are_rejected_and_recorded(poisoned, tmp_path):
    """The client of the poisoned site measures NaN in both rounds; the others' mean alone says which block is best."""
    model, corpus = poisoned
    settings = {"partition": {"name": "natural", "clients": 3, "min_size": 3}}
    method = {"name": "layer_skipping", "layers": 1, "policy": "gradient_norm"}
    with pytest.raises(AggregationError, match="the update of scores has an element of size nan"):
        run(experiment(model, corpus, method, **settings), tmp_path / "strict")
    summary = run(experiment(model, corpus, method, faults={"reject": True}, **settings), tmp_path / "run")
    rounds, clients = (pd.read_csv(tmp_path / "run" / f"{table}.csv") for table in ("rounds", "clients"))
    assert clients["client"].tolist() == [0, 1, 2] * 2
    assert clients["status"].tolist() == clients["scores_status"].tolist() == ["ok", "rejected", "ok"] * 2
    reasons = clients["scores_reason"].tolist()
    assert reasons[1::3] == ["the update of scores has an element of size nan, more than 262144"] * 2
    assert clients["scores_reason"].isna().sum() == 4
    assert rounds["rejected_scores"].tolist() == rounds["rejected"].tolist() == [0, 1, 1]
    assert summary["faults"] == {"dropped": 0, "late": 0, "rejected": 2, "rejected_scores": 2, "skipped": 0}
    assert rounds["test_loss"].notna().all()
    assert clients["layers"].nunique() == 1
    for client in (0, 1):
        found = replay(tmp_path / "run", 2, client)
        assert found.differing == []
        assert {"scores_status", "scores_reason"} < set(found.compared)


def test_bounds_suffer_no_faults_of_what_they_do_not_do(tiny_decoder, ner_corpus, tmp_path):
    """Pooled examples have no clients; what is never sent cannot be late, damaged or rejected."""
    run(experiment(tiny_decoder, ner_corpus, "centralized"), tmp_path / "plain")
    run(
        experiment(
            tiny_decoder, ner_corpus, "centralized", faults={"dropout": 0.9, "byzantine": 0.5, "min_clients": 4}
        ),
        tmp_path / "centralized",
    )
    pd.testing.assert_frame_equal(timeless(tmp_path / "plain", "rounds"), timeless(tmp_path / "centralized", "rounds"))
    faults = {"deadline": 0.1, "corrupted": 0.9, "dropout": 0.5, "min_clients": 4}
    run(experiment(tiny_decoder, ner_corpus, "local_only", faults=faults), tmp_path / "local")
    assert set(pd.read_csv(tmp_path / "local" / "clients.csv")["status"]) == {"ok", "dropped"}
    assert pd.read_csv(tmp_path / "local" / "rounds.csv")["skipped"].sum() == 0


def test_skipped_rounds_are_said(tiny_decoder, ner_corpus, tmp_path):
    settings = experiment(tiny_decoder, ner_corpus, rounds=1, faults={"dropout": 0.999}).resolved()
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(settings))
    said = io.StringIO()
    run_command(tmp_path / "tiny.yaml", tmp_path / "run", console=Console(file=said))
    assert "run: round 1 skipped: too few updates arrived" in said.getvalue()


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ({"dropuot": 0.1}, "unknown key faults.dropuot; did you mean 'faults.dropout'?"),
        ({"dropout": 1}, "faults.dropout = 1: Input should be less than 1"),
        ({"availability": 0}, "faults.availability = 0: Input should be greater than 0"),
        ({"slowness": 0.5}, "faults = {'slowness': 0.5}: slowness = 0.5 makes nobody late without a deadline"),
        ({"attack": "flip"}, "faults.attack = 'flip': Input should be 'sign_flip', 'scale' or 'noise'"),
        ({"byzantine": 0.1}, "faults.byzantine = 0.1 of 4 clients is no client; give more"),
        ({"min_clients": 3}, "faults.min_clients = 3, but a cohort has 2 clients; give fewer"),
        (5, "faults = 5: expected a mapping of settings"),
    ],
)
def test_mistakes_are_one_line(faults, message):
    base = {"name": "x", "corpus": "synthetic-ner", "partition": {"name": "iid", "clients": 4}, "method": "fedavg"}
    with pytest.raises(ConfigError) as error:
        build({**base, "cohort": {"count": 2}, "faults": faults})
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
