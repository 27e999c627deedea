"""Virtual environments of the other simulators, each its own, made from the package registry.

    python -m simulate.bench.environments flower pfl

PIP_FLAGS, an environment variable, is handed to pip as in the Makefile.
"""

import os
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from simulate.bench import BenchError
from simulate.registry import suggest

FOLDER = Path(".bench")
PEERS = {"flower": ("flwr[simulation]==1.42.0",), "pfl": ("pfl[pytorch]==0.6.0",)}
"""What each simulator is installed by: the versions that the benchmark was tested with."""
PACKAGE = {"flower": "flwr", "pfl": "pfl"}
SHARED = ("torch", "transformers", "peft", "safetensors", "numpy")
"""Packages of which all contestants have the same version: the one installed here."""


def interpreter(peer: str) -> Path:
    """The Python of a simulator's environment.

    Raises:
        BenchError: if the environment is not there.
    """
    python = FOLDER / peer / "bin" / "python"
    if not (FOLDER / peer / "ready").is_file():
        raise BenchError(
            f"{peer}: no environment {FOLDER / peer}; make it with `python -m simulate.bench.environments {peer}`"
        )
    return python.absolute()


def installed(peer: str) -> str:
    """The version of a simulator in its environment."""
    code = f"from importlib.metadata import version; print(version({PACKAGE[peer]!r}))"
    return subprocess.run([interpreter(peer), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def make(peer: str) -> Path:
    """Make the environment of a simulator anew.

    Raises:
        BenchError: if there is no such simulator, or pip cannot install it.
    """
    if peer not in PEERS:
        raise BenchError(f"unknown peer {peer!r}{suggest(peer, PEERS)}")
    folder = FOLDER / peer
    shutil.rmtree(folder, ignore_errors=True)
    pins = [f"{name}=={version(name).partition('+')[0]}" for name in SHARED]
    pip: list[str | Path] = [
        folder / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        *shlex.split(os.environ.get("PIP_FLAGS", "")),
    ]
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([*pip, *PEERS[peer], *pins], check=True)
    except subprocess.CalledProcessError as error:
        raise BenchError(f"{peer}: its environment {folder} could not be made: {error.cmd[-1]}") from error
    (folder / "ready").touch()
    return folder


if __name__ == "__main__":
    for name in sys.argv[1:]:
        try:
            print(f"made {make(name)}")
        except BenchError as problem:
            sys.exit(f"error: {problem}")
