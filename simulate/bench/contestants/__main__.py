"""`python -m simulate.bench.contestants MODULE PLAN OUTPUT WORKERS THREADS`: run a workload with one contestant.

The contestant is imported by name, not run as a script, so that what it hands to other processes is found there by
name too, and what it keeps in its module stays there.
"""

import importlib
import sys
from pathlib import Path

if __name__ == "__main__":
    module, plan, output, workers, threads = sys.argv[1:]
    contestant = importlib.import_module(f"simulate.bench.contestants.{module}")
    contestant.main(Path(plan), Path(output), int(workers), int(threads))
