"""SIGKILL, full disks and other real faults: a run that goes on is the run that nothing happened to, bit for bit."""

import numpy as np
import pytest

from tests import fault_suite, soak
from tests.fault_suite import full_disks, kills, lay_out


def test_killed_again_and_again(tmp_path):
    """In a process of its own, at moments drawn from a seed; `make faults` does much more of it."""
    found = kills(lay_out("SCAFFOLD", tmp_path / "run", rounds=3), 3, np.random.default_rng(0))
    assert [injection.lost for injection in found] == ["nothing"] * 3


def test_a_full_disk_is_one_line_and_room_again_is_enough(tmp_path):
    setting = lay_out("FedAvg, Adam at the server", tmp_path / "run", rounds=2)
    try:
        found = full_disks(setting, 2, np.random.default_rng(1))
    except PermissionError as error:
        pytest.skip(str(error))
    assert [injection.lost for injection in found] == ["nothing"] * 2


@pytest.mark.slow
def test_nothing_is_lost(tmp_path):
    """The suite of `make faults`, at other moments than those of its table."""
    found = fault_suite.suite(tmp_path, seed=1)
    assert sum(injection.kind == "SIGKILL" for injection in found) >= 40
    assert {injection.lost for injection in found} == {"nothing"}
    fault_suite.write(found, tmp_path / "table", 0)
    assert (tmp_path / "table" / "faults.csv").read_text().count("\n") == len(found) + 1


@pytest.mark.slow
def test_memory_is_flat(tmp_path):
    """The beginning of `make soak`, in which all is not quite warm yet. Found: below 2 MB in 100 rounds."""
    found = soak.slopes(soak.soak(tmp_path, rounds=200, kills=2, every=5))
    assert max(found.values()) < 5
