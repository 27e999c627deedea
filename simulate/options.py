"""Options of commands that list several values, separated by commas."""

from typing import TypeVar

Number = TypeVar("Number", int, float)


def items(text: str) -> list[str]:
    """What a text lists; empty items are left out."""
    return [item.strip() for item in text.split(",") if item.strip()]


def names(option: str, text: str) -> list[str]:
    """What an option lists; nothing only where it was not given.

    Raises:
        ConfigError: if it was given and lists nothing.
    """
    from simulate.config import ConfigError

    found = items(text)
    if text and not found:
        raise ConfigError(f"{option} {text!r}: expected names separated by commas")
    return found


def numbers(option: str, text: str, kind: type[Number]) -> list[Number]:
    """The numbers that an option lists.

    Raises:
        ConfigError: if there is none, or something else among them.
    """
    from simulate.config import ConfigError

    try:
        found = [kind(item) for item in items(text)]
    except ValueError as error:
        raise ConfigError(f"{option} {text!r}: expected numbers separated by commas") from error
    if not found:
        raise ConfigError(f"{option} is empty: expected numbers separated by commas")
    return found


def seeds(text: str) -> list[int] | None:
    """The seeds that --seeds lists; None where it was not given."""
    return numbers("--seeds", text, int) if text else None
