"""Memory: what a process frees stays with it from a moment on; what a worker takes by plan, and how many have room."""

import json
import os
import platform
import subprocess
import sys
from math import prod
from pathlib import Path

import pytest

from simulate import plan
from simulate.api import simulate
from simulate.engine import memory
from simulate.engine.executors import EngineSettings, workers_wanted
from simulate.plan import PROCESS, RAY, USED, make_plan, outline
from tests.runs import experiment

HERE = {"executor": "ray", "device": "cpu"}

PROGRAM = """
import re, sys
from pathlib import Path
import torch
from simulate.engine.memory import keep_freed, reset_peak

def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

if sys.argv[1] == "kept":
    keep_freed()
before = anonymous()
large = torch.ones(16 * 2**20)  # 64 MB
during = anonymous()
del large
after = anonymous()
reset_peak()
print(during - before, after - before, anonymous() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
@pytest.mark.parametrize(("how", "stays"), [("kept", True), ("as ever", False)])
def test_freed_memory_stays_or_goes(how, stays):
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    during, after, given_back = map(float, done.stdout.split())
    assert during > 60
    assert (after > 60) == stays
    assert after < 70
    assert given_back < 5  # where a new peak is counted


def test_a_plan_counts_the_sub_words_of_a_step(tiny_decoder, ner_corpus):
    """Two trained blocks of hidden size 16, intermediate 32: 16 * 16 + 4 * 32 = 384 floats a sub-word each."""
    by_number, by_tokens = (
        make_plan(experiment(tiny_decoder, ner_corpus, train={"lr": 0.01, "batch_size": 4, "batch_tokens": tokens}))
        for tokens in (None, 256)
    )
    assert by_tokens.memory_bytes - by_number.memory_bytes == (256 - 4 * 32) * 2 * 384 * 4


def test_a_plan_by_hand_of_a_worker_s_memory(tiny_decoder, ner_corpus):
    """AdamW: a start value, a gradient and two moments for each trained parameter, change, sum and its copy for each
    exchanged one; on a GPU the weights that are frozen in two bytes, but for the embedding's, and no sums."""
    what = experiment(tiny_decoder, ner_corpus, train={"precision": "bf16"}, engine={"device": "cpu"})
    on_cpu = make_plan(what)
    on_gpu = make_plan(what.model_copy(update={"engine": what.engine.model_copy(update={"device": "cuda"})}))
    frozen, trained = on_cpu.parameters - on_cpu.trained, on_cpu.trained
    activations = 4 * 8 * 32 * 2 * 384
    embedding = 16 * json.loads((Path(what.model.name) / "config.json").read_text())["vocab_size"]
    assert on_cpu.exchanged == trained
    assert on_cpu.memory_bytes == 4 * frozen + (4 + 4 + 4 + 8 + 4 + 8 + 8) * trained + activations
    assert on_gpu.memory_bytes == 2 * frozen + 2 * embedding + (4 + 4 + 4 + 8 + 4) * trained + activations
    assert dict(on_gpu.rows())["GPU memory of a worker"].startswith("about ")


def test_a_plan_of_a_gpu_halves_no_weights_that_are_merged_into(tiny_decoder, ner_corpus):
    """FedEx-LoRA merges into every adapted weight: bf16 saves half of the others' alone, and of no embedding's."""
    method = {"name": "fedex_lora", "rank": 2, "target_modules": ["q_proj"]}
    float32, bf16 = ({"lr": 0.01, "precision": precision} for precision in ("float32", "bf16"))
    whole, halved = (
        make_plan(experiment(tiny_decoder, ner_corpus, method, train=train, engine={"device": "cuda"}))
        for train in (float32, bf16)
    )
    config = json.loads((Path(whole.model) / "config.json").read_text())
    embedding = config["hidden_size"] * config["vocab_size"]
    merged = config["num_hidden_layers"] * config["hidden_size"] ** 2
    head = whole.trained - 2 * 2 * config["num_hidden_layers"] * config["hidden_size"]
    assert whole.memory_bytes - halved.memory_bytes == 2 * (whole.parameters - head - embedding - merged)


def room_for(what, memory_bytes, monkeypatch):
    """Workers that a plan finds room for in so much memory."""
    monkeypatch.setattr(plan, "machine_bytes", lambda: memory_bytes / USED)
    return make_plan(what).room


def test_a_plan_by_hand_of_the_workers_that_there_is_room_for(tiny_decoder, ner_corpus, monkeypatch):
    """Room for two to the byte. Frozen weights are held once, the main process has six float32 of what is exchanged."""
    what = experiment(tiny_decoder, ner_corpus, train={"lr": 0.01, "batch_size": 20_000}, engine=HERE)
    planned = make_plan(what)
    frozen = planned.parameters - planned.trained
    main = PROCESS + RAY + 4 * frozen + 24 * planned.exchanged
    each = PROCESS + planned.memory_bytes - 4 * frozen
    assert room_for(what, main + 2 * each, monkeypatch) == 2
    assert room_for(what, main + 2 * each - 2, monkeypatch) == 1
    assert room_for(what, 0, monkeypatch) == 1
    assert dict(make_plan(what).rows())["memory of this machine"] == "has room for 1 worker, as estimated"
    adam = experiment(tiny_decoder, ner_corpus, train={"lr": 0.01, "batch_size": 20_000}, engine=HERE, server="adam")
    assert room_for(adam, main + 2 * each + 8 * planned.exchanged, monkeypatch) == 2
    assert room_for(adam, main + 2 * each, monkeypatch) == 1


@pytest.mark.parametrize("where", [{"device": "cuda"}, {"executor": "serial"}, {"address": "auto"}])
def test_a_plan_of_work_elsewhere_says_nothing_of_this_machine(where, tiny_decoder, ner_corpus):
    planned = make_plan(experiment(tiny_decoder, ner_corpus, engine=HERE | where))
    assert planned.room is None
    assert "memory of this machine" not in dict(planned.rows())


def test_updates_kept_apart_and_merged_weights_take_room_of_the_main_process(tiny_decoder, ner_corpus, monkeypatch):
    """Of a median, 20 bytes for each number of each of four updates, of which no worker but its own holds any; of
    FedEx-LoRA the same, and six float32 of each weight that it merges into."""
    cohort = {"partition": {"name": "iid", "clients": 4}, "train": {"lr": 0.01, "batch_size": 20_000}, "engine": HERE}
    mean, median = (experiment(tiny_decoder, ner_corpus, aggregation=name, **cohort) for name in ("mean", "median"))
    planned = make_plan(mean)
    frozen = planned.parameters - planned.trained
    main = PROCESS + RAY + 4 * frozen + 24 * planned.exchanged + 4 * 20 * planned.exchanged
    each = PROCESS + planned.memory_bytes - 4 * frozen
    assert room_for(median, main + 2 * each, monkeypatch) == 2
    assert room_for(median, main + 2 * each - 2, monkeypatch) == 1
    method = {"name": "fedex_lora", "rank": 2, "target_modules": ["q_proj"]}
    merging = experiment(tiny_decoder, ner_corpus, method, **cohort)
    planned, prepared = make_plan(merging), outline(merging)
    held = sum(prod(shape) for name, shape in prepared.shapes.items() if name not in prepared.scope.changing)
    merged = sum(prod(prepared.shapes[name]) for name in prepared.scope.merged)
    assert merged > 0
    main = PROCESS + RAY + 4 * held + 24 * (planned.exchanged + merged) + 4 * 20 * planned.exchanged
    each = PROCESS + planned.memory_bytes - 4 * held - 3 * 8 * planned.exchanged
    assert room_for(merging, main + 2 * each, monkeypatch) == 2
    assert room_for(merging, main + 2 * each - 2, monkeypatch) == 1


@pytest.mark.parametrize(
    ("settings", "device", "workers"),
    [
        ({}, "cpu", 3),
        ({"threads": 4}, "cpu", 2),  # 8 cores
        ({"workers": 6}, "cpu", 6),
        ({"address": "auto"}, "cpu", 8),
        ({}, "cuda", 8),
        ({"executor": "serial"}, "cpu", 1),
    ],
)
def test_memory_bounds_the_workers_that_nobody_asked_for(settings, device, workers):
    assert workers_wanted(EngineSettings(**settings), device, there=8, room=3) == workers


def test_a_run_has_as_many_workers_as_there_is_room_for_and_says_so(
    tiny_decoder, ner_corpus, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(plan, "machine_bytes", lambda: 2.5 * PROCESS)
    monkeypatch.setattr("simulate.study.processors", lambda _: 2)
    engine = {"executor": "ray", "device": "cpu"}
    simulate({tmp_path / "run": experiment(tiny_decoder, ner_corpus, rounds=1, engine=engine)})
    record = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert record["workers"] == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "run: 1 worker: by skipfl plan the memory has room for no more (run); engine.workers sets" in said


WHOLE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("own", "limits", "found"),
    [
        ("0::/job/step\n", {"job/memory.max": "3000000\n", "job/step/memory.max": "max\n"}, 3_000_000),
        ("0::/job/step\n", {"memory.max": "2000000\n", "job/memory.max": "3000000\n"}, 2_000_000),
        ("0::/elsewhere\n", {"memory.max": "2000000\n"}, 2_000_000),  # a container sees its own group as the top
        ("4:cpu:/a\n3:memory:/a\n", {"memory/a/memory.limit_in_bytes": "1000000\n"}, 1_000_000),
        ("4:cpu:/a\n3:memory:/a\n", {"cpu/a/memory.limit_in_bytes": "1000000\n"}, WHOLE),
        ("0::/\n", {"memory.max": "max\n"}, WHOLE),
        ("0::/\n", {"memory.max": str(10 * WHOLE)}, WHOLE),
        ("", {}, WHOLE),
    ],
)
def test_a_process_has_the_memory_that_its_group_may_have(own, limits, found, tmp_path, monkeypatch):
    for name, limit in limits.items():
        file = tmp_path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(limit)
    (tmp_path / "own").write_text(own)
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "own")
    assert memory.machine_bytes() == found
