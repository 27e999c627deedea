"""The run folder while it is written. Results are read back by the `results` package, never from here.

Single files are written under a temporary name and renamed; tables grow by whole rows. `summary.json` comes last: a
folder without it is unfinished.
"""

import csv
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

PACKAGES = ("skipfl", "torch", "transformers", "peft", "ray", "datasets", "safetensors", "numpy", "pandas", "seqeval")

RECORDS = ("config.yaml", "environment.json", "rounds.csv", "clients.csv", "partition.json", "summary.json")


class RunFolderError(ValueError):
    """A run folder that cannot be written to; the message names it."""


class RunFolder:
    """Writes one run's records.

    Args:
        path: the folder, created here.
        config: the resolved experiment.

    Raises:
        RunFolderError: if the folder exists and is not empty.
    """

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        check_free(path)
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._environment = environment()
        write_text(
            path / "config.yaml",
            f"# skipfl run {path.name}/config.yaml\n{yaml.safe_dump(dict(config), sort_keys=False)}",
        )
        self.status("running")

    def status(self, status: str, error: str | None = None, **facts: Any) -> None:
        """Rewrite environment.json with the run's state: running, finished or failed (with the error)."""
        self._environment |= {"status": status, "error": error, "end": None if status == "running" else now()} | facts
        write_json(self.path / "environment.json", self._environment)

    def append(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows to rounds.csv or clients.csv; the first row's keys are the header."""
        file = self.path / f"{table}.csv"
        new = not file.exists()
        with file.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerows(rows)


def check_free(path: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        RunFolderError: if the path is a file or a folder with anything in it.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunFolderError(f"{path}: already exists and is not empty; choose another folder with -o")


def held_by(path: Path) -> int | None:
    """The process that is writing a run folder now, if it is alive on this machine."""
    environment = json.loads((path / "environment.json").read_text())
    if environment["status"] != "running" or environment["host"] != platform.node():
        return None
    try:
        os.kill(environment["process"], 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return environment["process"]


def clear(path: Path) -> None:
    """Remove the records of an unfinished run, and nothing else."""
    for file in (*RECORDS, *(f".{name}.tmp" for name in RECORDS)):
        (path / file).unlink(missing_ok=True)
    if (path / "model").is_dir():
        shutil.rmtree(path / "model")


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(data, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically: readers see the old file or the whole new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


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
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "host": platform.node(),
        "process": os.getpid(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


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
