"""Every method x every choice of layers x every task: real runs, with bytes, tensors and records by closed form.

The registries are walked, so that a new method or policy is covered, or fails until its closed form stands here. The
model has 4 blocks; 3 of 4 clients take part in each round, so that in the third who was away downloads more.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import torch

from baselines import METHODS
from baselines.importance import MEASURES
from baselines.layer_scope import LayerScope
from baselines.lora import LoRA
from baselines.policies import FIXED, MOVING, POLICIES
from simulate.config import ConfigError, part
from simulate.engine import records, weights
from simulate.engine.serial_executor import SerialExecutor
from simulate.exchange.channel import Float32Channel
from simulate.method import Turn
from simulate.models.backbone import meta_model
from simulate.models.structure import find_structure
from tests.conftest import write_corpus
from tests.runs import experiment, run

DEPTH, CLIENTS, COHORT, CHOSEN = 4, 4, 3, 2
TASKS = {"ner": 5, "classification": 2, "multilabel": 2}  # outputs of the head, of the corpora of tests/conftest.py

CHOICES = {
    "default": {},
    "budgets": {"budgets": [1, 3]},
    **{policy: {"layers": CHOSEN, "policy": policy} for policy in POLICIES},
}
CHOICES["weight_change"] |= {"warmup_rounds": 1}

SETTINGS = {
    "fedprox": {"mu": 0.1},
    "fedex_lora": {"rank": 1},
    "flora": {"ranks": [1, 2]},
}
"""Method -> settings beside the choice of layers."""

TRAIN = {
    "scaffold": {"lr": 0.1, "optimizer": "sgd", "weight_decay": 0, "clip_norm": None},
    "fedex_lora": {"lr": 0.01, "local_steps": 2},  # the first moves B alone: the residue comes with A's
}
"""Method -> local training, where it is not one step of AdamW."""

ADAPTED = {"self_attn.q_proj": (16, 16), "mlp.down_proj": (16, 32)}
"""The layers of a block that LoRA adapts here: outputs, inputs."""

Shapes = dict[str, tuple[int, ...]]
size = Float32Channel().size


def compatible(method: str, choice: str) -> bool:
    return choice == "default" or issubclass(part("method", method), LayerScope)


def pairs(fits: bool) -> list[tuple[str, str]]:
    return [(method, choice) for method in METHODS for choice in CHOICES if compatible(method, choice) == fits]


def settings(method: str, choice: str) -> dict:
    adapted = {"target_modules": list(name.split(".")[1] for name in ADAPTED)}
    own = adapted if issubclass(part("method", method), LoRA) else {}
    return {"name": method, **SETTINGS.get(method, {}), **own, **CHOICES[choice]}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> dict[str, Path]:
    sizes = {"train": 24, "validation": 4, "test": 4}
    return {task: write_corpus(tmp_path_factory.mktemp(task), task, sizes) for task in TASKS}


@pytest.fixture(scope="module", autouse=True)
def made_once():
    """The checkpoint is read, and the machine described, once for all runs."""
    read = cache(weights.load_model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "load_model", lambda *arguments: deepcopy(read(*arguments)))
        patch.setattr(records, "environment", cache(records.environment))
        yield


class Watched(SerialExecutor):
    """Keeps what the model's tensors were before training."""

    def start(self, job) -> None:
        super().start(job)
        self.before = self.now()

    def now(self) -> dict[str, torch.Tensor]:
        assert self._worker is not None
        return {name: parameter.detach().clone() for name, parameter in self._worker.model.named_parameters()}


class Model:
    """Names and shapes of the plain model's tensors, and the closed form of what each method makes of them."""

    def __init__(self, model: Path, task: str) -> None:
        reading = experiment(model, Path("unread"), "fedavg").model
        plain = meta_model(reading, task, tuple(f"output{number}" for number in range(TASKS[task])))
        self.structure = find_structure(plain)
        self.shapes: Shapes = {name: tuple(tensor.shape) for name, tensor in plain.named_parameters()}
        self.head = {name: self.shapes[name] for name in self.structure.head}

    def layers(self, blocks: Sequence[int]) -> Shapes:
        """Some blocks and what lies above all blocks."""
        of_blocks = (name for block in blocks for name in self.structure.blocks[block])
        return {name: self.shapes[name] for name in (*of_blocks, *self.structure.final, *self.structure.head)}

    def adapters(self, blocks: Sequence[int], rank: int, factors: str = "AB") -> Shapes:
        """The adapters of some blocks, and the head."""
        found = dict(self.head)
        for block in blocks:
            for layer, (outputs, inputs) in ADAPTED.items():
                both = {"A": (rank, inputs), "B": (outputs, rank)}
                name = f"{self.structure.block_path}.{block}.{layer}.lora_%s.default.weight"
                found |= {name % factor: both[factor] for factor in factors}
        return found

    def sent(self, method: str, choice: str, blocks: Sequence[int], client: int) -> Shapes:
        """What a client's update holds, having trained these blocks."""
        scope = self.shapes if choice == "default" and method != "layer_skipping" else self.layers(blocks)
        closed_form: dict[str, Callable[[], Shapes]] = {
            "lora": lambda: self.adapters(blocks, 8),
            "ffa_lora": lambda: self.adapters(blocks, 8, "B"),
            "fedex_lora": lambda: self.adapters(blocks, 1),
            "flora": lambda: self.adapters(blocks, (1, 2)[client % 2]),
            "scaffold": lambda: scope | {f"variate/{name}": shape for name, shape in scope.items()},
            "fednova": lambda: scope | {"effective_steps": (1,)},
            "fedper": lambda: {name: shape for name, shape in scope.items() if name not in self.head},
            "head_only": lambda: self.head,
            "centralized": dict,
            "local_only": dict,
        }
        return closed_form.get(method, lambda: scope)()

    def published(self, method: str, sent: Sequence[Shapes]) -> tuple[Shapes, dict[str, int]]:
        """What a round of such updates changes at the server: tensors, and weights by how high a rank."""
        union = {name: shape for update in sent for name, shape in update.items()}
        names = sorted({name for name in union if ".lora_A." in name})
        ranks = [[update[name][0] for update in sent if name in update] for name in names]
        bases = [name.replace(".lora_A.default.", ".base_layer.") for name in names]
        if method == "flora":  # the stack of all ranks; the adapters themselves are drawn anew
            return self.head, {base: sum(own) for base, own in zip(bases, ranks, strict=True)}
        if method == "fedex_lora":  # the residue of k clients has rank k - 1
            residues = {base: sum(own) - 1 for base, own in zip(bases, ranks, strict=True)}
            return union, {base: rank for base, rank in residues.items() if rank}
        union.pop("effective_steps", None)
        return union, {}

    def downloaded(self, rounds: Sequence[tuple[Shapes, dict[str, int]]]) -> Shapes:
        """What brings a client up to date that has missed these rounds."""
        tensors = {name: shape for changed, _ in rounds for name, shape in changed.items()}
        for base in {name for _, ranks in rounds for name in ranks}:
            outputs, inputs = ADAPTED[".".join(base.split(".")[3:5])]
            rank = sum(ranks.get(base, 0) for _, ranks in rounds)
            if rank * (outputs + inputs) < outputs * inputs:
                tensors |= {f"{base}.left": (outputs, rank), f"{base}.right": (rank, inputs)}
            else:
                tensors[base] = (outputs, inputs)
        return tensors


@cache
def model_of(folder: Path, task: str) -> Model:
    return Model(folder, task)


def expected_blocks(what, choice: str, turn: Turn, recorded: list[int]) -> list[int]:
    """The blocks that a client trains; where importance decides, what was recorded, if it can be."""
    policy, layers = getattr(what.method, "policy", "top"), what.method.trained_layers(DEPTH)
    if choice == "budgets":
        return list(FIXED[policy](DEPTH, (1, 3)[turn.client % 2]))
    if layers is None or turn.round <= getattr(what.method, "warmup_rounds", 0):
        return list(range(DEPTH))
    if policy in FIXED:
        return list(FIXED[policy](DEPTH, layers))
    if policy in MEASURES or policy == "weight_change":
        assert len(recorded) == CHOSEN
        assert recorded == sorted(set(recorded) & set(range(DEPTH)))
        return recorded
    return list(MOVING[policy](DEPTH, layers, turn))


@pytest.mark.parametrize(
    ("task", "rounds", "method", "choice"),
    [("ner", 3, *pair) for pair in pairs(True)]
    + [("classification", 2, *pair) for pair in pairs(True)]
    + [("multilabel", 2, method, "default") for method in METHODS],
)
def test_bytes_tensors_and_records_of_a_run(task, rounds, method, choice, tiny_decoder, corpora, tmp_path):
    what = experiment(
        tiny_decoder,
        corpora[task],
        settings(method, choice),
        {"max_length": 32, "bidirectional": choice == "attention" and task != "ner"},
        rounds=rounds,
        seed=1,
        cohort={"count": COHORT},
        partition={"name": "iid", "clients": CLIENTS, "min_size": 5},
        train=TRAIN.get(method, {"lr": 0.01}),
        evaluate={"every": rounds},
    )
    executor = Watched(what.engine)
    summary = run(what, tmp_path / "run", executor)
    clients = pd.read_csv(tmp_path / "run" / "clients.csv", dtype={"layers": str}, keep_default_na=False)
    assert [len(rows) for _, rows in clients.groupby("round")] == [1 if what.method.pooled else COHORT] * rounds
    model = model_of(tiny_decoder, task)

    held: dict[int, int] = {}
    missed: set[int] = set()
    published: list[tuple[Shapes, dict[str, int]]] = []
    for number, rows in clients.groupby("round"):
        updates = []
        for row in rows.itertuples():
            turn = Turn(what.seed, number, rounds, row.client)
            recorded = [int(block) for block in row.layers.split()]
            blocks = expected_blocks(what, choice, turn, recorded)
            assert recorded == blocks
            updates.append(model.sent(method, choice, blocks, row.client))
            measured, agreed = 0, 0
            if number > getattr(what.method, "warmup_rounds", 0):
                measured = size([("scores", (DEPTH,))]) if choice in MEASURES else 0
                agreed = size([("layers", (CHOSEN,))]) if choice in MEASURES or choice == "weight_change" else 0
            assert row.bytes_up == size(updates[-1].items()) + measured
            behind = published[held.get(row.client, 0) :]
            assert row.bytes_down == size(model.downloaded(behind).items()) + agreed
            whole = {name: tuple(tensor.shape) for name, tensor in executor.before.items()}
            assert row.bytes_setup == (0 if row.client in held else size(whole.items()))
            held[row.client] = number - 1
            missed.add(len(behind))
        published.append(model.published(method, updates))
        assert len({tuple(rows["layers"])}) == 1 or choice == "budgets"
    assert what.method.pooled or missed == set(range(rounds))  # somebody was away for a round

    now = executor.now()
    changed = {name for tensors, ranks in published for name in (*tensors, *ranks) if not name.startswith("variate/")}
    personal = {"fedper": set(model.head)}.get(method, set(model.shapes) if not published[0][0] else set())
    assert {name for name in now if not torch.equal(now[name], executor.before[name])} == changed | personal
    assert summary["bytes"]["up"] == clients["bytes_up"].sum()
    assert summary["bytes"]["down"] == clients["bytes_down"].sum()


@pytest.mark.parametrize(("method", "choice"), pairs(False))
def test_a_choice_that_a_method_lacks_is_refused_in_one_line(method, choice, tiny_decoder):
    with pytest.raises(ConfigError) as error:
        experiment(tiny_decoder, Path("unread"), settings(method, choice))
    first = next(iter(CHOICES[choice]))
    assert str(error.value) == f"unknown key method.{first}; {part('method', method).__name__} has no settings"
