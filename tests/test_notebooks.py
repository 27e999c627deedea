"""The notebook as a reader meets it: run from a clean kernel, and as it is committed."""

from itertools import groupby
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FORMS = ("image/png", "text/html", "text/plain")
NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "quickstart.ipynb"


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell: nbformat.NotebookNode) -> list[str]:
    """What a cell shows, in order: the name of a stream, however many pieces it came in, or the form of a result."""
    found = [
        output.name if output.output_type == "stream" else next(form for form in FORMS if form in output.data)
        for output in cell.outputs
    ]
    return [kind for kind, _ in groupby(found)]


@pytest.fixture(scope="module")
def committed() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


SMALLER = {"rounds=2": "rounds=1", "corpus.train=240": "corpus.train=48", "corpus.validation=40": "corpus.validation=8",
           "corpus.test=80": "corpus.test=8"}  # fmt: skip


@pytest.mark.parametrize("changes", [SMALLER, pytest.param({}, marks=pytest.mark.slow)], ids=["smaller", "as it is"])
def test_runs_from_a_clean_kernel_and_shows_what_is_committed(changes, committed, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    fresh = nbformat.read(NOTEBOOK, as_version=4)
    settings = code_cells(fresh)[0]
    for before, after in changes.items():
        assert settings.source.count(f'"{before}"') == 1
        settings.source = settings.source.replace(f'"{before}"', f'"{after}"')
    for cell in code_cells(fresh):
        cell.outputs = []
    client = NotebookClient(fresh, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    client.execute()  # raises at the first error in a cell
    assert [kinds(cell) for cell in code_cells(fresh)] == [kinds(cell) for cell in code_cells(committed)]
    assert not list(tmp_path.iterdir())


def test_committed_outputs_are_those_of_one_run_in_order(committed):
    cells = code_cells(committed)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    shown = [kinds(cell) for cell in cells]
    assert shown[0] == []  # the settings
    assert all(shown[1:])
    assert [kind for cell in shown for kind in cell].count("image/png") == 3  # partition, curves, ablation
    assert all("stderr" not in cell for cell in shown)
    text = NOTEBOOK.read_text()
    assert not any(place in text for place in ("/home/", "/root/", "/tmp/", "/Users/"))
