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
        self._first = self._current
        self._held: dict[int, dict[str, int]] = {}  # clients that hold the same share one mapping, which never changes

    def joins(self, client: int) -> bool:
        """Whether this is the client's first visit; from now on it holds version 0 of everything."""
        new = client not in self._held
        if new:
            self._held[client] = self._first
        return new

    def download(self, client: int) -> dict[str, int]:
        """The names that the client has to download now, each with the number of versions that it is behind.

        Afterwards it holds their current version.
        """
        held, self._held[client] = self._held[client], self._current
        if held is self._current:
            return {}
        return {name: version - held[name] for name, version in self._current.items() if held[name] != version}

    def publish(self, names: Iterable[str]) -> None:
        """The server has changed these tensors."""
        self._current = dict(self._current)
        for name in names:
            self._current[name] += 1

    def memory(self) -> dict[str, Any]:
        """All that the ledger knows, as plain data."""
        rows: dict[int, int] = {}
        versions: list[list[int]] = []
        for held in (self._first, self._current, *self._held.values()):
            if id(held) not in rows:
                rows[id(held)] = len(versions)
                versions.append(list(held.values()))
        held_by = [(client, rows[id(held)]) for client, held in self._held.items()]
        return {"names": list(self._current), "versions": versions, "current": rows[id(self._current)], "held": held_by}

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Know again what another ledger of the same names knew."""
        rows = [dict(zip(memory["names"], row, strict=True)) for row in memory["versions"]]
        self._first, self._current = rows[0], rows[memory["current"]]
        self._held = {client: rows[row] for client, row in memory["held"]}
