"""The benchmark: what is written for the contestants, and what they end at."""

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from simulate.bench import BenchError, environments, padding, race
from simulate.bench.contestants import bare, ours
from simulate.bench.contestants.shared import FINAL, Plan
from simulate.bench.launch import launch
from simulate.bench.plan import experiment_of, write_material, write_plan
from simulate.bench.workloads import WORKLOADS
from simulate.engine.cohort import cohort
from simulate.exchange.aggregation import ExactSum
from simulate.models.last_block import LastBlock
from simulate.models.structure import find_structure
from tests.miniature import MINIATURE


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    write_material(MINIATURE, folder)
    return folder


@pytest.fixture(scope="module", params=["last5", "lora-last5"])
def plan(request, material, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("plans") / request.param
    write_plan(MINIATURE, request.param, material, folder)
    return folder


def digests(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_the_same_workload_is_written_every_time(material, plan, tmp_path):
    write_material(MINIATURE, tmp_path / "material")
    assert digests(tmp_path / "material") == digests(material)
    write_plan(MINIATURE, plan.name, material, tmp_path / "plan")
    assert digests(tmp_path / "plan") == digests(plan)


def test_the_plan_holds_the_cohorts_and_batches_of_the_engine(plan):
    written = Plan(plan)
    experiment = experiment_of(MINIATURE, plan.name, Path(written.settings["model"]).parent)
    assert written.cohorts == [cohort(experiment.cohort, 5, experiment.seed, round_) for round_ in (1, 2)]
    assert written.batches.shape == (2, 3, 3, 2)  # rounds, clients a round, steps of 2 of a client's 6 examples
    visits = {}
    for round_, clients in enumerate(written.cohorts):
        for place, client in enumerate(clients):
            rows = tuple(sorted(written.batches[round_, place].flatten().tolist()))
            assert visits.setdefault(client, rows) == rows  # a client has the same examples in each round
    together = [row for rows in visits.values() for row in rows]
    assert len(set(together)) == len(together) == 6 * len(visits)  # and no two clients share one


def test_bare_loop_and_ours_end_at_the_same_weights(plan, tmp_path):
    for name in ("bare", "ours"):
        (tmp_path / name).mkdir()
    bare.main(plan, tmp_path / "bare", 1, 1)
    ours.main(plan, tmp_path / "ours", 1, 1, executor="serial")
    found = {name: load_file(tmp_path / name / FINAL) for name in ("bare", "ours")}
    outcomes = {name: json.loads((tmp_path / name / "outcome.json").read_text()) for name in found}
    start = race._start(plan)
    assert race.difference(found["ours"], found["bare"], start) < 1e-5
    for outcome in outcomes.values():
        assert outcome["steps"] == 2 * 3 * 3  # rounds x clients x steps
        assert outcome["first_client"] < outcome["round_ends"][0] < outcome["round_ends"][1]

    # with sums as exact as ours, and its last block done for the tokens that are read, the loop gives the same bits
    written = Plan(plan)
    model, trained = written.model()
    values = {name: parameter.detach().clone() for name, parameter in trained.items()}
    last, whole = LastBlock(model, find_structure(model)), model.forward

    def reading(input_ids: torch.Tensor, **others: torch.Tensor) -> object:
        with last.reading(input_ids):
            return whole(input_ids=input_ids, **others)

    model.forward = reading
    for round_ in range(2):
        total = ExactSum(3 * 6)
        for place in range(3):
            for name, parameter in trained.items():
                parameter.data.copy_(values[name])
            weight, _ = written.train(model, trained.values(), round_, place)
            total.add({name: parameter.detach() - values[name] for name, parameter in trained.items()}, weight)
        values = {name: values[name] + change for name, change in total.average().items()}
    assert values.keys() == found["ours"].keys()
    for name, value in values.items():
        assert torch.equal(value, found["ours"][name]), name


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory) -> dict[str, Path]:
    """Plans with 21 held-out examples, 11 of validation and 10 of test, by variant."""
    folder = tmp_path_factory.mktemp("evaluated")
    workload = dataclasses.replace(MINIATURE, held_out=21)
    write_material(workload, folder / "material")
    variants = ("full", "last5", "lora")
    for variant in variants:
        write_plan(workload, variant, folder / "material", folder / variant)
    return {variant: folder / variant for variant in variants}


def outcome_of(module, plan: Path, output: Path, **options: str) -> dict[str, object]:
    output.mkdir()
    module.main(plan, output, 1, 1, **options)
    return json.loads((output / "outcome.json").read_text())


def test_scores_are_of_all_held_out_examples(evaluated, tmp_path):
    for variant in ("full", "lora"):
        plan = evaluated[variant]
        floor = outcome_of(bare, plan, tmp_path / f"{variant}-bare")["scores"]
        own = outcome_of(ours, plan, tmp_path / f"{variant}-ours", executor="serial")["scores"]
        assert own == pytest.approx(floor, abs=1e-9)
        model, trained = Plan(plan).model()
        for name, value in load_file(tmp_path / f"{variant}-bare" / FINAL).items():
            trained[name].data.copy_(value)
        parts = [Plan(plan).score(model, part, 2) for part in (0, 1)]
        assert [count for _, count in parts] == [11, 10]
        assert sum(right for right, _ in parts) / 21 == floor[-1]


def test_without_evaluation_there_is_no_score(plan, tmp_path):
    assert outcome_of(ours, plan, tmp_path / "ours", executor="serial")["scores"] == []


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["full", "last5", "lora"])
@pytest.mark.parametrize("name", ["flower", "pfl"])
def test_other_simulators_end_at_the_same_weights(name, variant, evaluated, tmp_path):
    try:
        python = environments.interpreter(name)
    except BenchError as missing:
        pytest.skip(str(missing))
    plan, output = evaluated[variant], tmp_path / "out"
    floor = outcome_of(bare, plan, tmp_path / "bare")
    reference = shutil.copy(tmp_path / "bare" / FINAL, tmp_path / "reference.safetensors")
    reference.with_suffix(".txt").write_text("bare")
    output.mkdir()
    race._copy_source(tmp_path / "source")
    who = race.CONTESTANTS[name]
    command = [python, "-m", "simulate.bench.contestants", who.module, plan, output, "2", "1"]
    environment = race._environment(who, tmp_path, 1)
    finished = launch(command, environment, tmp_path / "log", 180, tmp_path / "source")
    assert finished.code == 0, (tmp_path / "log").read_text()
    record = race._measured(finished, output, plan, reference, name)
    assert record["weights_differ"] < 1e-5
    assert record["steps"] == 2 * 3 * 3  # rounds x clients x steps
    assert 0 < record["start_seconds"] < finished.ended - finished.started
    rounds = {"flower": [0, 1], "pfl": [1]}[name]  # pfl does not evaluate after the first
    assert record["scores"] == pytest.approx([floor["scores"][round_] for round_ in rounds], abs=1e-6)


WITHOUT_THE_OTHER = """
import sys
from pathlib import Path
from simulate.bench.contestants import bare
bare._other = divmod  # which fails at once in the other process
bare.main(Path(sys.argv[1]), Path(sys.argv[2]), 2, 1)
"""


def test_bare_processes_do_not_wait_for_one_that_died(plan, tmp_path):
    """In a process of its own, as in a race: Ray, which other tests have started in this one, takes dead children."""
    command = [sys.executable, "-c", WITHOUT_THE_OTHER, str(plan), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=bare.PATIENCE / 2)
    assert done.returncode == 1
    assert "BrokenBarrierError" in done.stderr
    assert not list(tmp_path.iterdir())


def test_workloads_have_the_sizes_that_they_are_named_for():
    a, b, c = (WORKLOADS[name] for name in "ABC")
    assert (a.clients, a.examples, a.tokens, a.cohort, a.batch) == (100, 64, 64, 20, 8)
    # embedding, per block: q and o, k and v, three of the MLP, two norms; final norm, head of 5 labels
    block = 2 * 768 * 768 + 2 * 768 * 256 + 3 * 768 * 3072 + 2 * 768
    assert 20_000 * 768 + 12 * block + 768 + 5 * 768 == pytest.approx(120e6, rel=0.02)
    assert (b.shape["hidden_size"], b.shape["num_hidden_layers"], b.clients, b.batch, b.tokens) == (768, 12, 20, 1, 16)
    assert (c.clients, c.cohort) == (10_000, 1000)
    for workload in (a, b, c):
        assert np.all([workload.examples % workload.batch == 0, workload.cohort <= workload.clients])


def test_ways_of_making_batches_hold_the_same_texts_and_pad_unlike():
    """16 texts of 2 and 16 of 10 sub-words: sorted, nothing is padded; as they come, nearly every short one is."""
    lengths = np.array([2, 10] * 16)
    padded = {}
    for way in padding.WAYS:
        made = padding.made(way, np.arange(32), lengths)
        assert sorted(np.concatenate(made).tolist()) == list(range(32))
        padded[way] = sum(len(batch) * int(lengths[batch].max()) for batch in made) - int(lengths.sum())
    assert padded["batch_size=8"] == 0
    assert padded["batch_tokens=256"] == 128  # the 16 short ones lie beside nine long ones, which all fit: 16 x 8
    assert padded["random order"] > 64
