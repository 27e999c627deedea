"""The command in processes of its own, which tests interrupt and kill."""

import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from multiprocessing.process import BaseProcess
from pathlib import Path

import yaml

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "results.curves",
        "simulate.api",
        "simulate.cli",
        "simulate.engine.serial_executor",
        "transformers.models.bert.modeling_bert",
        "transformers.models.llama.modeling_llama",
        "peft",
        "tests.kills",
    ]
)
Within = Callable[[], AbstractContextManager[object]]

MARK = "SKIPFL_TEST"
"""An environment variable by which a command's processes, and theirs, are found."""


def forked(*arguments: object, cwd: Path, within: Within = nullcontext) -> BaseProcess:
    """`skipfl ARGUMENTS` in a process forked from one that has imported everything: real, but soon at work.

    Its output goes to the files `output` and `errors` in `cwd`. It runs within a context.
    """
    process = FORKS.Process(target=_main, args=([*map(str, arguments)], cwd, dict(os.environ), within), daemon=True)
    process.start()
    return process


def _main(arguments: list[str], folder: Path, environment: dict[str, str], within: Within) -> None:
    from simulate.cli import main

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, name in ((1, "output"), (2, "errors")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["skipfl", *arguments]
    with within():
        main()


def write_config(what, folder: Path) -> Path:
    """An experiment as a file that `skipfl run` takes."""
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(what.resolved()))
    return file


def marked(mark: str) -> dict[int, str]:
    """Processes that have this value of `MARK` in their environment: their command lines; none that forks for us."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (place / "environ").read_bytes().split(b"\0"):
                found[int(place.name)] = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return {pid: line for pid, line in found.items() if "multiprocessing" not in line}


def shared_memory() -> list[Path]:
    """Ray's object stores that have a name, as they have only while they are made."""
    return [file for file in Path("/dev/shm").iterdir() if re.search("ray|plasma", file.name)]
