"""LLaMA 3.2-1B on one GPU, by the workers of this project: speed of training, utilisation, memory, seconds per round.

    python -m simulate.bench.gpu -o runs/gpu            on a machine with a GPU, in under 8 minutes
    python -m simulate.bench.gpu -o runs/gpu --tiny     the same on the CPU with a tiny model: does it run?

Needs torch, transformers and pydantic, for LoRA also peft; no Ray, no corpus, no weights: they are random, and so are
the texts, each of whose tokens has a label. Workers are processes that share the GPU, and this file is their server: it
hands out clients, adds their sums up and sends the average back, without evaluation and records. Where there are
several, sums and averages go through pipes, by value, while the engine shares them in memory: of a round then only
"training" is as in the engine.

Model-FLOPs utilisation counts the work that training needs, no more, as in PaLM (arXiv 2204.02311, appendix B). With n
weights in the matrices of a block, d its width and s the tokens of a text, a token costs

    2 n + 4 s d    forward, in each block that is run (all of them, or those above the cached prefix)
    2 n + 8 s d    backward through each block from the lowest trained one up, in that one without the 2 n of its query,
                   key and value weights if nothing before them is trained, not even the norm that they follow
    2 n            for the gradients of each block whose weights are trained (LoRA: 2 for each weight of an adapter)

and utilisation is that, times tokens per second, in parts of the peak: the data sheet's dense bfloat16 rate of the GPU,
or for others (and CPUs) the rate at which this machine multiplies large bfloat16 matrices, measured here.
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import pickle
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import prod
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForTokenClassification, LlamaConfig, PreTrainedTokenizerFast

from baselines.aggregation.mean import Mean
from baselines.fedavg import FedAvg
from baselines.layer_skipping import LayerSkipping
from baselines.server.average import Average
from simulate import seeds
from simulate.clients.tasks import iob2_tags
from simulate.clients.training import TrainSettings
from simulate.engine.faults import FaultSettings
from simulate.engine.job import ClientReport, Job, ModelFacts
from simulate.engine.prefix_cache import PrefixCacheSettings
from simulate.engine.resident import ResidentWorker
from simulate.exchange.channel import Float32Channel, State
from simulate.exchange.loops import add_rounded
from simulate.files import write_json, write_text
from simulate.method import Method, Turn
from simulate.models.backbone import ModelSettings
from simulate.models.encoded import Encoded

PEAKS = {
    "GH200": 989e12,
    "H200 NVL": 835e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
}
"""Words of a GPU's name -> dense bfloat16 FLOP a second by its data sheet (without sparsity)."""
LABELS = ("one", "two")
"""Types of entities: five tags."""
EXAMPLES = 2
"""Of each client, in the largest batches."""
VISITS = 3
"""Timed visits of one client, whose median counts."""
UNKNOWN_SECONDS = 60.0
"""What a case is expected to take that has not been measured before."""
CONFIG = Path(__file__).parents[1] / "models" / "configs" / "llama-3.2-1b.json"


@dataclass(frozen=True)
class Size:
    """Attributes:
    tokens: of each text.
    batches: texts a step, the largest first; the first that fits is taken.
    clients: of a round.
    workers: numbers of workers to try.
    layers: trained ones of the layer-skipping cases.
    """

    tokens: int = 512
    batches: tuple[int, ...] = (32, 16, 8, 4)
    clients: int = 4
    workers: tuple[int, ...] = (1, 2, 4)
    layers: int = 6
    rank: int = 16


TINY = Size(tokens=16, batches=(2,), clients=2, workers=(1, 2), layers=2, rank=2)
TINY_SHAPE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
}


@dataclass(frozen=True)
class Case:
    """What is trained, and whether the frozen prefix is kept."""

    name: str
    method: Method
    cached: bool = False


def cases(size: Size) -> list[Case]:
    """What is compared, the cheapest first; LoRA only where peft is installed."""
    skipping = LayerSkipping(layers=size.layers)
    found = [
        Case(f"{size.layers} layers, prefix cached", skipping, cached=True),
        Case(f"{size.layers} layers", skipping),
        Case("full", FedAvg()),
    ]
    if importlib.util.find_spec("peft"):
        from baselines.lora import LoRA

        lora = LoRA(rank=size.rank, target_modules=("q_proj", "v_proj"))
        found.insert(0, Case(f"LoRA, rank {size.rank}", lora))
    return found


class Workers:
    """So many workers: one in this process, several in processes of their own."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._context = multiprocessing.get_context("spawn")
        self._others: list[tuple[Any, Connection]] = []
        self._own = ResidentWorker(gpu=0.0)
        if count > 1:
            for _ in range(count):
                here, there = self._context.Pipe()
                process = self._context.Process(target=_serve, args=(there, count), daemon=True)
                process.start()
                there.close()
                self._others.append((process, here))
        self._threads = ThreadPoolExecutor(count)

    def start(self, job: Job) -> None:
        self._everywhere("start", job)

    def all(self, method: str, *arguments: Any) -> list[Any]:
        return self._everywhere(method, *arguments)

    def first(self, method: str, *arguments: Any) -> Any:
        return self._call(0, method, *arguments)

    def spread(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The results of one method for many arguments, each handed to whichever worker is free."""
        free = list(range(self.count))

        def one(given: tuple[Any, ...]) -> Any:
            place = free.pop()
            try:
                return self._call(place, method, *given)
            finally:
                free.append(place)

        return self._finished([self._threads.submit(one, given) for given in arguments])

    def close(self) -> None:
        """Let all of them go; one that has ended, or cannot go on, too."""
        with suppress(Exception):
            self._everywhere("stop")
        for process, connection in self._others:
            connection.close()
            process.join(30)
            process.kill()
        self._threads.shutdown()

    def _everywhere(self, method: str, *arguments: Any) -> list[Any]:
        calls = [self._threads.submit(self._call, place, method, *arguments) for place in range(self.count)]
        return self._finished(calls)

    @staticmethod
    def _finished(calls: list[Future[Any]]) -> list[Any]:
        """The results when all calls are over, also where one has failed: its worker is then free again."""
        wait(calls)
        return [call.result() for call in calls]

    def _call(self, place: int, method: str, *arguments: Any) -> Any:
        if not self._others:
            return _perform(self._own, method, arguments)
        connection = self._others[place][1]
        _send(connection, (method, arguments))
        kind, result = _receive(connection)
        if kind == "memory":
            raise torch.OutOfMemoryError(result)
        if kind == "error":
            raise RuntimeError(f"a worker failed: {result}")
        return result


def _send(connection: Connection, message: object) -> None:
    """Send by value: what pipes do with tensors by themselves needs shared memory, of which there may be little."""
    connection.send_bytes(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL))


def _receive(connection: Connection) -> Any:
    return pickle.loads(connection.recv_bytes())


def _serve(connection: Connection, count: int) -> None:
    """What a worker's process does until it is told to stop; it fills no more than its share of the GPU, as one of so
    many of the engine's.
    """
    resident = ResidentWorker(1 / count if torch.cuda.is_available() else 0.0)
    method = ""
    while method != "stop":
        try:
            method, arguments = _receive(connection)
            _send(connection, ("result", _perform(resident, method, arguments)))
        except EOFError:
            return
        except torch.OutOfMemoryError as error:
            _send(connection, ("memory", str(error).partition("\n")[0]))
        except Exception as error:
            _send(connection, ("error", f"{type(error).__name__}: {error}"))


def _perform(resident: ResidentWorker, method: str, arguments: tuple[Any, ...]) -> Any:
    """What a call gives when the GPU has done it; between two workers all memory is given back."""
    on_gpu = torch.cuda.is_available()
    if method in ("start", "stop"):
        resident.stop()
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        if method == "start":
            resident.start(*arguments)
        return None
    if method == "peak_mb":
        return torch.cuda.max_memory_reserved() / 1e6 if on_gpu else resident.call("peak")[1]
    result = resident.call(method, *arguments)
    if on_gpu:
        torch.cuda.synchronize()
    return result


class Bench:
    """Measures one case after the other, as long as there is time.

    Args:
        size: of texts, batches and rounds.
        model: the folder of the model.
        device: cuda or cpu.
        seconds: all the time there is.
    """

    def __init__(self, size: Size, model: Path, device: str, seconds: float) -> None:
        self.size = size
        self.device = device
        self.model = model
        self.peak, self.peak_source = peak_rate(device)
        self.deadline = time.monotonic() + seconds
        self.taken: dict[str, float] = {}
        self.fitting: dict[str, int] = {}
        self.rows: list[dict[str, Any]] = []

    def run(self) -> Iterator[dict[str, Any]]:
        """The rows of all cases with one worker, then with more; one says of a case that there was no time for it, or
        what went wrong.
        """
        for count in self.size.workers:
            workers = Workers(count)
            for case in cases(self.size):
                row: dict[str, Any] = {"case": case.name, "workers": count, "note": ""}
                begin, failed = time.monotonic(), False
                if begin + self.taken.get(case.name, UNKNOWN_SECONDS) > self.deadline:
                    row["note"] = "not measured: no time left"
                else:
                    try:
                        row |= self._measure(workers, case)
                    except Exception as error:  # of CUDA, of the training, or of a worker that has ended
                        failed = True
                        row["note"] = f"failed: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
                    self.taken[case.name] = time.monotonic() - begin
                self.rows.append(row)
                yield row
                if failed:  # whatever is left of these workers
                    workers.close()
                    workers = Workers(count)
            workers.close()

    def _measure(self, workers: Workers, case: Case) -> dict[str, Any]:
        """One case, with as many texts a step as fit; several workers begin at their share of what one could do."""
        most = max(self.size.batches[-1], self.fitting.get(case.name, self.size.batches[0]) // workers.count)
        for batch in self.size.batches:
            if batch > most:
                continue
            try:
                found = self._measure_with(workers, case, batch)
            except torch.OutOfMemoryError:
                continue
            self.fitting.setdefault(case.name, batch)
            return found
        return {"note": f"out of memory with {self.size.batches[-1] * self.size.tokens} tokens a step"}

    def _measure_with(self, workers: Workers, case: Case, batch: int) -> dict[str, Any]:
        job = self._job(case, batch, workers.count)
        began = time.monotonic()
        workers.start(job)
        facts: ModelFacts = workers.first("facts")
        state: State = workers.first("initial")
        found: dict[str, Any] = {"tokens_per_step": batch * self.size.tokens, "start_s": time.monotonic() - began}
        if workers.count == 1:
            self._visit(workers, 1)  # kernels are chosen, and the prefix is filled
            visits = [self._visit(workers, 2 + number) for number in range(VISITS)]
            step = statistics.median(report.stages["steps"] / report.steps for report, _ in visits)
            rate = found["tokens_per_step"] / step
            flops = token_flops(facts, self.size.tokens, case.cached)
            found |= {
                "step_s": step,
                "tokens_per_s": rate,
                "flops_per_token": flops,
                "utilisation": rate * flops / self.peak,
                "exchange_s": statistics.median(seconds - report.stages["steps"] for report, seconds in visits),
            }
        if case.cached or workers.count > 1:  # with one worker all else is warm by now
            state, found["first_round_s"], _ = self._round(workers, 7, state)
        _, found["round_s"], found["training_s"] = self._round(workers, 8, state)
        found["peak_mb"] = sum(workers.all("peak_mb"))
        return found

    def _visit(self, workers: Workers, number: int) -> tuple[ClientReport, float]:
        """The report of client 0, and the seconds of its visit, encoding and adding up of its update included."""
        workers.all("collect")
        begin = time.monotonic()
        report, _ = workers.first("train", Turn(0, number, 9, 0), self._examples(0), None)
        return report, time.monotonic() - begin

    def _round(self, workers: Workers, number: int, state: State) -> tuple[State, float, float]:
        """One round of federated averaging of all clients but the first: the new global values, the seconds of all of
        it, and those until all were trained.
        """
        workers.all("collect")
        clients = range(1, 1 + self.size.clients)
        weight = sum(self._examples(client) for client in clients)
        begin = time.monotonic()
        workers.spread("train", [(Turn(0, number, 9, client), weight, None) for client in clients])
        trained = time.monotonic()
        total, *others = [part for part in workers.all("collect") if part is not None]
        for part in others:
            total.merge(part)
        new = {name: state[name] + change for name, change in total.average().items()}
        workers.all("receive", Float32Channel().encode(new))
        return state | new, time.monotonic() - begin, trained - begin

    def _examples(self, client: int) -> int:
        return len(self._shards[client])

    def _job(self, case: Case, batch: int, workers: int) -> Job:
        """A client to time alone, then those of the rounds; none shares an example."""
        ends = np.arange(2 + self.size.clients) * EXAMPLES * self.size.batches[0]
        self._shards = tuple(np.arange(begin, end) for begin, end in pairwise(ends))
        held_out = random_texts(len(LABELS), self.size.tokens, 1)
        return Job(
            key=f"bench-gpu-{time.monotonic_ns()}",
            seed=0,
            rounds=9,
            task="ner",
            labels=LABELS,
            model=ModelSettings(name=str(self.model), max_length=self.size.tokens),
            method=case.method,
            aggregation=Mean(),
            server=Average(),
            faults=FaultSettings(),
            train=TrainSettings(optimizer="adamw", lr=1e-5, batch_size=batch, precision="bf16"),
            prefix_cache=PrefixCacheSettings(enabled=case.cached, dtype="bfloat16"),
            splits={
                "train": random_texts(int(ends[-1]), self.size.tokens, 0),
                "validation": held_out,
                "test": held_out,
            },
            shards=self._shards,
            device=self.device,
            workers=workers,
            threads=max(1, (os.cpu_count() or 1) // max(self.size.workers)),
        )


def random_texts(count: int, tokens: int, seed: int) -> Encoded:
    """Texts of equal length with random sub-words of the tiny vocabulary, each a word; tags in turn."""
    ids = seeds.generator(seed, "bench gpu").integers(3, TINY_SHAPE["vocab_size"], count * tokens, dtype=np.int32)
    tags = np.arange(count * tokens, dtype=np.int64) % len(iob2_tags(LABELS))
    one_each = np.arange(count + 1, dtype=np.int64)
    return Encoded(ids, one_each * tokens, one_each, tags, tags, one_each * tokens, 0, 0)


def token_flops(facts: ModelFacts, tokens: int, cached: bool) -> float:
    """The floating-point operations that training needs for a token, see above; the task head is left out."""
    width = json.loads(facts.config)["hidden_size"]
    trained = set(facts.scope.trained)
    blocks = facts.structure.blocks
    lowest = facts.structure.blocks_of(trained)[0]
    total = 0.0
    before = {name for name in blocks[lowest] if "input_layernorm" in name} | set(facts.structure.embedding)
    if trained.isdisjoint(before):  # nothing needs the gradient of what enters the lowest trained block's attention
        first = [name for name in blocks[lowest] if re.search("[qkv]_proj", name) and "lora_B" not in name]
        total -= 2 * sum(prod(facts.shapes[name]) for name in first if len(facts.shapes[name]) == 2)
    for number, block in enumerate(blocks):
        matrices = [name for name in block if len(facts.shapes[name]) == 2]
        weights = sum(prod(facts.shapes[name]) for name in matrices)
        if number >= lowest or not cached:
            total += 2 * weights + 4 * tokens * width
        if number >= lowest:
            total += 2 * weights + 8 * tokens * width
        total += 2 * sum(prod(facts.shapes[name]) for name in matrices if name in trained)
    return total


def peak_rate(device: str) -> tuple[float, str]:
    """FLOP a second to measure utilisation against, and where the number is from."""
    if device == "cuda":
        name = torch.cuda.get_device_name()
        words = set(re.split("[ -]", name))
        for part, rate in PEAKS.items():
            if words.issuperset(part.split()) and "MIG" not in words:  # which is a part of a GPU
                return rate, f"data sheet of {name}, dense bfloat16"
    edge = 8192 if device == "cuda" else 512
    left, right = (torch.randn(edge, edge, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        product = left @ right
        float(product[0, 0])  # waits for the device
        seconds.append(time.perf_counter() - begin)
    return 2 * edge**3 / min(seconds), f"measured here, bfloat16 matrices of {edge} x {edge}"


@contextmanager
def random_model(tiny: bool, device: str) -> Iterator[Path]:
    """A folder with the model of random weights, gone afterwards."""
    config = LlamaConfig.from_json_file(CONFIG)
    for key, value in (TINY_SHAPE if tiny else {}).items():
        setattr(config, key, value)
    config.num_labels = len(iob2_tags(LABELS))
    config.bos_token_id, config.eos_token_id, config.pad_token_id = None, 2, 0
    config.architectures = ["LlamaForTokenClassification"]
    folder = Path(tempfile.mkdtemp(prefix="skipfl-bench-"))
    try:
        with torch.device(device):
            model = AutoModelForTokenClassification.from_config(config, dtype=torch.bfloat16)
        save_file(
            {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()},
            folder / "model.safetensors",
            {"format": "pt"},
        )
        del model
        if device == "cuda":
            torch.cuda.empty_cache()
        config.save_pretrained(folder)
        words = {word: number for number, word in enumerate(("<pad>", "<unk>", "<eos>"))}
        tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", eos_token="<eos>"
        ).save_pretrained(folder)
        yield folder
    finally:
        shutil.rmtree(folder)


COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "tokens_per_step": ("tokens a step", lambda x: f"{x:.0f}"),
    "step_s": ("ms a step", lambda x: f"{1000 * x:.1f}"),
    "tokens_per_s": ("tokens/s", lambda x: f"{x:.0f}"),
    "utilisation": ("utilisation, %", lambda x: f"{100 * x:.1f}"),
    "exchange_s": ("exchange a client, s", lambda x: f"{x:.2f}"),
    "round_s": ("s a round", lambda x: f"{x:.2f}"),
    "training_s": ("of it training, s", lambda x: f"{x:.2f}"),
    "first_round_s": ("first round, s", lambda x: f"{x:.2f}"),
    "peak_mb": ("peak memory, MB", lambda x: f"{x:.0f}"),
}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as Markdown."""
    heading = ["case", "workers", *(title for title, _ in COLUMNS.values()), "note"]
    lines = [heading, ["---", *["---:"] * (len(heading) - 2), "---"]]
    for row in rows:
        cells = [form(row[name]) if name in row else "–" for name, (_, form) in COLUMNS.items()]
        lines.append([row["case"], str(row["workers"]), *cells, row["note"]])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(row: Mapping[str, Any]) -> str:
    said = [f"{title} {form(row[name])}" for name, (title, form) in COLUMNS.items() if name in row]
    return f"{row['case']}, workers {row['workers']}: {', '.join(said) or row['note']}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m simulate.bench.gpu", description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for gpu.json and gpu.md")
    parser.add_argument("--tiny", action="store_true", help="a tiny model on the CPU: does it run?")
    parser.add_argument("--minutes", type=float, default=7.5, help="begin no case that would take longer (7.5)")
    asked = parser.parse_args(arguments)
    device = "cpu" if asked.tiny else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: torch sees no GPU here; --tiny runs on the CPU")
    begin = time.monotonic()
    try:
        asked.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"error: {asked.output}: {error.strerror}")
    with random_model(asked.tiny, device) as model:
        size = TINY if asked.tiny else Size()
        bench = Bench(size, model, device, 60 * asked.minutes - (time.monotonic() - begin))
        for row in bench.run():
            print(_line(row), flush=True)
            text = write(bench, asked.output, time.monotonic() - begin)
    print(f"\n{text}\nwrote {asked.output / 'gpu.json'}, {asked.output / 'gpu.md'}")


def write(bench: Bench, output: Path, seconds: float) -> str:
    """Write what there is so far into `gpu.json` and `gpu.md`; what the latter says."""
    facts = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "device": torch.cuda.get_device_name() if bench.device == "cuda" else "cpu",
        "torch": torch.__version__,
        "adds_up": "Numba" if add_rounded.__module__.endswith(".compiled") else "NumPy",
        "peak_flops": bench.peak,
        "peak_source": bench.peak_source,
        "size": asdict(bench.size),
        "seconds": round(seconds, 1),
    }
    write_json(output / "gpu.json", {**facts, "rows": bench.rows})
    where = f"{facts['device']}, torch {facts['torch']}, {facts['date']}"
    peak = f"{bench.peak / 1e12:.3g} TFLOP/s ({bench.peak_source})"
    remarks = f"{where}. Utilisation in parts of {peak}. Updates are added up by {facts['adds_up']}."
    text = f"{table(bench.rows)}\n\n{remarks}\n"
    write_text(output / "gpu.md", text)
    return text


if __name__ == "__main__":
    main()
