"""What the measurements on a GPU say, on a tiny model on the CPU, and their formulas by hand."""

import dataclasses
import json
import mmap
import multiprocessing
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from baselines.fedavg import FedAvg
from baselines.layer_skipping import LayerSkipping
from simulate.bench import gpu
from simulate.engine import resident
from simulate.engine.job import ClientReport
from simulate.engine.resident import ResidentWorker
from simulate.engine.worker import Worker


def test_gpu_measurements_run_on_a_tiny_model(tmp_path, monkeypatch, capsys):
    threads = torch.get_num_threads()
    monkeypatch.setattr(gpu, "TINY", dataclasses.replace(gpu.TINY, workers=(1,)))
    gpu.main(["--tiny", "-o", str(tmp_path)])
    torch.set_num_threads(threads)
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["adds_up"] == "Numba"
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
    # adapters of rank 2 beside q (32 x 32) and v (16 x 32): 2 x (32 + 32) + 2 x (32 + 16) = 224; nothing is trained
    # before the first block's q, k and v, so that the way back ends above their 32 x 32 + 2 x 16 x 32 = 2048 weights
    # and the 2 x 2 x 32 = 128 of the adapters' first matrices
    assert rows["LoRA, rank 2"]["flops_per_token"] == 4 * (forward + backward + (2 + 2 + 2) * 224) - 2 * (2048 + 128)
    assert "| full | 1 | 32 |" in capsys.readouterr().out


def test_gpu_utilisation_and_memory_by_hand(tmp_path, monkeypatch):
    """Two steps of 2 x 16 tokens take 0.5 s: a step 0.25 s, 128 tokens a second; with exchange the visit takes 0.6 s.

    A token of full training costs 4 blocks x (20 480 forward + 22 528 backward + 18 432 for gradients) = 245 760
    FLOP, so that the rate is 31 457 280 FLOP a second: 3.145728 % of 10^9.
    """
    monkeypatch.setattr(gpu, "TINY", dataclasses.replace(gpu.TINY, workers=(1,)))
    monkeypatch.setattr(gpu, "cases", lambda size: [gpu.Case("full", FedAvg())])
    monkeypatch.setattr(gpu, "peak_rate", lambda device: (1e9, "invented"))
    report = ClientReport(0, 4, 2, stages={"steps": 0.5})
    monkeypatch.setattr(gpu.Bench, "_visit", lambda self, workers, number: (report, 0.6))
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
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=24_000_000_000))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    gpu._serve(there, 4)
    assert shares == [0.225]  # 0.6 GB of each quarter of 24 GB are CUDA's own


def test_a_worker_goes_before_the_next_one_comes(monkeypatch):
    """Also where the next one does not come about: what is left is closed once."""
    closed = []

    class Made:
        def __init__(self, name: str) -> None:
            if name == "too large":
                raise torch.OutOfMemoryError
            assert resident.worker is None
            self.name = name

        def close(self) -> None:
            closed.append(self.name)

    monkeypatch.setattr("simulate.engine.resident.Worker", Made)
    resident = ResidentWorker(gpu=0.0)
    resident.start("first")
    resident.start("second")
    with pytest.raises(torch.OutOfMemoryError):
        resident.start("too large")
    resident.stop()
    assert closed == ["first", "second"]


def test_a_case_that_fails_is_told_and_the_others_go_on(tmp_path, monkeypatch):
    """What there is so far is on the disk after each case."""
    seen = []

    def measure(self, workers, case, batch):
        seen.append(len(json.loads((tmp_path / "gpu.json").read_text())["rows"]) if seen else 0)
        if case.name == "full":
            raise RuntimeError("CUBLAS_STATUS_ALLOC_FAILED\nand more")
        return {"round_s": 1.0}

    monkeypatch.setattr(gpu, "TINY", dataclasses.replace(gpu.TINY, workers=(1,)))
    monkeypatch.setattr(gpu, "cases", lambda size: [gpu.Case(name, FedAvg()) for name in ("a", "full", "b")])
    monkeypatch.setattr(gpu.Bench, "_measure_with", measure)
    gpu.main(["--tiny", "-o", str(tmp_path)])
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert seen == [0, 1, 2]
    assert [row["note"] for row in rows] == ["", "failed: RuntimeError: CUBLAS_STATUS_ALLOC_FAILED", ""]
    with pytest.raises(SystemExit, match=r"gpu\.json: File exists"):
        gpu.main(["--tiny", "-o", str(tmp_path / "gpu.json")])


class Dying(Worker):
    """Ends its process in the first case."""

    def train(self, *arguments):
        if isinstance(self.job.method, LayerSkipping):
            os._exit(1)
        return super().train(*arguments)


def serve(connection, count: int) -> None:
    resident.Worker = Dying
    gpu_serve(connection, count)


gpu_serve = gpu._serve


def test_a_worker_that_ends_spoils_its_case_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "TINY", dataclasses.replace(gpu.TINY, workers=(2,)))
    cases = [gpu.Case("dies", LayerSkipping(layers=2)), gpu.Case("full", FedAvg())]
    monkeypatch.setattr(gpu, "cases", lambda size: cases)
    monkeypatch.setattr(gpu, "_serve", serve)
    gpu.main(["--tiny", "-o", str(tmp_path)])
    first, second = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert first["note"] == "failed: EOFError: "
    assert second["note"] == ""
    assert second["round_s"] > 0


def test_a_case_that_does_not_fit_is_tried_with_fewer_texts_a_step(tmp_path, monkeypatch):
    """And two workers begin at half of what one could do."""
    tried = []

    def measure(self, workers, case, batch):
        tried.append((workers.count, batch))
        if batch * workers.count > 8:
            raise torch.OutOfMemoryError
        return {"round_s": 1.0}

    monkeypatch.setattr(gpu, "TINY", dataclasses.replace(gpu.TINY, batches=(16, 8, 4, 2), workers=(1, 2)))
    monkeypatch.setattr(gpu, "cases", lambda size: [gpu.Case("full", FedAvg())])
    monkeypatch.setattr(gpu.Bench, "_measure_with", measure)
    gpu.main(["--tiny", "-o", str(tmp_path)])
    assert tried == [(1, 16), (1, 8), (2, 4)]


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("NVIDIA H200", 989e12),
        ("NVIDIA H200 NVL", 835e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
    ],
)
def test_the_peak_of_a_gpu_is_that_of_its_data_sheet(name, rate, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    assert gpu.peak_rate("cuda") == (rate, f"data sheet of {name}, dense bfloat16")


@pytest.mark.parametrize("name", ["NVIDIA L40", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA T4"])
def test_the_peak_of_another_gpu_is_measured(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    randn = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *_, device, dtype: randn(64, 64, dtype=dtype))
    rate, source = gpu.peak_rate("cuda")
    assert rate > 0
    assert source.startswith("measured here")


BARE = """
import sys
sys.modules["numba"] = None  # which a machine with PyTorch alone has not
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
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["adds_up"] == "NumPy"
    rows = written["rows"]
    assert [(row["workers"], row["note"]) for row in rows] == [(1, "")] * 4 + [(2, "")] * 4
    assert all(row["round_s"] > 0 for row in rows)
