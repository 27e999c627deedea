"""Files for the user: whole or not at all, also where several processes write one, or are killed at it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from results.frames import ResultsError
from results.output import whole, write

WRITER = """
import sys
from pathlib import Path
from results.output import write

for _ in range(40):
    write(Path("table.csv"), sys.argv[1] * 200_000)
"""

VICTIM = """
import os, signal
from pathlib import Path
from results.output import whole

with whole(Path("table.csv")) as part:
    part.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_several_processes_write_one_file(tmp_path):
    """Whenever it is read, it is what one of them wrote; none of them fails, and nothing else is left."""
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, letter], cwd=tmp_path) for letter in "abc"]
    file, seen = tmp_path / "table.csv", set()
    while any(writer.poll() is None for writer in writers):
        if file.exists():
            seen.add(file.read_text())
    assert [writer.returncode for writer in writers] == [0] * 3
    assert {*seen, file.read_text()} <= {letter * 200_000 for letter in "abc"}
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path):
    victim = subprocess.run([sys.executable, "-c", VICTIM], cwd=tmp_path)
    assert victim.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".part")
    write(tmp_path / "other.csv", "other")
    assert left.exists()
    write(tmp_path / "table.csv", "whole")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["other.csv", "table.csv"]


def test_what_is_being_written_stays(tmp_path):
    file = tmp_path / "table.csv"
    with whole(file) as part:
        part.write_text("first")
        write(file, "second")
        assert file.read_text() == "second"
    assert file.read_text() == "first"
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_fails_leaves_the_older_one_and_nothing_else(tmp_path):
    file = tmp_path / "table.csv"
    write(file, "older")
    with pytest.raises(TypeError), whole(file) as part:
        part.write_text(b"half")
    with pytest.raises(ResultsError, match=r"table\.csv/table\.csv: cannot be written; a part of its path is a file"):
        write(file / "table.csv", "text")
    assert file.read_text() == "older"
    assert list(tmp_path.iterdir()) == [file]
    write(Path("/dev/null"), "goes nowhere")
