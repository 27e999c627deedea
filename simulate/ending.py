"""How a command ends: with its exit code, in one line where it is not done, and with the command that goes on."""

import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from simulate.signals import Signals

UsageError: Any = typer.BadParameter.__base__  # click's own, which typer installs or brings along

INTERRUPTED = 130
"""What typer makes of a KeyboardInterrupt."""


def code_of(command: Callable[[], Any], signals: Signals) -> Any:
    """Run a command; its exit code, 2 for a user's mistake, 1 for a defect, 130 and 143 for SIGINT and SIGTERM.

    Raises:
        BaseException: with --debug an error as it is, and always what is no `Exception` and no interruption.
    """
    try:
        code = command()
    except BaseException as error:
        if not _is_interruption(error):
            return _explained(error, signals)
        code = INTERRUPTED
    if code == INTERRUPTED:
        print(signals.message, file=sys.stderr)
        code = 128 + (signals.last or signal.SIGINT)
    return code


def _is_interruption(error: BaseException | None) -> bool:
    """Whether an error comes of a KeyboardInterrupt, whatever a library has made of it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _explained(error: BaseException, signals: Signals) -> int:
    """Tell an error in one line, with the command that goes on where it broke something off; the exit code.

    What an unexpected error says may quote text of the corpus, and may end in a log: without --debug only its place is
    told.
    """
    if "--debug" in sys.argv or not isinstance(error, Exception):
        raise error
    if isinstance(error, UsageError):
        what = error.format_message().replace("Value error, ", "").rstrip(".")
        line = f"{what}; see `{error.ctx.command_path if error.ctx else 'skipfl'} --help`"
    else:
        from simulate.errors import breaks_off, one_line, recorded

        told = one_line(error)
        if told is None:
            print(f"error: {recorded(error)}, a defect of skipfl or of a library; --debug shows all", file=sys.stderr)
            return 1
        line = signals.going_on(told) if breaks_off(error) else told
    print(f"error: {line}", file=sys.stderr)
    return 2


def again(folder: Path, output: Path | None) -> str:
    """The command that was given, with the folder that it writes."""
    command, *rest = sys.argv[1:]
    return shlex.join(["skipfl", command, *([] if output else ["-o", str(folder)]), *rest])


def going_on(folder: Path, output: Path | None) -> str:
    """The command that goes on with a run; the one that was given, where it has not begun."""
    begun = (folder / "config.yaml").is_file()
    return shlex.join(["skipfl", "run", "--resume", str(folder)]) if begun else again(folder, output)
