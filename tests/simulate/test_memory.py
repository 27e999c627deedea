"""Memory: what a process frees stays with it from a moment on; what a worker takes by plan, and how many have room."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from simulate import plan
from simulate.api import simulate
from simulate.engine import memory
from simulate.engine.executors import EngineSettings, workers_wanted
from simulate.plan import PROCESS, USED, make_plan
from tests.runs import experiment

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


def test_a_plan_by_hand_of_the_workers_that_there_is_room_for(tiny_decoder, ner_corpus, monkeypatch):
    """Room for two to the byte. Frozen weights are held once, the main process has six float32 of what is exchanged."""
    what = experiment(tiny_decoder, ner_corpus, train={"lr": 0.01, "batch_size": 20_000}, engine={"device": "cpu"})
    planned = make_plan(what)
    frozen = planned.parameters - planned.trained
    main, each = PROCESS + 4 * frozen + 24 * planned.exchanged, PROCESS + planned.memory_bytes - 4 * frozen
    for fits, memory_bytes in ((2, main + 2 * each), (1, main + 2 * each - 2), (1, 0)):
        monkeypatch.setattr(plan, "machine_bytes", lambda found=memory_bytes: found / USED)
        assert make_plan(what).room == fits
    assert dict(make_plan(what).rows())["room on this machine"] == "engine.workers up to 1"
    elsewhere = what.model_copy(update={"engine": what.engine.model_copy(update={"device": "cuda"})})
    assert "room on this machine" not in dict(make_plan(elsewhere).rows())


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
    simulate(
        {tmp_path / "run": experiment(tiny_decoder, ner_corpus, rounds=1, engine={"executor": "ray", "device": "cpu"})}
    )
    record = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert record["workers"] == 1
    assert "1 worker: the memory has no room for more, as estimated (engine.workers)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("limits", "part"), [(("max\n",), 1.0), (("1000000\n",), None), (("max", "2000000"), None), ((), 1.0)]
)
def test_a_container_has_the_memory_that_it_may_have(limits, part, tmp_path, monkeypatch):
    files = [tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"]
    for file, limit in zip(files, limits, strict=False):
        file.write_text(limit)
    monkeypatch.setattr(memory, "LIMITS", tuple(files))
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert memory.machine_bytes() == (whole if part else int(limits[-1]))
