"""The training loop: grow, step, save; ends with a checkpoint that plain `transformers` loads."""

import json
import platform
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from simulate.pretraining import state as states
from simulate.pretraining.growth import model_config, stack, untrained
from simulate.pretraining.loss import next_token_nats
from simulate.pretraining.schedule import Schedule
from simulate.pretraining.settings import Pretraining, WorkFolder
from simulate.pretraining.state import State
from simulate.pretraining.streams import Streams, batch, prepare
from simulate.pretraining.tokenizer import save_tokenizer

REPORT_STEPS = 50

Report = Callable[[State, Schedule, float], None]
"""Called every `REPORT_STEPS` steps with the state, the schedule and the pace in seconds a step."""


class ResumeError(ValueError):
    """A work folder that holds a run of other settings."""


def train(
    settings: Pretraining,
    work: WorkFolder,
    target: Path,
    hours: float | None = None,
    save_seconds: float = 180.0,
    report: Report = lambda state, schedule, pace: None,
) -> State:
    """Pre-train, or go on where the work folder's run was interrupted, and write the checkpoint.

    Args:
        settings: decide the weights, together with `hours`.
        work: where the run keeps its state.
        target: the checkpoint's folder: weights in float16, configuration, tokenizer.
        hours: where the planned steps would take longer, the plateau of the last stage is cut short so that the decay
            ends in this wall-clock time. Only a run that was not cut can be repeated bit for bit.
        save_seconds: time between two saved states.

    Raises:
        ResumeError: if the work folder holds a run of other settings.
    """
    work.folder.mkdir(parents=True, exist_ok=True)
    _remember(settings, work)
    tokenizer, streams = prepare(settings, work)
    schedule = Schedule.of(settings)
    state = _begin(settings, work, tokenizer, schedule.steps)
    schedule = schedule.ending_at(state.end)
    before, saved, pace = time.monotonic(), time.monotonic(), 0.0
    losses: list[float] = []
    while state.step < schedule.steps:
        start, stage = schedule.stage_start(state.step)
        if state.model.config.num_hidden_layers != stage.layers:
            model = stack(state.model, stage.layers)
            state = replace(state, model=model, optimizer=states.adamw(model, settings.weight_decay))
            pace = 0.0
        losses.append(_step(state, settings, streams, tokenizer.bos_token_id, schedule.rate(state.step)))
        now = time.monotonic()
        state.seconds += now - before
        pace = 0.98 * pace + 0.02 * (now - before) if pace else now - before
        before = now
        cuttable = stage is schedule.stages[-1] and start + REPORT_STEPS < state.step < schedule.decay_start
        if hours and cuttable and state.seconds + pace * schedule.decay >= hours * 3600:
            schedule = schedule.ending_at(state.step + schedule.decay)
            state.end = schedule.steps
        if state.step % REPORT_STEPS == 0 or state.step == schedule.steps:
            state.losses.append((state.step, stage.layers, sum(losses) / len(losses)))
            losses.clear()
            if now - saved >= save_seconds or state.step == schedule.steps:
                states.save(state, work.state)
                saved = now
            report(state, schedule, pace)
    _finish(state, settings, tokenizer, streams, work, target, hours)
    return state


def _step(state: State, settings: Pretraining, streams: Streams, bos: int, rate: float) -> float:
    sequences = torch.from_numpy(batch(settings, streams, bos, state.step))
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    with torch.autocast("cpu", torch.bfloat16):
        loss = next_token_nats(state.model, sequences) / sequences[:, 1:].numel()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip)
    state.optimizer.step()
    state.optimizer.zero_grad()
    state.step += 1
    return loss.item()


def _begin(settings: Pretraining, work: WorkFolder, tokenizer: PreTrainedTokenizerFast, steps: int) -> State:
    layers = states.saved_layers(work.state) if work.state.exists() else settings.stages[0].layers
    model = untrained(model_config(settings, tokenizer, layers), settings.seed)
    optimizer = states.adamw(model, settings.weight_decay)
    if work.state.exists():
        return states.load(model, optimizer, work.state)
    return State(model, optimizer, step=0, end=steps)


def _remember(settings: Pretraining, work: WorkFolder) -> None:
    text = settings.model_dump_json(indent=2)
    if not work.settings.exists():
        work.settings.write_text(text)
    elif work.settings.read_text() != text:
        raise ResumeError(
            f"{work.settings}: a run of other settings; expected the same ones, or another folder with -o"
        )


def _finish(
    state: State,
    settings: Pretraining,
    tokenizer: PreTrainedTokenizerFast,
    streams: Streams,
    work: WorkFolder,
    target: Path,
    hours: float | None,
) -> None:
    write_checkpoint(state.model, tokenizer, target)
    record = {
        "steps": state.step,
        "tokens": state.step * settings.batch_tokens,
        "seconds": state.seconds,
        "hours": hours,
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "parameters": sum(parameter.numel() for parameter in state.model.parameters()),
        "stream_tokens": {name: len(stream) for name, stream in streams.items()},
        "losses": state.losses,
    }
    work.training.write_text(json.dumps(record, indent=2))


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    return names[0].strip() if names else platform.processor() or platform.machine()


def write_checkpoint(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, target: Path) -> None:
    """Write weights in float16, configuration and tokenizer.

    The configuration says float32, so that `from_pretrained` gives weights ready to be trained.
    """
    target.mkdir(parents=True, exist_ok=True)
    half = LlamaForCausalLM(model.config).half()
    half.load_state_dict(model.state_dict())
    half.save_pretrained(target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, "dtype": "float32"}, indent=2) + "\n")
    save_tokenizer(tokenizer, target)
