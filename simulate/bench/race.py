"""All contestants on the same workloads, in turn, again and again; a record for each run."""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor

import simulate
from partitions.cache import VARIABLE
from simulate.bench import BenchError, environments
from simulate.bench.contestants.shared import FINAL, OUTCOME
from simulate.bench.launch import Finished, launch
from simulate.bench.plan import write_material, write_plan
from simulate.bench.workloads import Workload
from simulate.engine.executors import processors
from simulate.engine.memory import machine_bytes
from simulate.engine.ray_executor import HUGE_PAGES
from simulate.engine.records import environment
from simulate.files import named, write_text
from simulate.one_writer import hold
from simulate.registry import suggest

OURS = "skipfl"
TIMEOUT_SECONDS = 3600.0
"""Longest run of one contestant."""
MEMORY = (HUGE_PAGES[0], f"{HUGE_PAGES[1]}:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold={2**64 - 1}")
"""Has a process ask for huge pages and keep what it frees, as our workers do (`simulate.engine.memory.keep_freed`)."""

NEEDED = frozenset({"workload", "variant", "contestant", "repeat", "status", "settings"})
"""What a record has by which it is known whether its run is to be done again."""


@dataclass(frozen=True)
class Contestant:
    """Attributes:
    title: as tables call it; `{workers}` stands for the number of processes or actors that train.
    module: in `simulate.bench.contestants`.
    peer: whose environment it needs, None for this one.
    workers: processes that train, where that is not the benchmark's number.
    wide: whether one process computes with as many threads as the others have processes.
    floor: whether it is a bare loop, which then has `MEMORY`, as our engine has; other simulators run as they come.
    """

    title: str
    module: str
    peer: str | None = None
    workers: int | None = None
    wide: bool = False
    floor: bool = False


CONTESTANTS = {
    OURS: Contestant("skipfl, {workers} workers", "ours"),
    "one-worker": Contestant("skipfl, 1 worker", "ours", workers=1),
    "four-workers": Contestant("skipfl, 4 workers", "ours", workers=4),
    "serial": Contestant("skipfl, serial", "ours_serial", workers=1),
    "bare": Contestant("{workers} bare processes", "bare", floor=True),
    "loop": Contestant("plain loop, 1 thread", "bare", workers=1, floor=True),
    "loop-threads": Contestant("plain loop, {workers} threads", "bare", workers=1, wide=True, floor=True),
    "flower": Contestant("Flower, {workers} actors", "flower", peer="flower"),
    "pfl": Contestant("pfl, {workers} workers", "pfl_research", peer="pfl"),
}


@dataclass(frozen=True)
class Race:
    """What to run.

    Attributes:
        workloads: by name, with their numbers as they are to be run.
        variants: what is trained, of each workload.
        contestants: names of `CONTESTANTS`, ours among them.
        repeats: times that each runs.
        workers: processes that train, one thread each.
    """

    workloads: Mapping[str, Workload]
    variants: Mapping[str, Sequence[str]]
    contestants: Sequence[str]
    repeats: int
    workers: int


def check_peers(names: Iterable[str]) -> list[str]:
    """The contestants of a race against these, ours first.

    Raises:
        BenchError: if one is not known, or its environment is missing.
    """
    chosen = [OURS]
    for name in names:
        if name not in CONTESTANTS or name == OURS:
            raise BenchError(f"unknown peer {name!r}{suggest(name, set(CONTESTANTS) - {OURS})}")
        if (peer := CONTESTANTS[name].peer) is not None:
            environments.interpreter(peer)
        chosen.append(name)
    return chosen


def run_race(race: Race, folder: Path, console: Console) -> Path:
    """Run whatever of a race a folder does not hold yet, and append to its records; it is to be `held`.

    A repetition counts as a whole: one in which a contestant is missing or failed is run anew.

    Args:
        race: what to run.
        folder: gets `records.jsonl` and `logs`; `work`, the written workloads and a copy of the packages, is removed at
            the end.
        console: gets a line a run, with the time that is left.

    Returns:
        The file of the records.

    Raises:
        BenchError: if the folder holds records of a workload with other numbers, or what is no record.
    """
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    file, work = folder / "records.jsonl", folder / "work"
    kept = _kept(race, file, console)
    done = {(record["workload"], record["variant"], record["repeat"]) for record in kept}
    turns = [
        (name, variant, repeat, contestant)
        for name in race.workloads
        for variant in race.variants[name]
        for repeat in range(1, race.repeats + 1)
        if (name, variant, repeat) not in done
        for contestant in _order(race.contestants, repeat)
    ]
    facts = machine() | _versions(race.contestants)
    durations: dict[tuple[str, str, str], list[float]] = {}
    shutil.rmtree(work, ignore_errors=True)
    if turns:
        _copy_source(work / "source")
    for place, (name, variant, repeat, contestant) in enumerate(turns):
        workload = race.workloads[name]
        plan = _written(workload, name, variant, work)
        record = _run_one(race, workload, plan, name, variant, repeat, contestant, folder, work)
        with named(file), file.open("a") as stream:
            stream.write(json.dumps(record | facts) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        durations.setdefault((name, variant, contestant), []).append(record["total_seconds"])
        left = _left(durations, [(name, variant, who) for name, variant, _, who in turns[place + 1 :]])
        eta = f"  ETA {left / 60:.1f} min" if left else ""
        console.print(f"{name} {variant} {repeat}/{race.repeats}  {_line(record)}{eta}")
    shutil.rmtree(work, ignore_errors=True)
    return file


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Within the block no other process writes the folder; the system lets go of it however this one ends.

    Raises:
        BenchError: if another process does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    used = f"{folder}: another process is writing this benchmark; wait for it, or give another folder with -o"
    lock = hold(folder, BenchError(used))
    try:
        yield
    finally:
        lock.release()


def _order(contestants: Sequence[str], repeat: int) -> list[str]:
    """Another one begins in each repetition, so that none always runs after the same."""
    first = (repeat - 1) % len(contestants)
    return [*contestants[first:], *contestants[:first]]


def _kept(race: Race, file: Path, console: Console) -> list[dict[str, Any]]:
    """The records of whole repetitions with all the contestants, and those of workloads not asked for now.

    All others leave the file: their repetitions are run anew.
    """
    records, cut = _read(file) if file.exists() else ([], False)
    for record in records:
        name = record["workload"]
        if name in race.workloads and record["settings"] != _settings(race, race.workloads[name]):
            raise BenchError(f"{file}: holds workload {name} with other settings; choose another folder with -o")
    finished: dict[tuple[str, str, int], set[str]] = {}
    for record in records:
        if record["status"] == "ok":
            key = record["workload"], record["variant"], record["repeat"]
            finished.setdefault(key, set()).add(record["contestant"])

    def whole(record: dict[str, Any]) -> bool:
        name, variant = record["workload"], record["variant"]
        if name not in race.workloads or variant not in race.variants[name]:
            return True
        return set(race.contestants) <= finished.get((name, variant, record["repeat"]), set())

    kept = [record for record in records if whole(record)]
    if again := len(records) - len(kept):
        console.print(f"{file}: measured again, of repetitions that lack a contestant: {again}")
    if again or cut:
        write_text(file, "".join(json.dumps(record) + "\n" for record in kept))
    return kept


def _read(file: Path) -> tuple[list[dict[str, Any]], bool]:
    """All records, and whether the last line is cut short, as a full disk or a kill may leave it; it is left out.

    Raises:
        BenchError: naming the line that is no record.
    """
    records: list[dict[str, Any]] = []
    lines = file.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict) and record.keys() >= NEEDED:
            records.append(record)
        elif number < len(lines) or line.endswith(b"\n"):
            raise BenchError(f"{file}, line {number}: is no record of a run; remove it, or choose another folder")
    cut = bool(lines) and not lines[-1].endswith(b"\n")
    return records, cut


def _settings(race: Race, workload: Workload) -> dict[str, Any]:
    """The numbers of a workload as records keep them."""
    return json.loads(json.dumps(asdict(workload) | {"workers": race.workers, "floor": MEMORY}))


def _written(workload: Workload, name: str, variant: str, work: Path) -> Path:
    """The plan of a workload and variant, written on first use."""
    material, plan = work / name / "material", work / name / variant
    if not material.exists():
        write_material(workload, material.absolute())
    if not plan.exists():
        with _own_cache(work / "cache"):
            write_plan(workload, variant, material.absolute(), plan)
    return plan


@contextmanager
def _own_cache(folder: Path) -> Iterator[None]:
    """Within the block what is tokenized is kept in a folder that goes with the benchmark, not in the user's."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(folder.absolute())
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        if before is not None:
            os.environ[VARIABLE] = before


def _run_one(
    race: Race,
    workload: Workload,
    plan: Path,
    name: str,
    variant: str,
    repeat: int,
    contestant: str,
    folder: Path,
    work: Path,
) -> dict[str, Any]:
    """Run one contestant once; its record."""
    who = CONTESTANTS[contestant]
    workers = who.workers or race.workers
    threads = race.workers if who.wide else 1
    output = work / "output"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    log = folder / "logs" / f"{name}-{variant}-{contestant}-{repeat}.log"
    python = environments.interpreter(who.peer) if who.peer else Path(sys.executable)
    command: list[str | Path] = [
        python,
        "-m",
        "simulate.bench.contestants",
        who.module,
        plan.absolute(),
        output.absolute(),
    ]
    command += [str(workers), str(threads)]
    # there, as Python looks for modules in the folder where it runs before all others
    finished = launch(command, _environment(who, work, threads), log, TIMEOUT_SECONDS, work / "source")
    record: dict[str, Any] = {
        "workload": name,
        "variant": variant,
        "contestant": contestant,
        "title": who.title.format(workers=race.workers),
        "repeat": repeat,
        "workers": workers,
        "threads": threads,
        "status": "ok",
        "total_seconds": round(finished.ended - finished.started, 3),
        "settings": _settings(race, workload),
        "parameters": json.loads((plan / "settings.json").read_text())["parameters"],
        "trained_parameters": json.loads((plan / "settings.json").read_text())["trained_parameters"],
        "peak_rss_mb": round(finished.rss_mb, 1),
        "peak_pss_mb": round(finished.pss_mb, 1),
        "peak_pss_mb_of": finished.pss_of,
        "processes": finished.processes,
        "processor_seconds": finished.processor_seconds,
        "watching_seconds": finished.watching_seconds,
        "others_seconds": finished.others_seconds,
    }
    if finished.code != 0 or not (output / OUTCOME).is_file():
        return record | {"status": "failed", "error": f"exit code {finished.code}, see {log.relative_to(folder)}"}
    return record | _measured(finished, output, plan, work / f"{name}-{variant}.safetensors", contestant)


def _measured(finished: Finished, output: Path, plan: Path, reference: Path, contestant: str) -> dict[str, Any]:
    """What a finished run took, and how far its final weights are from those of the first run of the workload."""
    outcome = json.loads((output / OUTCOME).read_text())
    ends = outcome["round_ends"]
    rounds = [end - begin for begin, end in zip([outcome["first_client"], *ends], ends, strict=False)]
    final = load_file(output / FINAL)
    if not reference.exists():
        shutil.copy(output / FINAL, reference)
        reference.with_suffix(".txt").write_text(contestant)
    return {
        "start_seconds": round(outcome["first_client"] - finished.started, 3),
        "round_seconds": [round(seconds, 4) for seconds in rounds],
        "seconds_per_round": round(sum(rounds[1:]) / len(rounds[1:]), 4),
        "steps": outcome["steps"],
        "scores": outcome["scores"],
        "main_mb": outcome["main_mb"],
        "weights_norm": _norm(final.values()),
        "weights_differ": difference(final, load_file(reference), _start(plan)),
        "weights_reference": reference.with_suffix(".txt").read_text(),
    }


def _start(plan: Path) -> dict[str, Tensor]:
    """The values that training began from."""
    settings = json.loads((plan / "settings.json").read_text())
    start = load_file(Path(settings["model"]) / "model.safetensors")
    adapters = plan / "adapters.safetensors"
    return start | (load_file(adapters) if adapters.exists() else {})


def difference(final: Mapping[str, Tensor], reference: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> float:
    """How far two results lie apart, in parts of the way from the start to the reference; L2 norms over all tensors.

    Raises:
        BenchError: if they are not of the same tensors.
    """
    if final.keys() != reference.keys():
        raise BenchError(f"a contestant exchanged other tensors: {sorted(final.keys() ^ reference.keys())[0]}")
    apart = _norm(final[name] - reference[name] for name in reference)
    return apart / _norm(reference[name] - start[name] for name in reference)


def _norm(tensors: Iterable[Tensor]) -> float:
    return sum(float(tensor.double().square().sum()) for tensor in tensors) ** 0.5


def _copy_source(folder: Path) -> None:
    """Copy the packages that contestants import, so that what is changed during a race changes none of them."""
    packages = Path(simulate.__file__).parents[1]
    for package in ("simulate", "baselines", "partitions", "results"):
        shutil.copytree(packages / package, folder / package, ignore=shutil.ignore_patterns("reference"))


def _environment(who: Contestant, work: Path, threads: int) -> dict[str, str]:
    """What a contestant's process sees: these packages and no others of this environment, its threads, no network."""
    memory = dict([MEMORY]) if who.floor else {}
    return (
        os.environ
        | memory
        | {
            "PYTHONPATH": str((work / "source").absolute()),
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            VARIABLE: str((work / "cache").absolute()),
            "HF_HUB_OFFLINE": "1",
            "FLWR_TELEMETRY_ENABLED": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "TOKENIZERS_PARALLELISM": "false",
        }
    )


def machine() -> dict[str, Any]:
    """Where and when: processor, memory, versions, commit."""
    found = environment()
    facts = {key: found[key] for key in ("start", "python", "packages", "commit", "dirty", "platform", "processor")}
    return facts | {
        "cpus": processors("cpu"),
        "memory_mb": round(machine_bytes() / 1e6),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _versions(contestants: Iterable[str]) -> dict[str, Any]:
    peers = {peer for name in contestants if (peer := CONTESTANTS[name].peer) is not None}
    return {"peers": {peer: environments.installed(peer) for peer in sorted(peers)}}


def _left(durations: Mapping[tuple[str, str, str], list[float]], turns: Sequence[tuple[str, str, str]]) -> float:
    """Seconds that the remaining runs will take: as long as the same one did, or else as all did on average."""
    every = [seconds for runs in durations.values() for seconds in runs]
    means = {key: sum(runs) / len(runs) for key, runs in durations.items()}
    return sum(means.get(turn, sum(every) / len(every)) for turn in turns)


def _line(record: Mapping[str, Any]) -> str:
    if record["status"] != "ok":
        return f"{record['title']}: {record['error']}"
    return (
        f"{record['title']}: {record['seconds_per_round']:.2f} s a round, start-up {record['start_seconds']:.1f} s, "
        f"peak {record['peak_pss_mb']:.0f} MB, weights differ {record['weights_differ']:.1e}"
    )
