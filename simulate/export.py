"""The final exchanged set, in a form that plain transformers (and peft) load."""

from pathlib import Path

from partitions.corpus import Task
from simulate.config import Experiment
from simulate.engine.job import ModelFacts
from simulate.exchange.channel import State
from simulate.files import named, write_text
from simulate.models.backbone import HEADS

RANDOM_BASE = """
The run began from random weights (`model.pretrained: false`). Those that were not trained are not in this folder, so
that the code above gives the model that was trained only if every tensor was.
"""


def export(folder: Path, experiment: Experiment, task: Task, facts: ModelFacts, state: State) -> None:
    """Write the tensors, the model's configuration with its labels, and a README that says how to load them.

    Args:
        folder: the run's model/ folder, made here; left out where the method exchanges nothing.
        experiment: what was run.
        task: decides the head.
        facts: of the model.
        state: the final global values; the method's extra tensors are no part of the model and left out.
    """
    state = {name: tensor for name, tensor in state.items() if name in facts.shapes}
    if not state:
        return
    folder.mkdir()
    with named(folder):
        experiment.method.save(state, facts.structure, folder)
    write_text(folder / "config.json", facts.config)
    auto = HEADS[task][0].__name__
    lines = [
        f"from transformers import AutoConfig, {auto}",
        *experiment.method.imports,
        "from simulate.models.sources import checkpoint_folder",
        "",
        f"BASE = checkpoint_folder({experiment.model.name!r})  # or wherever you keep it",
        'config = AutoConfig.from_pretrained(".")',
        f"model = {auto}.from_pretrained(BASE, config=config)",
        *experiment.method.loading,
    ]
    if experiment.model.bidirectional:
        lines += ["from simulate.models.attention import remove_causal_mask", "remove_causal_mask(model)"]
    code = "\n".join(lines)
    write_text(
        folder / "README.md",
        f"# {experiment.method.label(facts.structure)}, {experiment.name}, seed {experiment.seed}\n\n"
        f"The tensors that were trained and exchanged, after the last round. They go on top of the pre-trained model\n"
        f"`{experiment.model.name}`. In this folder:\n\n```python\n{code}\n```\n"
        + (RANDOM_BASE if not experiment.model.pretrained else ""),
    )
