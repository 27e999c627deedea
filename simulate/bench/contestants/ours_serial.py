"""This project without Ray: the serial executor."""

from pathlib import Path

from simulate.bench.contestants import ours


def main(folder: Path, output: Path, workers: int, threads: int) -> None:
    ours.main(folder, output, workers, threads, executor="serial")
