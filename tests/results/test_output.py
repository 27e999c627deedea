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


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path):
    """By way of another link and out of another folder; what it leads to need not be there yet."""
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "table.csv", tmp_path / "there" / "table.csv"
    link.symlink_to("there/link.csv")
    (tmp_path / "there" / "link.csv").symlink_to("table.csv")
    for text in ("first", "second"):
        write(link, text)
        assert link.is_symlink()
        assert not target.is_symlink()
        assert target.read_text() == text
    assert len(list((tmp_path / "there").iterdir())) == 2
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(ResultsError, match=r"round: cannot be written \(Too many levels of symbolic links\)"):
        write(tmp_path / "round", "text")


@pytest.mark.parametrize("mode", ["w", "a"])
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "link"])
def test_a_redirected_output_is_written_on(name, mode, tmp_path):
    """What was there and what is said before and after stays, in order; and the links stay what they are."""
    (tmp_path / "link").symlink_to("/dev/stdout")
    (tmp_path / "out").write_text("there, ")
    code = (
        f"from results.output import write; print('before, ', end=''); write(Path({name!r}), 'text, '); print('after')"
    )
    device = Path("/dev/stdout").readlink()
    with (tmp_path / "out").open(mode) as out:
        subprocess.run(
            [sys.executable, "-c", f"from pathlib import Path; {code}"], cwd=tmp_path, stdout=out, check=True
        )
    assert (tmp_path / "out").read_text() == "there, " * (mode == "a") + "before, text, after\n"
    assert Path("/dev/stdout").readlink() == device
    assert (tmp_path / "link").readlink() == Path("/dev/stdout")
    assert len(list(tmp_path.iterdir())) == 2
