"""Parts chosen by name: loaded when used, and a typo is answered with the nearest name."""

import difflib
import importlib
from collections.abc import Iterable, Mapping


class UnknownNameError(ValueError):
    """A name that nothing is registered under."""


def suggest(name: str, known: Iterable[str], owner: str = "") -> str:
    """``"; did you mean 'x'?"`` for the nearest known name, or the list of known names when none is near.

    Args:
        owner: who has these settings, for where there are none.
    """
    known = sorted(known)
    if not known:
        return f"; {owner} has no settings"
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"


def find(kind: str, table: Mapping[str, str], name: str) -> type:
    """The class registered under a name.

    Args:
        kind: what is being looked up, for the error message.
        table: name to ``"module:Class"``.
        name: the name to find.

    Raises:
        UnknownNameError: if the table has no such name.
    """
    if name not in table:
        raise UnknownNameError(f"unknown {kind} {name!r}{suggest(name, table)}")
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
