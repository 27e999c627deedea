"""The command line: `skipfl COMMAND`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from baselines import COMPARED, METHODS
from simulate import options
from simulate.ending import again, code_of, going_on
from simulate.folders import NewFolders
from simulate.signals import signals

app = typer.Typer(
    help="Simulate federated fine-tuning of language models on clinical text, and compare what methods cost and give.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
console = Console(markup=False, highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)

new_folders = NewFolders()

SOURCE = "A preset (see `skipfl list`) or a YAML file."
Source = Annotated[str, typer.Argument(metavar="PRESET_OR_YAML", help=SOURCE)]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as rounds=5 or method.layers=4.")
]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Folder to write; by default a new one in runs/.")]
Folders = Annotated[list[Path], typer.Argument(metavar="DIR...", help="Run folders, or folders of run folders.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


class View(StrEnum):
    """How `partition` draws clients."""

    HEATMAP = "heatmap"
    BUBBLES = "bubbles"
    DISTRIBUTIONS = "distributions"


class Show(StrEnum):
    """What `partition` shows of each client."""

    LABEL = "label"
    GROUP = "group"
    CLUSTER = "cluster"


@app.command()
def run(
    source: Annotated[str | None, typer.Argument(metavar="PRESET_OR_YAML", help=SOURCE)] = None,
    overrides: Overrides = None,
    output: Output = None,
    resume: Annotated[Path | None, typer.Option(metavar="DIR", help="Go on with the run of this folder.")] = None,
    debug: Debug = False,
) -> None:
    """Run one experiment, or go on with one that was interrupted.

    Examples:

        skipfl run demo

        skipfl run demo method=lora method.rank=16 rounds=5 -o runs/lora

        skipfl run demo corpus.path=my-corpus partition.alpha=0.1 engine.executor=serial

        skipfl run --resume runs/lora

        skipfl run --resume runs/lora engine.workers=1
    """
    from simulate import api
    from simulate.config import load, resumable

    if resume is not None and output is not None:
        raise typer.BadParameter("--resume goes on in the folder that it names; leave out -o")
    if resume is not None:
        experiment = resumable(resume, [*([source] if source else []), *(overrides or [])])
        output = resume
    elif source is None:
        raise typer.BadParameter("give a preset, a YAML file, or --resume DIR")
    else:
        experiment = load(source, overrides or [])
    folder = output or new_folders.make(f"{experiment.name}-{experiment.parts['method']}-seed{experiment.seed}")
    signals.to_go_on = partial(again if resume else going_on, folder, output)
    api.simulate({folder: experiment}, console)
    _table([folder])
    _wrote(*sorted(folder.iterdir()))


@app.command()
def replay(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run folder; nothing in it is changed.")],
    number: Annotated[int, typer.Option("--round", help="From 1.")],
    client: Annotated[int, typer.Option("--client", help="One of that round's cohort.")],
    stop: Annotated[bool, typer.Option("--stop", help="Stop in the debugger just before the visit.")] = False,
    debug: Debug = False,
) -> None:
    """Redo one client's visit in one round of a run, in this process, and compare it with its record.

    The rounds before are redone first, without evaluation: all of a finished run, else those since its last checkpoint.
    On the CPU the visit must be the recorded one to the last bit; where it is not, the exit code is 1.

    Examples:

        skipfl replay runs/lora --round 3 --client 7

        skipfl replay runs/lora --round 3 --client 7 --stop

        python -m pdb -m simulate.cli replay runs/lora --round 3 --client 7 --debug
    """
    from simulate import api

    found = api.replay(folder, number, client, stop)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("", "now", "recorded"):
        table.add_column(heading)
    for column, value in found.row.items():
        table.add_row(column, value, (found.recorded or {}).get(column, "–"))
    console.print(table)
    if found.recorded is None:
        console.print("clients.csv has no such row: the run did not get so far")
    elif differing := found.differing:
        console.print(f"not as recorded: {', '.join(differing)}")
        raise typer.Exit(1)
    else:
        console.print(f"as recorded, to the last digit: {', '.join(found.compared)}")


@app.command()
def compare(
    source: Source,
    overrides: Overrides = None,
    methods: Annotated[str, typer.Option(help=f"Comma-separated; by default {', '.join(COMPARED)}.")] = "",
    seeds: Annotated[str, typer.Option(help="Comma-separated; by default the preset's seed.")] = "",
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Run several methods under several seeds; print the table and draw the curves.

    Examples:

        skipfl compare demo

        skipfl compare demo --methods layer_skipping,fedavg,lora --seeds 0,1,2 -o runs/compare

        skipfl compare demo --methods layer_skipping,lora method.layers=4 lora.rank=16 lora.train.lr=2e-3

        skipfl compare minilm-ner --methods layer_skipping,lora corpus.path=my-corpus
    """
    from results import curves, frames
    from simulate import api
    from simulate.config import name_of

    names = options.names("--methods", methods) or COMPARED
    folder = output or new_folders.make(f"{name_of(source)}-compare")
    signals.to_go_on = partial(again, folder, output)
    runs = api.compare(source, folder, names, options.seeds(seeds), overrides or [], console)
    table = folder / "comparison.csv"
    _table(runs, table)
    figure, *_ = curves.overview(frames.load(runs))
    who, *_ = curves.partition_figure(runs[0])
    _wrote(table, *curves.save(figure, folder / "curves"), *curves.save(who, folder / "partition"), *runs)


@app.command()
def tune(
    source: Source,
    overrides: Overrides = None,
    grid: Annotated[list[str] | None, typer.Option(help="KEY=VALUE,VALUE...; several give their product.")] = None,
    methods: Annotated[str, typer.Option(help="Comma-separated; by default those of `compare`.")] = "",
    seeds: Annotated[str, typer.Option(help="Comma-separated; by default the preset's seed.")] = "",
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Choose each method's settings on validation, with equal budgets; write them as a YAML for the other commands.

    The same command again continues; a wider grid into the same folder adds what is missing.

    Examples:

        skipfl tune demo --methods layer_skipping,lora --grid train.lr=1e-3,2e-3,4e-3 -o runs/tune

        skipfl tune demo --methods fedavg,lora --grid train.lr=1e-3,4e-3 --grid lora.rank=4,8 --seeds 0,1 rounds=4

        skipfl compare runs/tune/tuned.yaml --methods layer_skipping,lora --seeds 0,1,2
    """
    from baselines import COMPARED
    from results import trials
    from simulate import api
    from simulate.config import name_of
    from simulate.tuning import read_grid

    folder = output or new_folders.make(f"{name_of(source)}-tune")
    signals.to_go_on = partial(again, folder, output)
    names = options.names("--methods", methods) or list(COMPARED)
    table = api.tune(source, folder, read_grid(grid or []), names, options.seeds(seeds), overrides or [], console)
    console.print(trials.text(table))
    _wrote(folder / "tuned.yaml", folder / "trials.csv", folder / "trials")


@app.command()
def ablate(
    source: Source,
    overrides: Overrides = None,
    skip_ratios: Annotated[str, typer.Option(help="Frozen layers / all layers, comma-separated.")] = (
        "0,0.25,0.5,0.625,0.75,0.875"
    ),
    seeds: Annotated[str, typer.Option(help="Comma-separated; by default the preset's seed.")] = "",
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Run layer skipping at several skip ratios; print and draw metric and bytes against the ratio.

    Examples:

        skipfl ablate demo

        skipfl ablate demo --skip-ratios 0,0.5,0.75 --seeds 0,1 rounds=10 -o runs/ablation
    """
    from results import curves, frames, tables
    from results.output import write
    from simulate import api
    from simulate.config import name_of

    folder = output or new_folders.make(f"{name_of(source)}-ablate")
    signals.to_go_on = partial(again, folder, output)
    ratios = options.numbers("--skip-ratios", skip_ratios, float)
    runs = api.ablate(source, folder, ratios, options.seeds(seeds), overrides or [], console)
    found = frames.load(runs)
    rows = tables.ablation(found)
    console.print(tables.text(rows))
    write(folder / "ablation.csv", rows.to_csv(index=False))
    figure, *_ = curves.ablation_figure(found)
    _wrote(folder / "ablation.csv", *curves.save(figure, folder / "ablation"), *runs)


@app.command()
def table(
    folders: Folders,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Also write the table as CSV.")] = None,
    debug: Debug = False,
) -> None:
    """Print the comparison of finished runs.

    Example:

        skipfl table runs/compare
    """
    _table(folders, output)
    if output:
        _wrote(output)


@app.command()
def report(
    folders: Folders,
    budget: Annotated[str, typer.Option(help="Bytes, comma-separated, such as 100MB,1GB; by default fitting.")] = "",
    target: Annotated[float, typer.Option(help="Per cent of centralized training, for the cost to a target.")] = 95,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Also write it: one .md, or for .csv a file a table.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Compare finished runs at equal rounds, at equal bytes, by cost to a target, and by paired tests.

    Examples:

        skipfl report runs/compare -o report.md

        skipfl report runs/compare --budget 100MB,1GB --target 90
    """
    from results import frames, report

    budgets = [report.budgets.read_bytes(words) for words in options.names("--budget", budget)]
    sections = report.report(frames.load(folders), budgets, target)
    console.print(report.text(sections))
    if output:
        _wrote(*report.save(sections, output))


@app.command()
def plot(
    folders: Folders,
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write; PNG and PDF are both made.")],
    view: Annotated[Literal["curves", "pareto", "layers"], typer.Option(help="What to draw.")] = "curves",
    debug: Debug = False,
) -> None:
    """Draw metric against bytes, rounds and seconds; the Pareto front; or which layers were trained in which round.

    Examples:

        skipfl plot runs/compare -o curves.png

        skipfl plot runs/compare --view pareto -o pareto.png

        skipfl plot runs/compare --view layers -o layers.png
    """
    from results import curves, frames
    from results.layers import layers_figure
    from results.pareto import pareto_figure

    views = {"curves": curves.overview, "pareto": pareto_figure, "layers": layers_figure}
    figure, *_ = views[view](frames.load(folders))
    _wrote(*curves.save(figure, output))


@app.command()
def plan(
    source: Source,
    overrides: Overrides = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Train a few batches, too, and forecast time and room for workers.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Say what an experiment would exchange and need, without loading weights or training, or after a short trial.

    Examples:

        skipfl plan llama-3.2-1b-i2b2 method=layer_skipping method.layers=6

        skipfl plan demo method=lora method.rank=16

        skipfl plan demo --measure
    """
    from simulate.config import load
    from simulate.plan import make_plan

    experiment = load(source, overrides or [])
    rows = make_plan(experiment).rows()
    if measure:
        from simulate import trial

        rows += trial.measure(experiment).rows()
    grid = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in rows:
        grid.add_row(name, value)
    console.print(grid)


@app.command()
def partition(
    source: Source,
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Stem of the files to write; by default in a folder in runs/.")
    ] = None,
    view: Annotated[
        View | None, typer.Option(help="By default the heatmap, of many clients the distributions.")
    ] = None,
    show: Annotated[
        Show | None, typer.Option(help="What of each client; by default what the partition is skewed by.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Say and draw what each client holds, without loading a model or training.

    Examples:

        skipfl partition demo partition.alpha=0.1 -o alpha0.1

        skipfl partition demo partition=natural partition.clients=6

        skipfl partition demo partition.by=group partition.clients=1000 --view distributions --show label
    """
    from results import curves, partition_tables
    from results.output import write
    from results.partition_record import read_partition
    from simulate import api
    from simulate.config import name_of

    stem = output or new_folders.make(f"{name_of(source)}-partition") / "partition"
    stem = stem.with_suffix("") if stem.suffix in (".png", ".pdf", ".json") else stem
    file = stem.with_name(f"{stem.name}.json")
    with TemporaryDirectory() as unseen:  # nothing is written where it shall be before all of it is known
        found = api.partition(source, Path(unseen) / "partition.json", overrides or [])
        record = read_partition(found)
        figure, *_ = curves.partition_figure(found, view, show)
        text = found.read_text(encoding="utf-8")
    summary = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in partition_tables.summary_rows(record):
        summary.add_row(name, value)
    heading, *rows = partition_tables.client_rows(record, record.kind(show), first=20, last=5)
    clients = Table(box=None, padding=(0, 2, 0, 0))
    for name in heading:
        clients.add_column(name, justify="left" if name == heading[-1] else "right")
    for row in rows:
        clients.add_row(*row)
    console.print(summary, "", clients, "", sep="\n", end="")
    write(file, text)
    _wrote(file, *curves.save(figure, stem))


@app.command()
def bench(
    workload: Annotated[
        str, typer.Option(help="Comma-separated: A compute-bound, B exchange-bound, C scale, D memory.")
    ] = "A",
    variants: Annotated[
        str, typer.Option(help="What is trained: full, last5, last6, lora, lora-last5; by default all a workload has.")
    ] = "",
    peers: Annotated[
        str,
        typer.Option(
            help="Beside this project: bare, loop, loop-threads, serial, one-worker, four-workers, flower, pfl."
        ),
    ] = "bare,loop,flower,pfl",
    repeats: Annotated[int, typer.Option(min=1, help="Times that each runs, in turn.")] = 3,
    workers: Annotated[int, typer.Option(min=1, help="Processes that train, one thread each.")] = 2,
    rounds: Annotated[int | None, typer.Option(min=2, help="Of which the first is not timed.")] = None,
    clients: Annotated[int | None, typer.Option(min=1, help="All clients.")] = None,
    cohort: Annotated[int | None, typer.Option(min=1, help="Clients a round.")] = None,
    held_out: Annotated[int | None, typer.Option(min=10, help="Evaluate on so many examples after each round.")] = None,
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Measure the engine against bare loops and other simulators on this machine, side by side; table and bar chart.

    The others (flower, pfl) need an environment each: python -m simulate.bench.environments flower pfl. The same
    command again, with the same -o, continues; when all is there it draws table and chart anew.

    Examples:

        skipfl bench --workload A --variants full,last5,lora --peers bare,flower,pfl --repeats 3 -o runs/bench

        skipfl bench --workload A --variants last5 --peers bare --held-out 500

        skipfl bench --workload C --clients 1000 --cohort 100 --peers bare --repeats 1
    """
    from results import bench as results
    from simulate.bench import race, workloads

    found = {
        name: workloads.find_workload(name, rounds=rounds, clients=clients, cohort=cohort, held_out=held_out)
        for name in options.names("--workload", workload) or ["A"]
    }
    trained = {name: workloads.variants_of(name, options.names("--variants", variants)) for name in found}
    contestants = race.check_peers(options.names("--peers", peers))
    folder = output or new_folders.make("bench")
    signals.to_go_on = partial(again, folder, output)
    with race.held(folder):
        records = race.run_race(race.Race(found, trained, contestants, repeats, workers), folder, console)
        runs = results.load(records)
        written = results.save(runs, folder)
    console.print(results.text(results.comparison(runs)))
    _wrote(records, *written)


@app.command("list")
def list_(debug: Debug = False) -> None:
    """List presets, methods, layer policies, aggregations, server optimizers, corpora and partitioners."""
    from baselines.aggregation import AGGREGATIONS
    from baselines.policies import POLICIES
    from baselines.server import SERVER_OPTIMIZERS
    from partitions.corpora import CORPORA
    from partitions.partitioners import PARTITIONERS
    from simulate.config import presets

    grid = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for kind, entries in {
        "presets": presets(),
        "methods": _first_lines(METHODS),
        "policies": POLICIES,
        "aggregations": _first_lines(AGGREGATIONS),
        "server optimizers": _first_lines(SERVER_OPTIMIZERS),
        "corpora": _first_lines(CORPORA),
        "partitioners": _first_lines(PARTITIONERS),
    }.items():
        grid.add_row(Text(kind, style="bold"), "")
        for name, what in entries.items():
            grid.add_row(f"  {name}", what)
    console.print(grid)


def _table(folders: list[Path], output: Path | None = None) -> None:
    """Print the comparison of some runs, and write it as CSV if asked."""
    from results import frames, tables
    from results.output import write

    comparison = tables.comparison(frames.load(folders))
    console.print(tables.text(comparison))
    if output:
        write(output, comparison.to_csv(index=False))


def _wrote(*paths: Path) -> None:
    """The closing line: every file or folder written."""
    console.print("wrote " + ", ".join(str(path) for path in paths))


def _first_lines(table: Mapping[str, str]) -> dict[str, str]:
    """What each registered class is: the first line of its module's docstring, or of its own."""
    from simulate.registry import find

    found = {name: find("part", table, name) for name in table}
    modules = {name: sys.modules[part.__module__].__doc__ for name, part in found.items()}
    return {name: (modules[name] or part.__doc__ or "").strip().splitlines()[0] for name, part in found.items()}


def _tell_warnings() -> None:
    """Print each warning in a line; the suite's own every time, such as one more lost worker, those of libraries once.

    What the user has chosen with PYTHONWARNINGS counts before that.
    """
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    ours = r"(baselines|partitions|results|simulate)(\.|$)"
    warnings.filterwarnings("always", category=UserWarning, module=ours, append=True)


def main() -> None:
    """Run a command. A user's mistake ends in one line on stderr and exit code 2; SIGINT in 130, SIGTERM in 143."""
    _tell_warnings()
    with signals, new_folders:
        code = code_of(partial(app, prog_name="skipfl", standalone_mode=False), signals)
    sys.exit(code)


if __name__ == "__main__":
    main()
