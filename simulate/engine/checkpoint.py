"""What a server remembers after a round, in files from which an interrupted run goes on, to the same bits.

A checkpoint is one safetensors file of tensors, one for each client that keeps something, and a manifest, JSON, that
names them with their SHA-256. Every file is written under a temporary name, synced and renamed, the manifest last: a
checkpoint without one does not exist. A client's file is written when the client has trained and named by all manifests
until it trains again, so that methods without client memory cost nothing here. The last two checkpoints are kept.
"""

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from simulate.engine.records import RecordedRun, RunFolderError
from simulate.exchange.channel import State
from simulate.files import sync, write_tensors, write_text

FORMAT = 2
"""Of what a checkpoint holds, and of the tables that grow on behind it: higher with each change of either. Checkpoints
of format 1 have no number."""

KEPT = 2
"""Checkpoints of a run that are on disk at once."""


class _DamagedError(Exception):
    """A checkpoint that is not as it was written; the message says in what."""


@dataclass(frozen=True)
class Checkpoint:
    """What was remembered.

    Attributes:
        round: after which.
        facts: plain data.
        tables: rows of the records up to this round, as `RecordedRun.extent` gives them.
        clients: the file of each client that keeps something; `states` reads them.
        digests: SHA-256 of each file, by name.
    """

    round: int
    tensors: State
    facts: dict[str, Any]
    tables: dict[str, Any]
    clients: dict[int, Path]
    digests: dict[str, str]

    def states(self) -> Iterator[tuple[int, State]]:
        """Each client with what it keeps, one at a time."""
        for client, file in self.clients.items():
            yield client, load_file(file)


class Checkpoints:
    """The checkpoints of one run.

    Args:
        records: the run's folder, the checkpoints go into its ``checkpoint/``.
        every: how many rounds lie between two; None writes none.
    """

    def __init__(self, records: RecordedRun, every: int | None) -> None:
        self.records = records
        self.every = every
        self.folder = records.path / "checkpoint"
        self._clients: dict[int, str] = {}
        self._digests: dict[str, str] = {}

    def due(self, round_: int) -> bool:
        """Whether one is to be written after this round."""
        return self.every is not None and round_ % self.every == 0

    def write(
        self, round_: int, tensors: State, facts: Mapping[str, Any], clients: Iterable[tuple[int, State | None]]
    ) -> None:
        """Write a checkpoint, and remove the last but one before it.

        Args:
            round_: the last round that is in the records.
            tensors: to remember.
            facts: to remember, plain data.
            clients: those that trained since the last checkpoint (read or written here), with what each keeps.
        """
        if not self.folder.is_dir():
            self.folder.mkdir()
            sync(self.records.path)
        for client, state in clients:
            if state is not None:
                self._clients[client] = self._save(f"client{client}-round{round_}.safetensors", state)
            else:
                self._clients.pop(client, None)
        file = self._save(f"round{round_}.safetensors", tensors)
        files = {name: self._digests[name] for name in (file, *self._clients.values())}
        body = _plain(
            {
                "format": FORMAT,
                "experiment": self.records.identity,
                "round": round_,
                "tensors": file,
                "clients": {str(client): name for client, name in self._clients.items()},
                "files": files,
                "tables": self.records.extent(),
                "facts": dict(facts),
            }
        )
        text = json.dumps({"sha256": _digest(body), **body})
        write_text(self.folder / f"round{round_}.json", text)
        sync(self.folder)
        self._forget(keep=self._manifests()[-KEPT:])
        self._digests = files

    def read(self, last: int | None = None) -> Checkpoint | None:
        """The newest whole checkpoint; None where there is none. One client's file may belong to several.

        A damaged one is told of in a warning, with what is redone.

        Args:
            last: the round that it may be after at most.

        Raises:
            RunFolderError: if it is that of another experiment or format, or a file cannot be read now.
        """
        damaged = []
        found = None
        for manifest in reversed(self._manifests()):
            if found is None and (last is None or _round(manifest) <= last):
                try:
                    found = self._open(manifest)
                except _DamagedError as error:
                    damaged.append(f"{manifest}: damaged ({error})")
        then = f"; what was done since is redone, from round {found.round + 1} on" if found else ""
        for what in damaged:
            warnings.warn(what + then, stacklevel=2)
        return found

    def resume(self) -> Checkpoint | None:
        """As `read`; what is written from now on follows this checkpoint, and all that came after it is removed.

        Raises:
            RunFolderError: as `read`, or if there are checkpoints, but no whole one.
        """
        found = self.read()
        if found is None and self._manifests():
            raise RunFolderError(
                f"{self.folder}: no checkpoint in it is whole; remove this folder to begin the run again"
            )
        if found is None:
            self.remove()
            return None
        self._clients = {client: file.name for client, file in found.clients.items()}
        self._digests = dict(found.digests)
        self._forget(keep=[other for other in self._manifests() if _round(other) <= found.round])
        return found

    def remove(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _manifests(self) -> list[Path]:
        """The manifests on disk, oldest first."""
        return sorted(filter(_is_manifest, self.folder.glob("round*.json")), key=_round)

    def _open(self, manifest: Path) -> Checkpoint:
        """A checkpoint, all files of which have been checked."""
        try:
            body = json.loads(manifest.read_text(encoding="utf-8"))
            if body.pop("sha256") != _digest(body):
                raise _DamagedError("the manifest does not have its checksum")
        except OSError as error:
            raise _unreadable(manifest, error) from error
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            raise _DamagedError("the manifest cannot be read") from error
        if (found := body.get("format", 1)) != FORMAT:
            raise RunFolderError(
                f"{manifest}: a checkpoint of format {found}, where this version of skipfl reads format {FORMAT}: go "
                f"on with the version that began this run (environment.json names it), or remove {self.folder} to "
                "begin the run again"
            )
        if body["experiment"] != self.records.identity:
            raise RunFolderError(
                f"{manifest}: a checkpoint of another experiment; remove {self.folder} to begin this run again"
            )
        for name, digest in body["files"].items():
            try:
                with (self.folder / name).open("rb") as stream:
                    whole = hashlib.file_digest(stream, "sha256").hexdigest() == digest
            except FileNotFoundError as error:
                raise _DamagedError(f"{name} is gone") from error
            except OSError as error:
                raise _unreadable(self.folder / name, error) from error
            if not whole:
                raise _DamagedError(f"{name} does not have its checksum")
        if lost := self.records.missing(body["tables"]):
            raise _DamagedError(f"{lost} no longer holds the rows of {body['round']} rounds")
        clients = {int(client): self.folder / name for client, name in body["clients"].items()}
        tensors = load_file(self.folder / body["tensors"])
        return Checkpoint(body["round"], tensors, body["facts"], body["tables"], clients, body["files"])

    def _save(self, name: str, tensors: State) -> str:
        """Write tensors into a file, and remember its digest."""
        self._digests[name] = write_tensors(self.folder / name, tensors)
        return name

    def _forget(self, keep: list[Path]) -> None:
        """Remove what none of these manifests names."""
        named = {manifest.name for manifest in keep}
        for manifest in keep:
            try:
                named.update(json.loads(manifest.read_text(encoding="utf-8"))["files"])
            except (OSError, ValueError, KeyError, TypeError):
                continue  # damaged: it can no longer say what is its own
        for file in self.folder.iterdir():
            if file.name not in named:
                file.unlink()


def _unreadable(file: Path, error: OSError) -> RunFolderError:
    """What may be readable again: no reason to redo anything."""
    return RunFolderError(f"{file}: cannot be read ({error.strerror})")


def _is_manifest(file: Path) -> bool:
    return file.stem.removeprefix("round").isdecimal()


def _round(manifest: Path) -> int:
    return int(manifest.stem.removeprefix("round"))


def _plain(body: Mapping[str, Any]) -> Any:
    """Data as JSON gives it back."""
    return json.loads(json.dumps(body))


def _digest(body: Mapping[str, Any]) -> str:
    """A digest of plain data."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
