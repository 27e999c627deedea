"""Rows of measurements as a table to read, and as CSV."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from results import tables
from results.output import write


def tell(rows: Sequence[Mapping[str, object]], forms: Mapping[str, str], output: Path | None, console: Console) -> None:
    """Print rows as Markdown, columns in their forms where they have one, and write them unrounded if asked."""
    table = pd.DataFrame(rows)
    shown = pd.DataFrame({name: table[name].map(forms.get(str(name), "{}").format) for name in table})
    console.print(tables.markdown(shown), soft_wrap=True)
    if output:
        write(output, table.to_csv(index=False))
        console.print(f"wrote {output}")
