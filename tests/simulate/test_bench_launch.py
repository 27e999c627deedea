"""The benchmark's watch over the processes of a contestant: memory, processor time, the end of all of them."""

import os
import subprocess
import sys
import time

import pytest

from simulate.bench.launch import busy_seconds, launch

GROWING = """
import subprocess, sys, time
while time.process_time() < 0.3:
    pass
if len(sys.argv) == 2:
    sys.exit(subprocess.call([sys.executable, __file__, sys.argv[1], "child"]))
held = bytearray(int(sys.argv[1]))
held[::4096] = bytes([1]) * len(held[::4096])
time.sleep(1.2)
"""


def test_memory_of_child_processes_counts(tmp_path):
    script = tmp_path / "growing.py"
    script.write_text(GROWING)
    less, more = (
        launch([sys.executable, script, str(held)], {}, tmp_path / "log", 60) for held in (10_000_000, 210_000_000)
    )
    assert (less.code, more.code) == (0, 0)
    assert (less.processes, more.processes) == (2, 2)
    assert more.pss_mb - less.pss_mb == pytest.approx(200, abs=4)
    assert more.rss_mb - less.rss_mb == pytest.approx(200, abs=4)
    assert less.pss_mb < less.rss_mb  # both share the pages of the interpreter
    assert sum(more.pss_of.values()) == pytest.approx(more.pss_mb, abs=0.2)
    assert more.ended - more.started > 1.2
    assert 0.5 < more.processor_seconds < 3  # two processes that compute for 0.3 seconds, and their start


CRASHING = """
import subprocess, sys
if len(sys.argv) == 1:
    subprocess.Popen([sys.executable, __file__, "child"])
    subprocess.Popen([sys.executable, __file__, "child"], start_new_session=True)
    import time; time.sleep(0.6)
    sys.exit(3)
import time; time.sleep(600)
"""


def test_what_a_crashed_run_leaves_is_ended(tmp_path):
    script = tmp_path / "crashing.py"
    script.write_text(CRASHING)
    finished = launch([sys.executable, script], {}, tmp_path / "log", 60)
    assert finished.code == 3
    listed = subprocess.run(["ps", "-eo", "stat,args"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in listed.splitlines() if str(script) in line]


def test_processor_time_of_other_processes_is_told_apart(tmp_path):
    spinning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        finished = launch([sys.executable, "-c", "import time; time.sleep(2)"], {}, tmp_path / "log", 60)
    finally:
        spinning.kill()
        spinning.wait()
    assert finished.processor_seconds < 0.5 < finished.others_seconds


def test_busy_seconds_leave_out_idling_and_waiting(tmp_path, monkeypatch):
    """User, nice, system, interrupts (hard and soft) and theft: 100 + 50 + 30 + 1 + 2 + 7; guests are in the first."""
    (tmp_path / "stat").write_text("cpu  100 50 30 9000 800 1 2 7 60 5\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    monkeypatch.setattr("simulate.bench.launch.PROC", tmp_path)
    assert busy_seconds() == pytest.approx(190 / os.sysconf("SC_CLK_TCK"))
    (tmp_path / "stat").unlink()
    assert busy_seconds() is None


def test_a_run_over_its_time_is_ended_with_its_children(tmp_path):
    script = tmp_path / "sleeping.py"
    script.write_text(GROWING.replace("time.sleep(1.2)", "time.sleep(600)"))
    begin = time.monotonic()
    finished = launch([sys.executable, script, "1000000"], {}, tmp_path / "log", 1.0)
    assert time.monotonic() - begin < 30
    assert finished.code == -9
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(script) not in listed
