"""The benchmark: what is written for the contestants, what they end at, how their processes are watched."""

import dataclasses
import errno
import hashlib
import io
import json
import mmap
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from rich.console import Console
from safetensors.torch import load_file

from baselines.fedavg import FedAvg
from simulate.bench import BenchError, environments, gpu, padding, race
from simulate.bench.contestants import bare, ours
from simulate.bench.contestants.shared import FINAL, Plan
from simulate.bench.launch import busy_seconds, launch
from simulate.bench.plan import experiment_of, write_material, write_plan
from simulate.bench.workloads import VARIANTS, WORKLOADS, Workload, find_workload, variants_of
from simulate.cli import main
from simulate.engine.cohort import cohort
from simulate.exchange.aggregation import ExactSum
from simulate.models.last_block import LastBlock
from simulate.models.structure import find_structure

MINIATURE = Workload(
    title="miniature",
    shape={
        "vocab_size": 50,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 6,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    },
    clients=5,
    examples=6,
    tokens=8,
    cohort=3,
    batch=2,
    lr=0.1,
    rounds=2,
    variants=tuple(VARIANTS),
)


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


def test_difference_is_relative_to_the_way_of_training():
    start = {"a": torch.tensor([1.0, 1.0]), "unused": torch.ones(3)}
    reference = {"a": torch.tensor([4.0, 5.0])}  # moved by (3, 4): 5
    final = {"a": torch.tensor([4.0, 5.5])}  # 0.5 away
    assert race.difference(final, reference, start) == pytest.approx(0.1)
    with pytest.raises(BenchError, match="exchanged other tensors: a"):
        race.difference({"b": final["a"]}, reference, start)


GROWING = """
import subprocess, sys, time
while time.process_time() < 0.3:
    pass
if len(sys.argv) == 2:
    sys.exit(subprocess.call([sys.executable, __file__, sys.argv[1], "child"]))
held = bytearray(int(sys.argv[1]))
held[::4096] = bytes([1]) * len(held[::4096])
time.sleep(1.2)
"""


def test_memory_of_child_processes_counts(tmp_path):
    script = tmp_path / "growing.py"
    script.write_text(GROWING)
    less, more = (
        launch([sys.executable, script, str(held)], {}, tmp_path / "log", 60) for held in (10_000_000, 210_000_000)
    )
    assert (less.code, more.code) == (0, 0)
    assert (less.processes, more.processes) == (2, 2)
    assert more.pss_mb - less.pss_mb == pytest.approx(200, abs=4)
    assert more.rss_mb - less.rss_mb == pytest.approx(200, abs=4)
    assert less.pss_mb < less.rss_mb  # both share the pages of the interpreter
    assert sum(more.pss_of.values()) == pytest.approx(more.pss_mb, abs=0.2)
    assert more.ended - more.started > 1.2
    assert 0.5 < more.processor_seconds < 3  # two processes that compute for 0.3 seconds, and their start


CRASHING = """
import subprocess, sys
if len(sys.argv) == 1:
    subprocess.Popen([sys.executable, __file__, "child"])
    subprocess.Popen([sys.executable, __file__, "child"], start_new_session=True)
    import time; time.sleep(0.6)
    sys.exit(3)
import time; time.sleep(600)
"""


def test_what_a_crashed_run_leaves_is_ended(tmp_path):
    script = tmp_path / "crashing.py"
    script.write_text(CRASHING)
    finished = launch([sys.executable, script], {}, tmp_path / "log", 60)
    assert finished.code == 3
    listed = subprocess.run(["ps", "-eo", "stat,args"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in listed.splitlines() if str(script) in line]


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


def test_processor_time_of_other_processes_is_told_apart(tmp_path):
    spinning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        finished = launch([sys.executable, "-c", "import time; time.sleep(2)"], {}, tmp_path / "log", 60)
    finally:
        spinning.kill()
        spinning.wait()
    assert finished.processor_seconds < 0.5 < finished.others_seconds


def test_busy_seconds_leave_out_idling_and_waiting(tmp_path, monkeypatch):
    """User, nice, system, interrupts (hard and soft) and theft: 100 + 50 + 30 + 1 + 2 + 7; guests are in the first."""
    (tmp_path / "stat").write_text("cpu  100 50 30 9000 800 1 2 7 60 5\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    monkeypatch.setattr("simulate.bench.launch.PROC", tmp_path)
    assert busy_seconds() == pytest.approx(190 / os.sysconf("SC_CLK_TCK"))
    (tmp_path / "stat").unlink()
    assert busy_seconds() is None


WHERE = "import results, simulate, baselines; print(results.__file__, simulate.__file__, baselines.__file__)"


def test_what_is_edited_during_a_race_changes_no_contestant(tmp_path, monkeypatch):
    """A race begins in a checkout; its contestants run in a copy that holds no links into it."""
    seen = []

    def show(command, *arguments):
        code = [sys.executable, "-c", WHERE]
        assert command[1] == "-m"  # of both ways Python looks first in the folder where it runs
        seen.append(launch(code, *arguments).code)
        source = tmp_path / "race" / "work" / "source"
        assert not [file for file in (source, *source.rglob("*")) if file.is_symlink()]
        seen.extend(Path(file).is_relative_to(source) for file in arguments[1].read_text().split())
        raise KeyboardInterrupt

    monkeypatch.setattr(race, "launch", show)
    asked = race.Race({"A": MINIATURE}, {"A": ["last5"]}, ["bare"], repeats=1, workers=2)
    with pytest.raises(KeyboardInterrupt):
        race.run_race(asked, tmp_path / "race", Console(file=io.StringIO()))
    assert seen == [0, True, True, True]


def test_a_run_over_its_time_is_ended_with_its_children(tmp_path):
    script = tmp_path / "sleeping.py"
    script.write_text(GROWING.replace("time.sleep(1.2)", "time.sleep(600)"))
    begin = time.monotonic()
    finished = launch([sys.executable, script, "1000000"], {}, tmp_path / "log", 1.0)
    assert time.monotonic() - begin < 30
    assert finished.code == -9
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(script) not in listed


def test_a_race_leaves_a_record_of_each_run_and_is_continued(tmp_path):
    small = dataclasses.replace(MINIATURE, held_out=20, rounds=2)
    asked = race.Race({"A": small}, {"A": ["last5"]}, ["serial"], repeats=1, workers=2)
    console = Console(file=(tmp_path / "said").open("w"), width=200)
    file = race.run_race(asked, tmp_path / "race", console)
    (record,) = [json.loads(line) for line in file.read_text().splitlines()]
    assert (record["contestant"], record["status"]) == ("serial", "ok")
    assert record["steps"] == 2 * 3 * 3  # rounds x clients x steps
    assert len(record["round_seconds"]) == 2
    assert record["seconds_per_round"] == pytest.approx(record["round_seconds"][1])
    assert 0 < record["start_seconds"] < record["total_seconds"]
    largest = max(record["main_mb"])  # which the process itself has seen, after each round
    assert 0.8 * largest < record["peak_rss_mb"] < 1.5 * largest
    assert 0.5 * largest < record["peak_pss_mb"] <= record["peak_rss_mb"]
    assert record["weights_differ"] == 0  # the first is what others are compared with
    assert len(record["scores"]) == 2
    assert record["packages"]["torch"] == torch.__version__
    assert not (tmp_path / "race" / "work").exists()
    before, inode = file.read_text(), file.stat().st_ino
    assert race.run_race(asked, tmp_path / "race", console).read_text() == before
    assert file.stat().st_ino == inode  # where nothing is to be done nothing is written
    with (
        FileLock(tmp_path / "race" / ".lock"),
        pytest.raises(BenchError, match="another process is writing this bench"),
        race.held(tmp_path / "race"),
    ):
        pass
    with pytest.raises(BenchError, match="workload A with other settings; choose another folder"):
        race.run_race(dataclasses.replace(asked, workers=3), tmp_path / "race", console)


@pytest.fixture
def recorded(tmp_path, monkeypatch) -> tuple[race.Race, Path]:
    """A race whose contestants only leave a record at once, and its file with two repetitions of two contestants."""

    def run_one(asked, workload, plan, name, variant, repeat, contestant, *_) -> dict[str, object]:
        key = {"workload": name, "variant": variant, "contestant": contestant, "repeat": repeat}
        return key | {"status": "ok", "settings": race._settings(asked, workload), "total_seconds": 1.0}

    monkeypatch.setattr(race, "_run_one", run_one)
    monkeypatch.setattr(race, "_line", lambda record: "")
    asked = race.Race({"A": MINIATURE}, {"A": ["last5"]}, ["skipfl", "bare"], repeats=2, workers=2)
    return asked, race.run_race(asked, tmp_path / "race", Console(file=io.StringIO()))


def runs_in(file: Path) -> list[tuple[int, str]]:
    records = [json.loads(line) for line in file.read_text().splitlines()]
    return [(record["repeat"], record["contestant"]) for record in records]


IN_TURN = [(1, "skipfl"), (1, "bare"), (2, "bare"), (2, "skipfl")]


def test_a_line_cut_short_is_dropped_and_its_repetition_done_again(recorded):
    asked, file = recorded
    assert runs_in(file) == IN_TURN
    whole = file.read_bytes()
    said = io.StringIO()
    file.write_bytes(whole[:-40])
    race.run_race(asked, file.parent, Console(file=said, width=300))
    assert runs_in(file) == IN_TURN
    assert "measured again, of repetitions that lack a contestant: 1" in said.getvalue()
    file.write_bytes(whole[:-1])  # all but the end of the line
    race.run_race(asked, file.parent, Console(file=said))
    assert runs_in(file) == IN_TURN
    file.write_bytes(b"{}\n" + whole)
    with pytest.raises(BenchError, match=r"records.jsonl, line 1: is no record of a run; remove it, or choose another"):
        race.run_race(asked, file.parent, Console(file=said))
    assert file.read_bytes() == b"{}\n" + whole


def test_records_survive_a_full_disk(recorded, monkeypatch):
    """What there was is there until the file that takes its place is whole."""
    asked, file = recorded
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:3]))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left on device.*records.jsonl"):
            race.run_race(asked, file.parent, Console(file=io.StringIO()))
    assert file.read_bytes() == b"".join(lines[:3])
    race.run_race(asked, file.parent, Console(file=io.StringIO()))
    assert runs_in(file) == IN_TURN


FAULTS = """
import resource
held = bytearray(64_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    del held
    held = bytearray(64_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
@pytest.mark.parametrize(("name", "kept"), [("bare", True), ("loop", True), ("loop-threads", True), ("flower", False)])
def test_bare_loops_keep_freed_memory_as_our_workers_do(name, kept, tmp_path):
    """64 MB are 15 625 pages of 4 kB; what is freed and kept costs no page fault when it is used again."""
    environment = race._environment(race.CONTESTANTS[name], tmp_path, 1)
    assert ("hugetlb=1" in environment.get("GLIBC_TUNABLES", "")) == kept
    said = subprocess.run([sys.executable, "-c", FAULTS], env=environment, capture_output=True, check=True).stdout
    assert (int(said) < 1000) == kept


def test_each_repetition_begins_with_another_contestant():
    assert [race._order(["a", "b", "c"], repeat) for repeat in (1, 2, 3, 4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


def test_time_left_is_that_of_the_same_run_or_the_mean_of_all():
    durations = {("A", "full", "bare"): [10.0, 20.0], ("A", "full", "pfl"): [60.0]}
    # bare again: 15; one never seen: (10 + 20 + 60) / 3 = 30
    assert race._left(durations, [("A", "full", "bare"), ("B", "full", "bare")]) == 45


def test_wrong_requests_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    with pytest.raises(BenchError, match="unknown peer 'flowr'; did you mean 'flower'"):
        race.check_peers(["bare", "flowr"])
    with pytest.raises(BenchError, match=r"flower: no environment .*flower; make it with `python -m simulate.bench.en"):
        race.check_peers(["bare", "flower"])
    with pytest.raises(BenchError, match="unknown workload 'E'; known: A, B, C"):
        find_workload("E")
    with pytest.raises(BenchError, match="--cohort 200: workload A has 100 clients"):
        find_workload("A", cohort=200)
    with pytest.raises(BenchError, match="--variants 'lora': workload C has full"):
        variants_of("C", ["lora"])
    with pytest.raises(BenchError, match="unknown peer 'x'; known: flower, pfl"):
        environments.make("x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--peers", "bare,flower"],
            "flower: no environment .bench/flower; make it with `python -m simulate.bench.environments flower`",
        ),
        (["--peers", "bear"], "unknown peer 'bear'; did you mean 'bare'?"),
        (["--workload", "C", "--variants", "last5"], "--variants 'last5': workload C has full"),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["skipfl", "bench", *arguments, "-o", "out"])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the command sets its own
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines() == [f"error: {message}"]
    assert not (tmp_path / "out").exists()


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


def test_gpu_measurements_run_on_a_tiny_model(tmp_path, monkeypatch, capsys):
    threads = torch.get_num_threads()
    monkeypatch.setattr(gpu, "TINY", dataclasses.replace(gpu.TINY, workers=(1,)))
    gpu.main(["--tiny", "-o", str(tmp_path)])
    torch.set_num_threads(threads)
    written = json.loads((tmp_path / "gpu.json").read_text())
    rows = {row["case"]: row for row in written["rows"]}
    assert list(rows) == ["LoRA, rank 2", "2 layers, prefix cached", "2 layers", "full"]
    for row in rows.values():
        assert row["tokens_per_step"] == 32
        assert row["round_s"] > 0
    # 4 blocks of n = 32 x 32 (q, o) twice, 16 x 32 (k, v) twice, 32 x 64 three times = 9216; s = 16, d = 32
    block, forward, backward = 9216, 2 * 9216 + 4 * 16 * 32, 2 * 9216 + 8 * 16 * 32
    assert rows["full"]["flops_per_token"] == 4 * (forward + backward + 2 * block)
    assert rows["2 layers"]["flops_per_token"] == 4 * forward + 2 * (backward + 2 * block)
    assert rows["2 layers, prefix cached"]["flops_per_token"] == 2 * (forward + backward + 2 * block)
    # adapters of rank 2 beside q (32 x 32) and v (16 x 32): 2 x (32 + 32) + 2 x (32 + 16) = 224
    assert rows["LoRA, rank 2"]["flops_per_token"] == 4 * (forward + backward + (2 + 2 + 2) * 224)
    assert "| full | 1 | 32 |" in capsys.readouterr().out


def test_gpu_utilisation_and_memory_by_hand(tmp_path, monkeypatch):
    """10 and 2 steps of 2 x 16 tokens take 2.6 and 0.6 s: a step 0.25 s, 128 tokens a second, 0.1 s to exchange.

    A token of full training costs 4 blocks x (20 480 forward + 22 528 backward + 18 432 for gradients) = 245 760
    FLOP, so that the rate is 31 457 280 FLOP a second: 3.145728 % of 10^9.
    """
    monkeypatch.setattr(gpu, "TINY", dataclasses.replace(gpu.TINY, workers=(1,)))
    monkeypatch.setattr(gpu, "cases", lambda size: [gpu.Case("full", FedAvg())])
    monkeypatch.setattr(gpu, "peak_rate", lambda device: (1e9, "invented"))
    monkeypatch.setattr(gpu.Bench, "_visit", lambda self, workers, number, client: {0: 0.6, 1: 2.6}[client])
    threads = torch.get_num_threads()
    peaks = []
    for held in (1, 200_000_000):
        with mmap.mmap(-1, held) as memory:
            memory.write(bytes([1]) * held)
            gpu.main(["--tiny", "-o", str(tmp_path)])
        (row,) = json.loads((tmp_path / "gpu.json").read_text())["rows"]
        peaks.append(row["peak_mb"])
    torch.set_num_threads(threads)
    assert row["step_s"] == pytest.approx(0.25)
    assert row["tokens_per_s"] == pytest.approx(128)
    assert row["exchange_s"] == pytest.approx(0.1)
    assert row["utilisation"] == pytest.approx(0.03145728)
    assert peaks[1] - peaks[0] == pytest.approx(200, abs=50)


def test_each_worker_of_a_gpu_has_its_share_of_the_memory(monkeypatch):
    here, there = multiprocessing.Pipe()
    here.close()
    shares = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    gpu._serve(there, 4)
    assert shares == [0.25]


BARE = """
import sys
from simulate.bench.gpu import main
if __name__ == "__main__":
    main(["--tiny", "-o", sys.argv[1]])
    print("imported", sorted({"ray", "datasets", "seqeval", "sklearn", "pyarrow", "pandas"} & sys.modules.keys()))
"""


@pytest.mark.slow
def test_gpu_measurements_need_few_packages_and_run_with_two_workers(tmp_path):
    script = tmp_path / "bare.py"
    script.write_text(BARE)
    said = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "imported []"
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert [(row["workers"], row["note"]) for row in rows] == [(1, "")] * 4 + [(2, "")] * 4
    assert all(row["round_s"] > 0 for row in rows)


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
