"""Command line of the pre-training of tiny-llama."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import AutoTokenizer, LlamaForCausalLM

from simulate.pretraining import card as cards
from simulate.pretraining import probe as probes
from simulate.pretraining.growth import untrained
from simulate.pretraining.perplexity import compare
from simulate.pretraining.schedule import Schedule
from simulate.pretraining.settings import Pretraining, WorkFolder, growing
from simulate.pretraining.state import State
from simulate.pretraining.streams import held_out, prepare
from simulate.pretraining.text import TextError
from simulate.pretraining.train import Report, ResumeError
from simulate.pretraining.train import train as run_training

app = typer.Typer(
    help="Pre-train the embedded model tiny-llama, and measure what it learned.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Work = Annotated[Path, typer.Option("-o", "--output", help="Work folder: settings, tokens, resumable state, figures.")]
Checkpoint = Annotated[Path, typer.Option(help="Folder of the checkpoint.")]
WORK = Path("build/pretraining")


@app.command(
    epilog="Example: python -m simulate.pretraining train --steps 8000 --hours 1.25 --text ../shared/data/bc5cdr"
)
def train(
    output: Work = WORK,
    text: Annotated[
        list[Path] | None, typer.Option(help="Folder with train.jsonl[.gz] or *.txt to train on; may be repeated.")
    ] = None,
    steps: Annotated[
        int, typer.Option(min=4, help="Steps of 2048 tokens: 1/4 at 4 layers, 1/4 at 8, 1/2 at 16.")
    ] = 8000,
    hours: Annotated[
        float | None, typer.Option(help="End by this wall-clock time, with fewer steps if need be.")
    ] = None,
    notes: Annotated[int, typer.Option(min=1, help="Synthetic notes to train on.")] = 40_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of notes, weights and batches.")] = 7,
    checkpoint: Checkpoint = WORK / "checkpoint",
) -> None:
    """Train, or go on with the run of the work folder, and write the checkpoint."""
    settings = Pretraining(seed=seed, notes=notes, text=tuple(text or ()), stages=growing(steps))
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), disable=not Console().is_terminal
    ) as bar:
        run_training(settings, WorkFolder(output), checkpoint, hours, report=_reporter(bar))
    typer.echo(f"wrote {checkpoint} and {output}")


@app.command(epilog="Example: python -m simulate.pretraining evaluate -o build/pretraining")
def evaluate(output: Work = WORK, checkpoint: Checkpoint = WORK / "checkpoint") -> None:
    """Held-out perplexity against an untrained and a unigram model; writes perplexity.json to the work folder."""
    work = WorkFolder(output)
    settings = Pretraining.model_validate_json(work.settings.read_text())
    _, streams = prepare(settings, work)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = LlamaForCausalLM.from_pretrained(checkpoint)
    random = untrained(model.config, settings.seed)
    figures = {}
    for name, texts in held_out(settings).items():
        stream = streams["notes" if name == "synthetic notes" else "text"]
        counts = np.bincount(stream, minlength=model.config.vocab_size)
        counts[tokenizer.bos_token_id] = 0
        figures[name] = compare(model, random, counts, tokenizer, texts)
        typer.echo(f"{name}: {json.dumps(figures[name])}")
    work.perplexity.write_text(json.dumps(figures, indent=2))
    typer.echo(f"wrote {work.perplexity}")


@app.command(
    epilog="Example: python -m simulate.pretraining probe --ner ../shared/data/mtsamples_ner"
    " --classification ../shared/data/mtsamples_specialty"
)
def probe(
    ner: Annotated[Path, typer.Option(help="Local corpus for entity recognition.")],
    classification: Annotated[Path, typer.Option(help="Local corpus for text classification.")],
    output: Work = WORK,
    checkpoint: Checkpoint = WORK / "checkpoint",
) -> None:
    """Logistic regression on frozen features, trained against random weights; writes probe.json to the work folder."""
    figures = probes.probe(checkpoint, ner, classification, progress=typer.echo)
    work = WorkFolder(output)
    work.probe.write_text(json.dumps(figures, indent=2))
    typer.echo(f"wrote {work.probe}")


@app.command(epilog="Example: python -m simulate.pretraining card -o build/pretraining")
def card(output: Work = WORK, checkpoint: Checkpoint = WORK / "checkpoint") -> None:
    """Write the model card (README.md of the checkpoint) from the figures of the work folder."""
    file = checkpoint / "README.md"
    file.write_text(cards.card(WorkFolder(output)))
    typer.echo(f"wrote {file}")


def _reporter(bar: Progress) -> Report:
    task = bar.add_task("pre-training", total=None)

    def report(state: State, schedule: Schedule, pace: float) -> None:
        _, layers, loss = state.losses[-1]
        left = timedelta(seconds=round(_seconds_left(state, schedule, pace)))
        line = f"step {state.step}/{schedule.steps}  {layers} layers  loss {loss:.3f}  {pace:.2f} s/step  {left} left"
        bar.update(task, completed=state.step, total=schedule.steps, description=line)
        if bar.disable:
            typer.echo(line)

    return report


def _seconds_left(state: State, schedule: Schedule, pace: float) -> float:
    """Time of the remaining steps, taking a step's cost to be proportional to its layers and the head's share (4)."""
    depth = state.model.config.num_hidden_layers
    costs = (schedule.stage_start(step)[1].layers + 4 for step in range(state.step, schedule.steps))
    return pace * sum(costs) / (depth + 4)


def main() -> None:
    try:
        app()
    except (TextError, ResumeError) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
