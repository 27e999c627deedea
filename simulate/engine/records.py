"""The run folder while it is written. Results are read back by the `results` package, never from here.

Single files are written under a temporary name and renamed; tables grow by whole rows. `summary.json` comes last: a
folder without it is unfinished. One process at a time writes a folder: it holds a lock, which the system releases when
the process ends, however it ends.
"""

import csv
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import yaml

import baselines
import partitions
import simulate
from partitions.cache import source_digest
from simulate import one_writer
from simulate.files import named, sync, whole, write_json, write_text

PACKAGES = (
    "skipfl",
    "torch",
    "transformers",
    "peft",
    "ray",
    "datasets",
    "safetensors",
    "numpy",
    "numba",
    "pandas",
    "seqeval",
)

TABLES = ("rounds.csv", "clients.csv", "client_scores.csv")

RECORDS = ("config.yaml", "environment.json", "partition.json", *TABLES, "summary.json")


WHERE = ("executor", "workers", "address", "checkpoint_every")
"""Settings of the engine that change nothing in what comes out of a run."""


DECISIVE = ("python", "packages", "platform", "processor", "commit", "code", "device")
"""What of an environment may decide the last bits of a result."""


CODE = source_digest(baselines, partitions, simulate, without=("bench", "cli.py", "pretraining"))
"""The SHA-256 of the sources, as this process began, that decide what comes out of a run: edits are noticed, committed
or not."""


class RunFolderError(ValueError):
    """A run folder that cannot be written to, or gone on from; the message names it."""


class RecordedRun:
    """The folder of a run that was begun, as it is found; nothing in it is changed.

    Args:
        path: the folder.
        config: the resolved experiment.
    """

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        self.path = path
        self.identity = hashlib.sha256(json.dumps(identity(config), sort_keys=True).encode()).hexdigest()

    def extent(self) -> dict[str, Any]:
        """How long each table is now, in bytes, and its SHA-256."""
        return {name: _extent(file, None) for name in TABLES if (file := self.path / name).is_file()}

    def missing(self, extent: Mapping[str, Any]) -> str | None:
        """The first table that does not begin with what it held at an `extent`; None if all do."""
        for name, (length, digest) in extent.items():
            if not (file := self.path / name).is_file() or _extent(file, length) != [length, digest]:
                return name
        return None

    def rounds(self) -> int:
        """Of how many rounds rounds.csv tells, beside the untrained model, which is round 0."""
        file = self.path / "rounds.csv"
        return max(0, file.read_bytes().count(b"\n") - 2) if file.is_file() else 0

    def require_partition(self, record: Mapping[str, Any]) -> None:
        """Refuse another partition.json than the one that is there, if there is one; what it does not tell may be new.

        Raises:
            RunFolderError: if the corpus is another, or clients no longer hold what they held.
        """
        file, now = self.path / "partition.json", json.loads(json.dumps(record))
        if file.is_file() and any(now.get(key) != value for key, value in _read_json(file).items()):
            raise RunFolderError(
                f"{self.path}: the corpus, or what the clients hold of it, is no longer what it was when this run "
                "began: restore it, or begin another run in another folder"
            )

    def require_corpus(self, digests: Mapping[str, str]) -> None:
        """Refuse another corpus than the run was made from, as far as its record tells.

        Args:
            digests: the SHA-256 of each split.

        Raises:
            RunFolderError: naming the first split that is another.
        """
        file = self.path / "partition.json"
        before = _read_json(file).get("corpus_sha256", digests) if file.is_file() else digests
        for name in digests:
            if before.get(name) != digests[name]:
                raise RunFolderError(
                    f"{self.path}: the {name} split of the corpus has changed since this run: restore it, or begin "
                    "another study in another folder"
                )

    def require_clients(self, record: Mapping[str, Any]) -> None:
        """Refuse another partition than that of the run, as far as its record tells: the corpus may be the same to the
        letter, and yet its groups or documents others.

        Args:
            record: what partition.json would say now.

        Raises:
            RunFolderError: naming the first client that no longer holds what it held.
        """
        file = self.path / "partition.json"
        before = _read_json(file).get("clients", record["clients"]) if file.is_file() else record["clients"]
        then, now = ([client["indices_sha256"] for client in clients] for clients in (before, record["clients"]))
        for client, (held, holds) in enumerate(zip_longest(then, now)):
            if held != holds:
                raise RunFolderError(
                    f"{self.path}: client {client} no longer holds the examples that it held in this run, as where "
                    "groups or documents were corrected: restore them, or begin another study in another folder"
                )

    def require_model(self, digests: Mapping[str, str], kept: bool = False) -> None:
        """Refuse a model that is not read from what it was when the run began, as far as its record tells.

        Args:
            digests: the SHA-256 of each file, by name.
            kept: whether the run is finished, and others shall stand beside it.

        Raises:
            RunFolderError: if a file has changed, is gone, or was not there.
        """
        what = "study" if kept else "run"
        since = "since this run" if kept else "since this run began"
        before = self._environment_before().get("model_sha256", digests)
        for name in sorted({*before, *digests}):
            if before.get(name) != digests.get(name):
                now = "has changed" if name in before and name in digests else "is gone" if name in before else "is new"
                raise RunFolderError(
                    f"{self.path}: {name} of the model {now} {since}: restore the model, or begin another {what} in "
                    "another folder"
                )

    def require_device(self, device: str) -> None:
        """Refuse to go on elsewhere than on the device where the run was last, as far as its record tells.

        Args:
            device: cpu or cuda, as `engine.device: auto` may be either.

        Raises:
            RunFolderError: if it is the other.
        """
        before = _last(self._environment_before()).get("device", device)
        if before != device:
            remedy = "hide the GPU (CUDA_VISIBLE_DEVICES=)" if device == "cuda" else "go on where there is a GPU"
            raise RunFolderError(
                f"{self.path}: this run was on {before} so far, and would not come to the same results on {device}: "
                f"{remedy}, or begin another run in another folder"
            )

    def other_versions(self, here: Mapping[str, Any]) -> str:
        """What of `DECISIVE` is another here than where the run was last, as far as its record tells, in words; empty
        if nothing is.

        Raises:
            RunFolderError: if environment.json cannot be read.
        """
        last = _last(self._environment_before())
        return " and ".join(key for key in DECISIVE if key in last and key in here and last[key] != here[key])

    def _environment_before(self) -> dict[str, Any]:
        """What environment.json holds; nothing where the run was killed before it was written."""
        file = self.path / "environment.json"
        return _read_json(file) if file.is_file() else {}


class RunFolder(RecordedRun):
    """Writes one run's records, in a new folder or in that of an interrupted run of the same experiment.

    Args:
        path: the folder, created here.
        config: the resolved experiment.
        model: the SHA-256 of each file that the model is read from, by name.
        where: what environment.json says beside `environment`, such as the device.

    Raises:
        RunFolderError: if the folder holds anything else, or another process writes it.
    """

    def __init__(
        self, path: Path, config: Mapping[str, Any], model: Mapping[str, str] | None = None, **where: Any
    ) -> None:
        super().__init__(path, config)
        path.mkdir(parents=True, exist_ok=True)
        self._lock = one_writer.hold(path, _used(path))
        try:
            self.interrupted = state_of(path, config) == "interrupted"
            self._environment = environment() | where
            if self.interrupted:
                self._clean()
            else:
                check_free(path)
                header = f"# skipfl run {path.name}/config.yaml"
                write_text(path / "config.yaml", f"{header}\n{yaml.safe_dump(dict(config), sort_keys=False)}")
                sync(path)
                sync(path.parent)
            if model is not None:
                self._environment.setdefault("model_sha256", dict(model))
            self.status("running")
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def _clean(self) -> None:
        """Take up what the process before has written of its environment, and remove what it left half-written."""
        for name in RECORDS:
            (self.path / f".{name}.tmp").unlink(missing_ok=True)
        shutil.rmtree(self.path / "model", ignore_errors=True)
        file = self.path / "environment.json"
        if not file.is_file():
            return
        if changed := self.other_versions(self._environment):
            warnings.warn(
                f"{self.path}: goes on with other {changed} than it began with; "
                "the last bits of its results may differ from those of an uninterrupted run",
                stacklevel=2,
            )
        before, here = _read_json(file), self._environment
        self._environment = before | {"process": here["process"], "host": here["host"]}
        self._environment["resumed"] = [*before.get("resumed", []), here | {"after_round": None}]

    def status(self, status: str, error: str | None = None, **facts: Any) -> None:
        """Rewrite environment.json with the run's state: running, finished, interrupted or failed (with the error)."""
        self._environment |= {"status": status, "error": error, "end": None if status == "running" else now()} | facts
        write_json(self.path / "environment.json", self._environment)

    def partition(self, record: Mapping[str, Any]) -> None:
        """Write partition.json."""
        write_json(self.path / "partition.json", record)

    def append(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows to one of the `TABLES`; the first row's keys are the header."""
        file = self.path / f"{table}.csv"
        new = not file.exists()
        with named(file), file.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerows(rows)
            stream.flush()
            os.fsync(stream.fileno())

    def cut(self, extent: Mapping[str, Any]) -> None:
        """Cut the tables back to an `extent`; those that are not in it are removed."""
        for name in TABLES:
            if name in extent:
                os.truncate(self.path / name, extent[name][0])
            else:
                (self.path / name).unlink(missing_ok=True)

    def resumed(self, round_: int) -> None:
        """The interrupted run goes on after this round."""
        if "resumed" in self._environment:
            self._environment["resumed"][-1] |= {"after_round": round_}
            self.status("running")

    def finish(self, summary: Mapping[str, Any], **facts: Any) -> None:
        """The run is complete. The summary appears last, when nothing can fail any more for want of room."""
        with whole(self.path / "summary.json") as stream:
            stream.write((json.dumps(summary, indent=2) + "\n").encode())
            stream.flush()
            os.fsync(stream.fileno())
            self.status("finished", **facts)


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Those resolved settings that decide what comes out of a run."""
    given = config.get("engine")
    engine = {key: value for key, value in given.items() if key not in WHERE} if isinstance(given, Mapping) else given
    return {**config, "engine": engine}


def state_of(path: Path, config: Mapping[str, Any]) -> Literal["new", "interrupted", "finished"]:
    """What a folder holds of this very experiment (a resolved one); "new" also where it holds something else."""
    try:
        found = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, RecursionError, ValueError, yaml.YAMLError):
        return "new"
    if not isinstance(found, dict) or identity(found) != identity(config):
        return "new"
    return "finished" if (path / "summary.json").is_file() else "interrupted"


def check_free(path: Path) -> None:
    """Refuse a folder that cannot be made, or that holds something, other than what a run that never began may leave.

    Raises:
        RunFolderError: if the path is a file or a folder with anything in it, or what is above it is a file or may not
            be written to, or either is a link to nothing.
    """
    try:
        if path.is_dir() and {file.name for file in path.iterdir()} - {one_writer.LOCK, ".config.yaml.tmp"}:
            raise RunFolderError(f"{path}: already exists and is not empty; choose another folder with -o")
        above = next(folder for folder in (path, *path.parents) if folder.exists() or folder.is_symlink())
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be used as a run folder ({error.strerror})") from error
    if not above.is_dir():
        what = "a file" if above.exists() else "a link to nothing"
        raise RunFolderError(f"{path}: {above} is {what}; choose another folder with -o")
    if not os.access(above, os.W_OK | os.X_OK):
        raise RunFolderError(f"{path}: {above} may not be written to; choose another folder with -o")


def check_unused(path: Path) -> None:
    """Refuse a folder that another process is writing; it is only read, and may be one that cannot be written to.

    Raises:
        RunFolderError: if it is.
    """
    one_writer.check_not_held(path, _used(path))


def tidy(path: Path) -> None:
    """Remove from the folder of a finished run what only an unfinished one needs, when all else is on the disk."""
    checkpoint, lock = path / "checkpoint", path / one_writer.LOCK
    if not checkpoint.exists() and not lock.exists():
        return
    for folder in (path / "model", path):
        if folder.is_dir():
            sync(folder)
    shutil.rmtree(checkpoint, ignore_errors=True)
    lock.unlink(missing_ok=True)


def _used(path: Path) -> RunFolderError:
    return RunFolderError(f"{path}: another process is writing this run; wait for it, or give another folder")


def _extent(file: Path, length: int | None) -> list[Any]:
    """How long a file is, or its beginning of a length, and the SHA-256 of that."""
    sha = hashlib.sha256()
    read = 0
    with file.open("rb") as stream:
        while part := stream.read(1 << 20 if length is None else min(1 << 20, length - read)):
            sha.update(part)
            read += len(part)
    return [read, sha.hexdigest()]


def _last(environment: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of an environment that of the process that went on last."""
    return environment["resumed"][-1] if environment.get("resumed") else environment


def _read_json(file: Path) -> dict[str, Any]:
    """A record of a run that was begun.

    Raises:
        RunFolderError: if it cannot be read, or is no JSON object.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{file}: cannot be read as JSON") from error
    if not isinstance(found, dict):
        raise RunFolderError(f"{file}: expected a JSON object, got {type(found).__name__}")
    return found


def now() -> str:
    """The time, UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def environment() -> dict[str, Any]:
    """Where a run happens: versions, source commit, machine, start."""
    return {
        "start": now(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(status) if (status := _git("status", "--porcelain")) is not None else None,
        "code": CODE,
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "host": platform.node(),
        "process": os.getpid(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def _processor() -> str:
    """The model of the processor, as far as the system tells: libraries choose their instructions by it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # no Linux
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.processor())


def _git(*arguments: str) -> str | None:
    """The output of a git command in the source tree, or None outside a checkout."""
    source = Path(__file__).parent
    try:
        result = subprocess.run(
            ["git", "-C", source, *arguments], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
