"""The watch over Ray's raylet, on a process that stands for it; `test_signals.py` kills a real one."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a process can be watched on Linux")

SCRIPT = """
import atexit, subprocess, sys, time
from simulate.engine import raylet
from simulate.signals import signals

process = subprocess.Popen(["sleep", "60"])

def end():
    process.kill()
    time.sleep(0.5)

atexit.register(end)
watch = raylet.RayletWatch(process.pid)
{meanwhile}
end()
print("alive")
"""
LOST = "error: Ray has lost a machine, or what was kept there for the clients"


@pytest.mark.parametrize(
    ("meanwhile", "told"),
    [
        ("signals.to_go_on = lambda: 'skipfl run --resume out'", f"{LOST}; to go on: skipfl run --resume out\n"),
        ("", f"{LOST}\n"),
        ("signals.to_go_on = lambda: 1 / 0", None),
        ("watch.close()", ""),
        ("signals.last = 15", ""),
        ("print('alive'); sys.exit()", ""),
    ],
    ids=["a command", "no command", "no words", "closed before", "interrupted", "left open to the end"],
)
def test_its_end_is_told_unless_the_process_has_ended_it(meanwhile, told):
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(meanwhile=meanwhile)], capture_output=True, text=True, timeout=60
    )
    assert result.stderr == (told or "")
    assert (result.returncode, result.stdout) == ((0, "alive\n") if told == "" else (2, ""))
