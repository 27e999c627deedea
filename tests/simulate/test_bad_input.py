"""Every bad input of `tests.bad_inputs` through the command itself: one line, exit code 2, nothing left behind."""

import hashlib
from collections import Counter
from pathlib import Path

import pytest
import torch

from partitions.cache import cache_folder
from tests import bad_inputs
from tests.bad_inputs import Case, lay_out, outcome, row
from tests.command import quick, skipfl

CASES = list(bad_inputs.cases())


def identity(case: Case) -> str:
    return f"{case.about}: {case.what}"


def content(folder: Path) -> dict[str, str]:
    """A digest of every file of a folder, what its links lead to aside."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("case", CASES, ids=identity)
def test_it_is_told_in_one_line_before_anything_is_written(case, tmp_path):
    if "cuda" in case.command and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    lay_out(case, tmp_path)
    before = content(tmp_path)
    code, text = outcome(case, tmp_path)
    assert code == 2
    assert text.startswith("error: ")
    assert text.endswith("\n")
    assert len(text.splitlines()) == 1
    assert bad_inputs.SECRET.casefold() not in text.casefold()
    assert str(tmp_path) not in text
    assert content(tmp_path) == before
    assert not list(cache_folder().glob("*.partial"))
    assert row(case, text) in bad_inputs.TABLE.read_text(encoding="utf-8").splitlines(), (
        "run python -m tests.bad_inputs"
    )


def test_the_table_has_each_case_once_and_no_other():
    rows = Counter(line for line in bad_inputs.TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| "))
    headings = {case.about for case in CASES}
    assert rows.pop("| what is wrong | command | message |") == len(headings)
    assert rows.total() == len(rows) == len(CASES) == len(set(map(identity, CASES)))
    assert len(CASES) >= 60


@pytest.mark.parametrize("case", {case.about: case for case in CASES}.values(), ids=identity)
def test_debug_shows_the_traceback(case, tmp_path):
    lay_out(case, tmp_path)
    with pytest.raises(Exception) as raised:  # noqa: PT011 - the error itself, whichever it is
        outcome(case, tmp_path, "--debug")
    assert not isinstance(raised.value, AssertionError)


def test_in_a_real_process(tmp_path):
    """Others are in test_cli; this one needs no more than the command line itself."""
    (case,) = [case for case in CASES if case.what == "unknown command"]
    result = skipfl(*case.arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert row(case, result.stderr) in bad_inputs.TABLE.read_text(encoding="utf-8").splitlines()
    assert "Traceback" in quick(*case.arguments, "--debug", cwd=tmp_path).stderr
