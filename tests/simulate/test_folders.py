"""Folders that commands make for themselves: each its own, none left where nothing was written."""

import subprocess
import sys
from collections import Counter

import pytest

from simulate.engine.records import RunFolderError
from simulate.folders import NewFolders

SCRIPT = """
from simulate.folders import NewFolders

with NewFolders() as folders:
    for _ in range(50):
        folder = folders.make("demo")
        (folder / "file").touch(exist_ok=False)
        print(folder)
"""


def test_commands_of_one_second_have_folders_of_their_own(tmp_path):
    """Four processes make fifty each, most of them in the same second."""
    options = {"cwd": tmp_path, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", SCRIPT], **options) for _ in range(4)]
    made = [line for process in processes for line in process.communicate(timeout=120)[0].splitlines()]
    assert [process.returncode for process in processes] == [0] * 4
    assert len(set(made)) == len(made) == 200
    assert max(Counter(name.split("/")[1][:20] for name in made).values()) > 50
    assert all((tmp_path / name / "file").is_file() for name in made)


def test_folders_without_anything_in_them_go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with NewFolders() as folders:
        assert folders.make("demo").is_dir()
    assert not list(tmp_path.iterdir())
    with NewFolders() as folders:
        folders.make("demo")
        kept = folders.make("demo")
        (kept / "file").touch()
    assert list((tmp_path / "runs").iterdir()) == [tmp_path / kept]


@pytest.mark.parametrize("what", ["a file", "a link to nothing"])
def test_what_is_in_the_way_is_told(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "runs"
    runs.touch() if what == "a file" else runs.symlink_to("nowhere")
    with NewFolders() as folders, pytest.raises(RunFolderError, match=f"runs is {what}; choose another folder with -o"):
        folders.make("demo")
    assert list(tmp_path.iterdir()) == [runs]
    assert runs.is_symlink() == (what != "a file")
