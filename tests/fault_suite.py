"""Real faults, at moments drawn from a seed: what was injected, where the run was, where it went on, what was lost.

    python -m tests.fault_suite        injects all of them and writes results/reference/faults anew (`make faults`)

Runs are killed (SIGKILL) again and again, and go on each time; actors are killed under a run; disks are filled; a
checkpoint and a corpus are cut short; two runs share one cache. What comes out is compared with the run of the same
experiment that nothing happened to: every record but for seconds, and every bit of the tensors.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import numpy as np
import pandas as pd

from simulate.bench.race import machine
from tests import bad_inputs
from tests.command import SKIPFL
from tests.conftest import save_decoder
from tests.kills import Moment, Victim, kill_at, watched
from tests.processes import MARK, forked, marked, shared_memory, write_config
from tests.runs import FAULTS, SGD, experiment, run, same_results

REFERENCE = Path(__file__).parents[1] / "results" / "reference" / "faults"
RESULT = "result of a worker"
NOT_INJECTED = "not injected"
RAY = {"engine": {"executor": "ray", "workers": 2}}
EXPERIMENTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "FedAvg, Adam at the server": ("fedavg", {"server": {"name": "adam", "lr": 0.01}}),
    "SCAFFOLD": ({"name": "scaffold", "layers": 4}, SGD),
    "FedPer": ({"name": "fedper", "layers": 4, "personal_layers": 1}, {}),
    "FLoRA": ({"name": "flora", "ranks": [1, 2]}, {}),
    "FedEx-LoRA": ({"name": "fedex_lora", "rank": 1}, {"server": {"name": "average"}}),
    "layer skipping by gradient norm": ({"name": "layer_skipping", "layers": 3, "policy": "gradient_norm"}, {}),
    "layer skipping, simulated faults, median": ("layer_skipping", {"faults": FAULTS, "aggregation": "median"}),
    "LoRA, a checkpoint every other round": ("lora", {"engine": {"executor": "serial", "checkpoint_every": 2}}),
}
"""Methods whose server or clients remember something of all kinds, and their settings."""


@dataclass(frozen=True)
class Injection:
    """A row of the table.

    Attributes:
        kind: what was done to the run.
        moment: where the run was.
        goes_on_after: the round from whose checkpoint the next process goes on; None where that needs none, or the next
            was killed before it got there.
        lost: what the finished run lacks, against the run that nothing happened to; or `NOT_INJECTED` and why.
    """

    kind: str
    experiment: str
    executor: str
    moment: str
    goes_on_after: int | None = None
    lost: str = "not compared"


@dataclass(frozen=True)
class Setting:
    """An experiment, a folder for its runs, and the run that nothing happens to, with its moments."""

    name: str
    what: Any
    folder: Path
    moments: list[Moment]

    @property
    def executor(self) -> str:
        return self.what.engine.executor if self.what.engine.executor == "serial" else "2 actors"

    def of(self, kind: str, moment: object) -> Injection:
        return Injection(kind, self.name, self.executor, str(moment))

    def compared(self, injections: list[Injection], run_folder: Path | None = None) -> list[Injection]:
        """The injections into one run, with what it lost by them."""
        try:
            same_results(run_folder or self.folder / "out", self.folder / "whole")
            lost = "nothing"
        except AssertionError as error:
            lost = str(error).splitlines()[0]
        return [replace(injection, lost=lost) for injection in injections]


def lay_out(name: str, folder: Path, rounds: int = 4, hidden: int | None = None, **changes: Any) -> Setting:
    """Run an experiment of the list in this process, without any fault, on a model of a hidden size."""
    folder.mkdir(parents=True)
    method, settings = EXPERIMENTS[name]
    corpus = shutil.copytree(bad_inputs.materials()["corpus"], folder / "corpus")
    partition = {"name": "dirichlet", "clients": 5, "alpha": 0.5, "min_size": 3}
    given = {"rounds": rounds, "cohort": {"count": 3}, "partition": partition, **settings, **changes}
    model = bad_inputs.materials()["model"] if hidden is None else save_decoder(folder / "model", hidden)
    what = experiment(model, corpus, method, **given)
    moments: list[Moment] = []
    with watched(moments.append):
        run(what, folder / "whole")
    write_config(what, folder)
    return Setting(name, what, folder, moments if what.engine.executor == "serial" else at_the_driver(moments))


def at_the_driver(moments: list[Moment]) -> list[Moment]:
    """Where the driver is in a run with actors, from the moments of the serial run."""
    found = []
    for moment in moments:
        if moment.stage == "training":  # a client a task
            moment = replace(moment, step=moment.step.replace("no.", RESULT))
        if not moment.step.startswith("batch"):
            found.append(moment)
    return found


def command(folder: Path) -> list[str]:
    """What begins a run, or goes on with it."""
    begun = (folder / "out" / "config.yaml").exists()
    return ["run", "--resume", "out"] if begun else ["run", "tiny.yaml", "-o", "out"]


def finish(folder: Path) -> None:
    """Go on to the end."""
    process = forked(*command(folder), cwd=folder)
    process.join(900)
    assert process.exitcode == 0, (folder / "errors").read_text()


def resumptions(folder: Path) -> list[int | None]:
    """After which round each process but the first went on."""
    file = folder / "out" / "environment.json"
    found = json.loads(file.read_text()).get("resumed", []) if file.exists() else []
    return [process["after_round"] for process in found]


def draw(moments: list[Moment], count: int, rng: np.random.Generator) -> list[Moment]:
    """Moments of a run in their order, each stage as likely as any other.

    Of those before the first round, which come again in every process, one is of the first, and others are where a
    process takes up its checkpoint.
    """
    stages = sorted({moment.stage for moment in moments})
    places = []
    for stage in rng.choice(stages, count):
        places.append(int(rng.choice([place for place, moment in enumerate(moments) if moment.stage == stage])))
    drawn = [moments[place] for place in sorted(places)]
    return [
        Moment(0, "resume", "no. 1") if place and moment.round == 0 else moment for place, moment in enumerate(drawn)
    ]


def kills(setting: Setting, count: int, rng: np.random.Generator) -> list[Injection]:
    """A run whose process is killed so many times."""
    folder, injections, mark = setting.folder, [], uuid4().hex
    with patch.dict(os.environ, {MARK: mark, "SKIPFL_CACHE": str(folder / "cache")}):
        for moment in draw(setting.moments, count, rng):
            delay = float(rng.choice([0, rng.uniform(0, 0.01)]))
            known = len(resumptions(folder))
            killed = kill_at(moment, delay, *command(folder), cwd=folder)
            went_on(injections, folder, known)
            if not killed:  # the one before was killed when all was written
                assert (folder / "out" / "summary.json").exists(), (moment, (folder / "errors").read_text())
                break
            injections.append(setting.of("SIGKILL", f"{moment}{f', {delay * 1000:.1f} ms later' if delay else ''}"))
            gone(mark, agents=False)
        known = len(resumptions(folder))
        finish(folder)
        went_on(injections, folder, known)
    gone(mark)
    left = [file.name for file in (folder / "cache").iterdir() if re.match(r"run-.*@|.*\.partial$", file.name)]
    assert not left, f"of a run that is over the cache holds {left}"
    return setting.compared(injections)


def went_on(injections: list[Injection], folder: Path, known: int) -> None:
    """Note where the process after the last injection went on."""
    if injections and len(found := resumptions(folder)) > known:
        injections[-1] = replace(injections[-1], goes_on_after=found[-1])


def gone(mark: str, agents: bool = True) -> None:
    """Wait until no process with this mark is left, and nothing of a Ray session in shared memory.

    Two agents of Ray, which hold nothing, look for their session for a minute when its driver was killed.
    """
    end = time.monotonic() + (90 if agents else 20)
    while left := [line for line in marked(mark).values() if agents or "Agent" not in line] or shared_memory():
        assert time.monotonic() < end, left
        time.sleep(0.1)


def actor_kills(setting: Setting, count: int, rng: np.random.Generator) -> list[Injection]:
    """A run under which actors are killed at so many moments of training."""
    folder, injections, mark = setting.folder, [], uuid4().hex
    rounds = sorted(rng.choice(np.arange(1, setting.what.rounds + 1), count, replace=False).tolist())
    waiting = [(number, int(rng.integers(1, 4))) for number in rounds]
    with patch.dict(os.environ, {MARK: mark}):
        victim = Victim(*command(folder), cwd=folder)
    for moment in victim.moments():
        if waiting and moment == Moment(waiting[0][0], "training", f"{RESULT} {waiting[0][1]}"):
            waiting.pop(0)
            actors = sorted(pid for pid, line in marked(mark).items() if "ray::ResidentWorker" in line)
            os.kill(int(rng.choice(actors)), signal.SIGKILL)
            injections.append(setting.of("SIGKILL of an actor", moment))
    assert victim.process.exitcode == 0, (folder / "errors").read_text()
    assert not waiting
    gone(mark)
    return setting.compared(injections)


@contextmanager
def small_disk(folder: Path, megabytes: int = 8) -> Iterator[None]:
    """Within the block the folder is on a small disk of its own.

    Raises:
        PermissionError: if this user may not mount one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], capture_output=True
    ).returncode:
        raise PermissionError("a tmpfs cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def own_disk(megabytes: int, **variables: str) -> Iterator[Path]:
    """Within the block Ray's sessions are on a small disk of their own, and these environment variables set."""
    with (
        tempfile.TemporaryDirectory(prefix="skipfl-") as name,  # Ray's sockets need a short path
        small_disk(Path(name), megabytes),
        patch.dict(os.environ, {"RAY_TMPDIR": name, **variables}),
    ):
        yield Path(name)


def fill(folder: Path) -> Path:
    """Fill a disk to the last byte; the file that does."""
    file = folder / "filler"
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))
    return file


def needing_room(moments: list[Moment]) -> list[Moment]:
    """The moments of a run at which it has still something to write; the last is before it is marked as finished."""
    (last,) = (place for place, at in enumerate(moments) if (at.stage, at.step) == ("finish", "sync 1"))
    return moments[: last + 1]


def full_disks(setting: Setting, count: int, rng: np.random.Generator) -> list[Injection]:
    """A run on whose disk there is no room left at so many moments, and room again each time that it has ended."""
    injections: list[Injection] = []
    folder = setting.folder
    with small_disk(folder / "disk"):
        (folder / "disk" / "out").mkdir()
        (folder / "out").symlink_to(folder / "disk" / "out")
        for moment in draw(needing_room(setting.moments), count, rng):
            known = len(resumptions(folder))
            victim = Victim(*command(folder), cwd=folder)
            filler = None
            for there in victim.moments():
                if filler is None and there == moment:
                    filler = fill(folder / "disk")
            went_on(injections, folder, known)
            assert filler is not None, moment
            filler.unlink()
            (line,) = (folder / "errors").read_text().splitlines()
            assert victim.process.exitcode == 2, line
            assert line.startswith("error: out/"), line
            line, _, then = line.partition("; to go on: ")
            assert line.endswith(": No space left on device"), line
            begun = (folder / "out" / "config.yaml").is_file()
            assert then == ("skipfl run --resume out" if begun else "skipfl run tiny.yaml -o out"), then
            assert not (folder / "out" / "summary.json").exists()
            assert not list((folder / "out").rglob(".*.tmp"))
            injections.append(setting.of(f"disk full: {line.removeprefix('error: ')}", moment))
        known = len(resumptions(folder))
        finish(folder)
        went_on(injections, folder, known)
        return setting.compared(injections)


def full_session(setting: Setting, rng: np.random.Generator) -> list[Injection]:
    """A run whose Ray session has no room left on its disk from some moment of its second round on.

    The store holds 80 MB, not the global values (38 MB), which workers map, and a worker's sum (75 MB) together.
    """
    folder = setting.folder
    training = [moment for moment in setting.moments if (moment.round, moment.stage) == (2, "training")]
    at = [moment for moment in training if moment.step.startswith(RESULT)]
    moment = at[int(rng.integers(len(at)))]
    with own_disk(400, RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES="80000000") as place:
        victim = Victim(*command(folder), cwd=folder)
        filler = None
        for there in victim.moments():
            if filler is None and there == moment:
                filler = fill(place)
        assert filler is not None, moment
        filler.unlink()
        lines = (folder / "errors").read_text().splitlines()  # Ray says that it cannot write its log
        (line,) = (line for line in lines if line.startswith("error: "))
        assert victim.process.exitcode == 2, line
        assert line.startswith("error: what the workers exchange fits neither into Ray's object store nor on the disk")
        assert line.endswith("; to go on: skipfl run --resume out"), line
        assert "Traceback" not in "".join(lines)
        finish(folder)
    injection = setting.of("disk of Ray's session full", moment)
    return setting.compared([replace(injection, goes_on_after=resumptions(folder)[-1])])


def cut(file: Path) -> None:
    """Leave the first half of a file."""
    os.truncate(file, file.stat().st_size // 2)


def cut_checkpoint(setting: Setting, rng: np.random.Generator) -> list[Injection]:
    """A killed run whose newest checkpoint lost its second half."""
    folder, moment = setting.folder, Moment(3, "aggregation", "no. 1")
    assert kill_at(moment, 0, *command(folder), cwd=folder)
    newest = [file for file in (folder / "out" / "checkpoint").iterdir() if "round2" in file.name]
    file = sorted(newest)[int(rng.integers(len(newest)))]
    cut(file)
    finish(folder)
    assert "damaged" in (folder / "errors").read_text()
    injection = setting.of(f"SIGKILL, and {file.name} of the checkpoint cut to half", moment)
    return setting.compared([replace(injection, goes_on_after=resumptions(folder)[-1])])


def cut_shared(setting: Setting, rng: np.random.Generator) -> list[Injection]:
    """A killed run of which a client's file that both its checkpoints need lost its second half.

    It is refused, and nothing removed, until the file is back.
    """
    folder, moment = setting.folder, Moment(3, "aggregation", "no. 1")
    assert kill_at(moment, 0, *command(folder), cwd=folder)
    checkpoint = folder / "out" / "checkpoint"
    first, second = (set(json.loads((checkpoint / f"round{number}.json").read_text())["files"]) for number in (1, 2))
    file = checkpoint / str(rng.choice(sorted(first & second)))
    whole, left = file.read_bytes(), sorted(checkpoint.iterdir())
    cut(file)
    process = forked(*command(folder), cwd=folder)
    process.join(900)
    *_, line = (folder / "errors").read_text().splitlines()
    assert process.exitcode == 2, line
    assert "no checkpoint in it is whole" in line
    assert sorted(checkpoint.iterdir()) == left
    file.write_bytes(whole)
    finish(folder)
    what = f"SIGKILL, and {file.name} of the last two checkpoints cut to half: refused, then restored"
    return setting.compared([replace(setting.of(what, moment), goes_on_after=resumptions(folder)[-1])])


def cut_corpus(setting: Setting, rng: np.random.Generator) -> list[Injection]:
    """A killed run that goes on with a corpus of which the second half is missing: refused, until it is back."""
    folder, moment = setting.folder, Moment(2, "training", "no. 2")
    assert kill_at(moment, 0, *command(folder), cwd=folder)
    file = folder / "corpus" / f"{rng.choice(['train', 'validation', 'test'])}.jsonl"
    whole = file.read_bytes()
    cut(file)
    process = forked(*command(folder), cwd=folder)
    process.join(900)
    (line,) = (folder / "errors").read_text().splitlines()
    assert process.exitcode == 2, line
    file.write_bytes(whole)
    finish(folder)
    injection = setting.of(f"SIGKILL, and {file.name} of the corpus cut to half: refused, then restored", moment)
    return setting.compared([replace(injection, goes_on_after=resumptions(folder)[-1])])


def two_at_once(first: Setting, second: Setting) -> list[Injection]:
    """Two runs at the same time, on an empty cache; a third process asks for the first one's folder."""
    mark, cache = uuid4().hex, first.folder / "cache"
    environment_ = os.environ | {MARK: mark, "SKIPFL_CACHE": str(cache)}
    arguments = [SKIPFL, "run", "tiny.yaml", "-o", "out"]
    options: dict[str, Any] = {
        "env": environment_,
        "text": True,
        "stderr": subprocess.PIPE,
        "stdout": subprocess.DEVNULL,
    }
    both = [subprocess.Popen(arguments, cwd=setting.folder, **options) for setting in (first, second)]
    while not (first.folder / "out" / "rounds.csv").exists():
        assert both[0].poll() is None
        time.sleep(0.1)
    refused = forked("run", "--resume", "out", cwd=first.folder)
    refused.join(900)
    assert both[0].poll() is None, "it was over before another could ask for its folder"
    assert refused.exitcode == 2
    assert "another process is writing this run" in (first.folder / "errors").read_text()
    for process in both:
        _, errors = process.communicate(timeout=900)
        assert process.returncode == 0, errors
    gone(mark)
    assert not list(cache.glob("run-*@*"))
    assert not list(cache.glob("*.partial"))
    injections = []
    for setting in (first, second):
        injection = setting.of(
            "another run at the same time, in a Ray session of its own, on the same cache", "throughout"
        )
        injections += setting.compared([injection])
    return [*injections, replace(injections[0], kind="another process asks for the folder: refused", moment="round 1")]


def suite(folder: Path, seed: int = 0, say: Callable[[str], None] = lambda _: None) -> list[Injection]:
    """All faults, one after the other; the table."""
    rng = np.random.default_rng(seed)
    found: list[Injection] = []
    adam = "FedAvg, Adam at the server"

    def add(injections: list[Injection]) -> None:
        found.extend(injections)
        last = injections[-1]
        say(f"{last.experiment}, {last.executor}: {len(injections)} x {last.kind}; lost: {last.lost}")

    for number, name in enumerate(EXPERIMENTS):
        add(kills(lay_out(name, folder / f"kills{number}"), 6, rng))
    for number, name in enumerate((adam, "SCAFFOLD")):
        add(kills(lay_out(name, folder / f"ray{number}", **RAY), 3, rng))
    add(actor_kills(lay_out("SCAFFOLD", folder / "actors", rounds=6, **RAY), 4, rng))
    add(cut_checkpoint(lay_out("SCAFFOLD", folder / "cut"), rng))
    add(cut_shared(lay_out("SCAFFOLD", folder / "shared"), rng))
    add(cut_corpus(lay_out(adam, folder / "corpus"), rng))
    full, session = lay_out(adam, folder / "full"), lay_out(adam, folder / "session", hidden=512, **RAY)
    try:
        add(full_disks(full, 6, rng))
        add(full_session(session, rng))
    except PermissionError as error:
        for setting, kind in ((full, "disk full"), (session, "disk of Ray's session full")):
            add([replace(setting.of(kind, "none"), lost=f"{NOT_INJECTED}: {error}")])
    many = {"rounds": 60, "evaluate": {"every": 20}}
    add(two_at_once(lay_out(adam, folder / "one", **many, **RAY), lay_out("FedPer", folder / "two", **many, **RAY)))
    return found


def provenance(where: Mapping[str, Any]) -> str:
    """When, where and with what, in a line."""
    versions = ", ".join(f"{name} {where['packages'][name]}" for name in ("torch", "ray"))
    changed = " with changes that are not committed" if where["dirty"] else ""
    return (
        f"{where['date']}, {where['processor']}, {where['cpus']} CPUs, {where['memory_mb'] / 1000:.0f} GB, "
        f"{where['platform'].partition('-')[0]},\n"
        f"Python {where['python']}, {versions}, commit {str(where['commit'])[:9]}{changed}"
    )


def write(injections: list[Injection], folder: Path, seconds: float, where: Mapping[str, Any]) -> None:
    """The table, and what it amounts to in words.

    Args:
        injections: the rows.
        folder: to write into.
        seconds: that all of it took.
        where: as `simulate.bench.race.machine` gives it, before anything is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(injections)
    table["goes_on_after"] = table["goes_on_after"].astype("Int64")
    table.to_csv(folder / "faults.csv", index=False)
    kinds = table["kind"].str.split(":").str[0].str.replace(r"\S+ of the", "a file of the", regex=True)
    groups = table.assign(kind=kinds).groupby("kind", sort=False)
    rows = []
    for kind, group in groups:
        executors, lost = (", ".join(dict.fromkeys(group[column])) for column in ("executor", "lost"))
        count = (~group["lost"].str.startswith(NOT_INJECTED)).sum()
        rows.append(f"| {kind} | {count} | {executors} | {lost} |")
    killed = table[table["kind"] == "SIGKILL"]
    stages = killed["moment"].str.split(", ").str[1].value_counts().sort_index()
    at = ", ".join(f"{stage} {count}" for stage, count in stages.items())
    text = f"""# Faults that were injected, and what was lost

Written by `make faults` (`python -m tests.fault_suite`), which injects real faults into runs of a tiny random model:
`faults.csv` has each with the experiment, the moment, and the round after which the run went on. A run counts as having
lost nothing when all its records, but for seconds, and all bits of its tensors equal those of the run that nothing
happened to.

| injected | times | executors | lost |
|---|---:|---|---|
{chr(10).join(rows)}

Processes were killed at these stages:
{at}.

{provenance(where)}: {seconds:.0f} s.
"""
    (folder / "README.md").write_text(text)


def main() -> None:
    begin, where = time.monotonic(), machine()
    folder = Path(tempfile.mkdtemp(prefix="skipfl-faults-"))
    os.environ["SKIPFL_CACHE"] = str(folder / "cache")
    try:
        found = suite(folder, say=print)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    write(found, REFERENCE, time.monotonic() - begin, where)
    injected = [injection for injection in found if not injection.lost.startswith(NOT_INJECTED)]
    lost = [injection for injection in injected if injection.lost != "nothing"]
    print(f"{len(injected)} injections, {len(lost)} with a loss; wrote {REFERENCE}")
    sys.exit(bool(lost))


if __name__ == "__main__":
    main()
