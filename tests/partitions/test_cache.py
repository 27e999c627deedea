"""The cache: built once, whole or not at all, also when processes start together or are killed."""

import errno
import fcntl
import importlib.util
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from partitions.cache import build_once, cache_folder, source_digest
from partitions.corpus import CorpusError

BUILDER = """
import sys, time
from pathlib import Path
from partitions.cache import build_once

log, go = Path(sys.argv[1]), Path(sys.argv[2])

def write(folder):
    with log.open("a") as out:
        out.write("built\\n")
    (folder / "first").write_text("half")
    print("half", flush=True)
    time.sleep(float(sys.argv[3]))
    (folder / "second").write_text("whole")

print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
folder = build_once("thing", write)
print((folder / "first").read_text(), (folder / "second").read_text(), flush=True)
"""
"""A process that builds "thing" once a file appears, pausing between its two files."""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKIPFL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def builder(folder: Path, pause: float) -> subprocess.Popen:
    arguments = [sys.executable, "-c", BUILDER, str(folder / "log"), str(folder / "go"), str(pause)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def write_whole(folder: Path) -> None:
    (folder / "first").write_text("half")
    (folder / "second").write_text("whole")


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if file.suffix != ".lock")


def test_folder_is_chosen_by_the_environment(cache, monkeypatch):
    assert cache_folder() == cache
    monkeypatch.delenv("SKIPFL_CACHE")
    monkeypatch.setenv("HOME", "/somebody")
    assert cache_folder() == Path("/somebody/.cache/skipfl")


def test_builds_once_and_keeps_it_from_others(cache):
    calls = []

    def write(folder: Path) -> None:
        calls.append(folder)
        write_whole(folder)

    kept = build_once("thing", write)
    assert build_once("thing", write) == kept == cache / "thing"
    assert len(calls) == 1
    assert names(kept) == ["first", "second"]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert build_once("other", write) != kept
    assert len(calls) == 2


def test_a_failing_writer_leaves_nothing(cache):
    def fail(folder: Path) -> None:
        (folder / "first").write_text("half")
        raise CorpusError("no")

    with pytest.raises(CorpusError, match="no"):
        build_once("thing", fail)
    assert names(cache) == []
    assert names(build_once("thing", write_whole)) == ["first", "second"]


def test_of_two_processes_one_builds(tmp_path):
    processes = [builder(tmp_path, pause=0.5) for _ in range(2)]
    (tmp_path / "go").touch()
    outputs = sorted(process.communicate()[0] for process in processes)
    assert outputs == ["half\nhalf whole\n", "half whole\n"]
    assert (tmp_path / "log").read_text() == "built\n"


def test_a_killed_writer_leaves_nothing_that_is_taken_for_whole(tmp_path, cache):
    (tmp_path / "go").touch()
    process = builder(tmp_path, pause=60)
    assert process.stdout.readline() == "half\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert [name.endswith(".partial") for name in names(cache)] == [True]
    assert names(build_once("thing", write_whole)) == ["first", "second"]
    assert names(cache) == ["thing"]


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SKIPFL_CACHE", str(tmp_path / "file" / "below"))
    expected = "below: cannot be written .Not a directory.; the environment variable SKIPFL_CACHE chooses another"
    with pytest.raises(CorpusError, match=expected):
        build_once("thing", write_whole)


def test_source_digest_follows_the_code(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text("x = 1\n")
    spec = importlib.util.spec_from_file_location("package", package / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    before = source_digest(module)
    assert source_digest(module) == before
    (package / "part.py").write_text("x = 2\n")
    assert source_digest(module) != before


def test_a_file_system_without_locks_is_told(cache, monkeypatch):
    """A marker file in the place of a lock would outlive a killed process, and have all others wait forever."""

    def refuse(descriptor, operation):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(CorpusError, match="Function not implemented"):
        build_once("thing", write_whole)
    assert names(cache) == []
