"""The ledger: which client holds which version of which tensor, and what it still has to download."""

from collections.abc import Iterable, Mapping
from typing import Any


class Ledger:
    """Versions by name decide what travels down.

    The set-up transfer gives a client the whole initial model (version 0 of every tensor) when it first takes part.
    After that it downloads exactly the exchanged tensors whose version is newer than its own: a client that was away
    downloads all that changed meanwhile, one that is up to date downloads nothing.

    Args:
        names: the tensors that may be exchanged.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._current = dict.fromkeys(names, 0)
        self._held: dict[int, dict[str, int]] = {}

    def joins(self, client: int) -> bool:
        """Whether this is the client's first visit; from now on it holds version 0 of everything."""
        new = client not in self._held
        if new:
            self._held[client] = dict.fromkeys(self._current, 0)
        return new

    def download(self, client: int) -> dict[str, int]:
        """The names that the client has to download now, each with the number of versions that it is behind.

        Afterwards it holds their current version.
        """
        held = self._held[client]
        behind = {name: version - held[name] for name, version in self._current.items() if held[name] != version}
        held.update((name, self._current[name]) for name in behind)
        return behind

    def publish(self, names: Iterable[str]) -> None:
        """The server has changed these tensors."""
        for name in names:
            self._current[name] += 1

    def memory(self) -> dict[str, Any]:
        """All that the ledger knows, as plain data; clients that hold the same versions share a row of them."""
        rows: dict[tuple[int, ...], int] = {}
        held = {client: rows.setdefault(tuple(versions.values()), len(rows)) for client, versions in self._held.items()}
        return {"current": self._current, "versions": [list(row) for row in rows], "held": list(held.items())}

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Know again what another ledger of the same names knew."""
        self._current = dict(memory["current"])
        rows = memory["versions"]
        self._held = {client: dict(zip(self._current, rows[row], strict=True)) for client, row in memory["held"]}
