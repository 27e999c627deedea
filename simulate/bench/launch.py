"""One contestant as a process of its own, with the memory of its whole process tree watched from outside."""

import os
import resource
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
LOOK_SECONDS = 0.4
"""Between two looks at the resident memory of the tree."""
PSS_SECONDS = 1.0
"""Between two looks at its proportional memory, which cost more."""
SHARE = 0.01
"""Of one processor, the most that watching takes: a costly look is followed by a longer wait."""


@dataclass(frozen=True)
class Finished:
    """How a process went; times are seconds since the epoch, memory in MB (1e6 bytes), 0 where the system has no /proc.

    Attributes:
        rss_mb: the largest sum over the tree of resident memory; pages that processes share count in each.
        pss_mb: the largest sum of proportional memory; a page that n processes share counts 1/n in each.
        pss_of: of that sum, what fell to processes of each name.
        processes: the most that were there at once.
        processor_seconds: processor time of the whole tree: as last seen, or, if that is more, as those left that were
            waited for.
        watching_seconds: processor time that watching took.
        others_seconds: processor time of all other processes of the machine meanwhile, and that which a virtual machine
            did not get; None where the system does not tell.
    """

    code: int
    started: float
    ended: float
    rss_mb: float
    pss_mb: float
    pss_of: Mapping[str, float]
    processes: int
    processor_seconds: float
    watching_seconds: float
    others_seconds: float | None


def launch(
    command: Sequence[str | Path], environment: Mapping[str, str], log: Path, timeout: float, folder: Path | None = None
) -> Finished:
    """Run a command to its end in a folder, its output in a log file.

    A process that takes longer than `timeout` seconds is ended, and so is one whose launcher is interrupted. What came
    from it and is still there when it has ended, however it did, is ended too.
    """
    tree = Tree()
    watched, busy, reaped = time.process_time(), busy_seconds(), _reaped()
    with log.open("w") as stream:
        started = time.time()
        process = subprocess.Popen(
            command, cwd=folder, env=dict(environment), stdout=stream, stderr=stream, start_new_session=True
        )
        try:
            while process.poll() is None and time.time() < started + timeout:
                began = time.process_time()
                tree.look(process.pid)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(LOOK_SECONDS, (time.process_time() - began) / SHARE))
        finally:
            ended = time.time()
            tree.end(process)
    seen = sum(tree.ticks.values()) / os.sysconf("SC_CLK_TCK")
    watching, own = time.process_time() - watched, max(seen, _reaped() - reaped)
    others = None if busy is None or (now := busy_seconds()) is None else max(0.0, now - busy - own - watching)
    return Finished(
        code=process.wait(),
        started=started,
        ended=ended,
        rss_mb=tree.rss / 1e6,
        pss_mb=sum(tree.pss.values()) / 1e6,
        pss_of={name: round(size / 1e6, 1) for name, size in tree.pss.items()},
        processes=tree.processes,
        processor_seconds=round(own, 2),
        watching_seconds=round(watching, 2),
        others_seconds=None if others is None else round(others, 2),
    )


def _reaped() -> float:
    """Processor time of all children that were waited for, and of those that these have waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def busy_seconds() -> float | None:
    """Processor time of all processes of the machine, kernel and theft by other virtual machines included, since it
    started; None where the system does not tell.
    """
    try:
        fields = (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _idle, _waiting, *rest = map(int, fields)
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


class Tree:
    """The processes that came from one, also those whose parent has ended meanwhile; the peaks of their memory."""

    def __init__(self) -> None:
        self.rss = self.processes = 0
        self.pss: dict[str, int] = {}
        self.ticks: dict[tuple[int, str], int] = {}
        self._known: dict[int, str] = {}
        self._pss_due = 0.0

    def look(self, root: int) -> None:
        """Add the present to the peaks."""
        members = self._members(root)
        self.processes = max(self.processes, len(members))
        self.rss = max(self.rss, sum(map(_rss, members)))
        if time.monotonic() >= self._pss_due:
            sizes: dict[str, int] = {}
            for pid in members:
                name = _name(pid)
                sizes[name] = sizes.get(name, 0) + _pss(pid)
            self.pss = max(self.pss, sizes, key=lambda each: sum(each.values()))
            self._pss_due = time.monotonic() + PSS_SECONDS

    def end(self, root: subprocess.Popen[bytes]) -> None:
        """End all that are left, the root too."""
        root.kill()
        for pid in self._members(root.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        root.wait()

    def _members(self, root: int) -> list[int]:
        """Living processes of the tree: those in the session that the root began, those known from before, by number
        and the time they began, and all that came from these.
        """
        parents: dict[int, int] = {}
        session: set[int] = set()
        begins: dict[int, str] = {}
        ticks: dict[int, int] = {}
        for folder in PROC.glob("[0-9]*") if PROC.is_dir() else []:
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            pid = int(folder.name)
            parents[pid], begins[pid], ticks[pid] = int(fields[1]), fields[19], int(fields[11]) + int(fields[12])
            if int(fields[3]) == root:
                session.add(pid)
        members = session | {pid for pid, begin in self._known.items() if begins.get(pid) == begin}
        while more := {pid for pid, parent in parents.items() if parent in members} - members:
            members |= more
        self._known = {pid: begins[pid] for pid in members}
        self.ticks |= {(pid, begins[pid]): ticks[pid] for pid in members}
        return sorted(members)


def _name(pid: int) -> str:
    """What a process calls itself, its first 15 letters; empty when it has ended."""
    try:
        return (PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return ""


def _rss(pid: int) -> int:
    """Resident memory in bytes; 0 when the process has ended."""
    try:
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _pss(pid: int) -> int:
    """Proportional memory in bytes; 0 when the process has ended."""
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
