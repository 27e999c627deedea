"""Bad inputs, each a command line and the files it is given, and what the command says to them.

    python -m tests.bad_inputs        writes results/reference/bad-input.md anew

`tests/simulate/test_bad_input.py` checks each of them and that the committed table is what the code says now.
"""

import atexit
import contextlib
import gzip
import io
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from simulate.cli import main
from simulate.config import load
from tests.conftest import save_with_tokenizer, write_corpus
from tests.results.conftest import write_run

TABLE = Path(__file__).parents[1] / "results" / "reference" / "bad-input.md"
FIXTURES = Path(__file__).parent / "partitions" / "fixtures"
SECRET = "Xylophone"
"""A word of every bad corpus; no message may hold it."""
NER = json.dumps({"tokens": [SECRET, "pain"], "tags": ["O", "B-problem"]})
TEXT = json.dumps({"text": f"{SECRET} pain", "label": "ill"})
SMALL = {
    "corpus": ["corpus.path=corpus"],
    "model": ["model=model", "model.max_length=32"],
    "partition": ["partition.clients=3", "partition.min_size=3"],
    "rounds": ["rounds=1"],
    "engine": ["engine.executor=serial"],
}
"""Settings that every training command has here, section by section, unless the case sets something in the section."""

Prepare = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        about: the part of the table that it stands in.
        what: is wrong, in words.
        command: as it is typed, without the settings of `SMALL`.
        prepare: writes the files that the command is given into its working folder.
    """

    about: str
    what: str
    command: str
    prepare: Prepare = lambda folder: None

    @property
    def arguments(self) -> list[str]:
        """The arguments of `skipfl`."""
        given = shlex.split(self.command)
        if given[0] not in ("run", "compare", "tune", "ablate") or given[1:2] not in (["demo"], ["mine.yaml"]):
            return given
        sections = {part.partition("=")[0].partition(".")[0] for part in given if "=" in part}
        defaults = [setting for section, of in SMALL.items() if section not in sections for setting in of]
        return [*given[:2], *defaults, *given[2:]]


def outcome(case: Case, folder: Path, *options: str) -> tuple[int, str]:
    """Exit code and standard error of a case, run in this process in a folder that `lay_out` made."""
    errors = io.StringIO()
    with (
        contextlib.chdir(folder),
        patch.object(sys, "argv", ["skipfl", *case.arguments, *options]),
        contextlib.redirect_stderr(errors),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0), errors.getvalue()
    raise AssertionError("the command returned without an exit code")


def lay_out(case: Case, folder: Path) -> None:
    """Put a case's files into a folder, beside the small corpus and model of `SMALL`."""
    for name, path in materials().items():
        (folder / name).symlink_to(path)
    case.prepare(folder)


@cache
def materials() -> dict[str, Path]:
    """A corpus, a model of 8 layers and a study, each in a folder that goes with the process."""
    root = Path(tempfile.mkdtemp(prefix="skipfl-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=8, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, tie_word_embeddings=True, pad_token_id=0, eos_token_id=2,
    )  # fmt: skip
    write_run(root / "study" / "fedavg-seed0", [0.0, 0.5, 0.6])
    return {
        "corpus": write_corpus(root / "corpus", "ner", {"train": 30, "validation": 6, "test": 6}),
        "model": save_with_tokenizer(LlamaForCausalLM(config), root / "model"),
        "study": root / "study",
    }


def files(contents: dict[str, str | bytes]) -> Prepare:
    """Writes files: path -> content."""

    def write(folder: Path) -> None:
        for name, content in contents.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)

    return write


def splits(train: str | bytes, suffix: str = ".jsonl", other: str | bytes | None = None) -> Prepare:
    """Writes the three splits of a folder `mine`; validation and test are as `other` says, by default as train."""
    rest = train if other is None else other
    return files({f"mine/train{suffix}": train, f"mine/validation{suffix}": rest, f"mine/test{suffix}": rest})


def distinct(lines: int, suffix: str = ".jsonl") -> Prepare:
    """Three splits of sound texts without a group or a document, no two alike."""
    return files(
        {
            f"mine/{split}{suffix}": "".join(
                json.dumps({"text": f"{split} {number}", "label": "ill" if number % 2 else "well"}) + "\n"
                for number in range(lines)
            )
            for split in ("train", "validation", "test")
        }
    )


def cut(data: bytes, part: float = 0.6) -> bytes:
    """The first part of some bytes."""
    return data[: int(len(data) * part)]


def parquet(frame: pd.DataFrame) -> bytes:
    """A Parquet file."""
    stream = io.BytesIO()
    frame.to_parquet(stream)
    return stream.getvalue()


def fixture(name: str, spoil: Prepare) -> Prepare:
    """Copies an invented corpus in its official layout to `mine`, and spoils it."""

    def write(folder: Path) -> None:
        shutil.copytree(FIXTURES / name, folder / "mine")
        spoil(folder / "mine")

    return write


def line(name: str, number: int, content: str) -> Prepare:
    """Replaces a line, from 1, of a file."""

    def spoil(folder: Path) -> None:
        lines = (folder / name).read_text().splitlines()
        lines[number - 1] = content
        (folder / name).write_text("\n".join(lines) + "\n")

    return spoil


def removed(*names: str) -> Prepare:
    """Removes files."""

    def spoil(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return spoil


def brat(note: str, annotations: str) -> Prepare:
    """Three splits of one annotated note."""
    splits = ("train", "validation", "test")
    contents = {
        f"mine/{split}/{name}": text for split in splits for name, text in (("a.txt", note), ("a.ann", annotations))
    }
    return files({name: text for name, text in contents.items() if text})


def model(spoil: Prepare) -> Prepare:
    """Copies the small model to `other`, and spoils it."""

    def write(folder: Path) -> None:
        shutil.copytree(materials()["model"], folder / "other")
        spoil(folder / "other")

    return write


def pickled(folder: Path) -> None:
    """Only pickled weights, as checkpoints had them before safetensors."""
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def truncated(folder: Path) -> None:
    """Half of the weights."""
    weights = folder / "model.safetensors"
    weights.write_bytes(cut(weights.read_bytes()))


def without_a_block(folder: Path) -> None:
    """Weights without those of the last block."""
    weights = load_file(folder / "model.safetensors")
    save_file({name: value for name, value in weights.items() if ".7." not in name}, folder / "model.safetensors")


def configured(**changes: object) -> Prepare:
    """Changes the configuration of a model."""

    def spoil(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return spoil


def study(spoil: Prepare, **run: object) -> Prepare:
    """A finished run in `runs/one`, spoilt."""

    def write(folder: Path) -> None:
        write_run(folder / "runs" / "one", [0.0, 0.5, 0.6], **run)
        spoil(folder / "runs" / "one")

    return write


def two_runs(**second: object) -> Prepare:
    """Two finished runs, the second with other settings."""

    def write(folder: Path) -> None:
        write_run(folder / "runs" / "one", [0.0, 0.5, 0.6], test_sha256="0" * 64)
        write_run(folder / "runs" / "two", [0.0, 0.5, 0.6], **second)

    return write


def summary(**changes: object) -> Prepare:
    """Changes the summary of a run."""

    def spoil(folder: Path) -> None:
        record = json.loads((folder / "summary.json").read_text())
        (folder / "summary.json").write_text(json.dumps(record | changes))

    return spoil


def another_run(folder: Path) -> None:
    """A run folder of another experiment."""
    write_run(folder / "out", [0.0, 0.5, 0.6])


def dangling(folder: Path) -> None:
    """A link `out` to nothing."""
    (folder / "out").symlink_to("nowhere")


def preset(**changes: object) -> Prepare:
    """The demo preset as `mine.yaml`, changed."""
    text = (Path(__file__).parents[1] / "simulate" / "presets" / "demo.yaml").read_text()
    return files({"mine.yaml": yaml.safe_dump(yaml.safe_load(text) | changes)})


def cases() -> Iterator[Case]:
    """All of them, part by part."""
    yield from SETTINGS
    yield from COMBINATIONS
    yield from YAML_FILES
    yield from CORPORA
    yield from MODELS
    yield from OUTPUTS
    yield from RECORDS
    yield from RESUMED
    yield from REPLAYS
    yield from OPTIONS


def _part(about: str, *rows: tuple[str, str] | tuple[str, str, Prepare]) -> list[Case]:
    return [Case(about, *row) for row in rows]


SETTINGS = [
    *_part(
        "Unknown and misspelt names",
        ("preset", "run dmeo"),
        ("setting", "run demo round=3"),
        ("setting of the corpus", "run demo corpus=synthetic-ner corpus.nots=10"),
        ("setting of a mapping of columns", "run demo corpus=table corpus.path=corpus corpus.columns.lable=x"),
        ("setting of the model", "run demo model=model model.max_lenght=32"),
        ("setting of the partition", "run demo partition.alhpa=1"),
        ("setting of the method", "run demo method.layer=2"),
        ("setting of the server", "run demo server=momentum server.momentun=0.9"),
        ("setting of local training", "run demo train.batchsize=4"),
        ("setting of the cohort", "run demo cohort.fractoin=0.5"),
        ("setting of the evaluation", "run demo evaluate.evry=2"),
        ("setting of the faults", "run demo faults.drop_out=0.1"),
        ("setting of the engine", "run demo engine.worker=2"),
        ("setting of one method", "compare demo --methods fedavg,lora lora.rnk=4"),
        ("setting of no method of a comparison", "compare demo --methods fedprox,lora method.layer=2"),
        ("section", "run mine.yaml", preset(trian={"lr": 0.01})),
        ("section inside a section", "run demo train.optimizer.lr=1"),
        ("method", "run demo method=fedavgg"),
        ("method of a comparison", "compare demo --methods fedavg,lroa"),
        ("method in per_method", "run mine.yaml", preset(per_method={"fedporx": {"train.lr": 0.1}})),
        ("setting in per_method of another method", "run mine.yaml", preset(per_method={"lora": {"train.lrate": 0.1}})),
        ("layer policy", "run demo method.layers=2 method.policy=tpo"),
        ("server optimizer", "run demo server=adm"),
        ("corpus", "run demo corpus=jsonll"),
        ("partitioner", "run demo partition=dirichelet"),
    ),
    *_part(
        "Wrong types and values out of range",
        ("no rounds", "run demo rounds=0"),
        ("half a round", "run demo rounds=2.5"),
        ("rounds in words", "run demo rounds=many"),
        ("yes for a number", "run demo rounds=true"),
        ("yes for a number in a section", "run demo train.lr=yes"),
        ("negative seed", "run demo seed=-1"),
        ("learning rate of zero", "run demo train.lr=0"),
        ("learning rate that is no number", "run demo train.lr=.nan"),
        ("endless learning rate", "run demo train.lr=.inf"),
        ("empty batches", "run demo train.batch_size=0"),
        ("unknown optimizer", "run demo train.optimizer=adam"),
        ("momentum of one", "run demo train.momentum=1"),
        ("momentum beside AdamW's own", "run demo train.momentum=0.9"),
        ("a number for a section", "run demo train=5"),
        ("a section and a setting of it", "run demo train=5 train.lr=0.1"),
        ("model read four sub-words at a time", "run demo model=model model.max_length=4"),
        ("perhaps for yes or no", "run demo model=model model.bidirectional=perhaps"),
        ("no clients", "run demo partition.clients=0"),
        ("alpha of zero", "run demo partition.alpha=0"),
        ("more than all clients", "run demo cohort.fraction=1.5"),
        ("evaluation every zero rounds", "run demo evaluate.every=0"),
        ("unknown executor", "run demo engine.executor=threads"),
        ("no workers", "run demo engine.workers=0"),
        ("unknown device", "run demo engine.device=tpu"),
        ("negative number of layers", "run demo method.layers=-1"),
        ("a layer twice", "run demo method.layers=[1,1]"),
        ("skip ratio above one", "run demo method.skip_ratio=2"),
        ("rank of zero", "run demo method=lora method.rank=0"),
        ("a name that leads out of the folder", "run mine.yaml", preset(name="../../elsewhere")),
        ("a name that is a list", "compare mine.yaml", preset(name=["demo"])),
        ("a very long value", f"run demo rounds={'9' * 200}x"),
    ),
]

COMBINATIONS = _part(
    "Impossible combinations",
    ("more clients than examples", "run demo partition.clients=9999"),
    ("clients too large for the examples", "run demo partition.clients=10 partition.min_size=9"),
    ("more clients a round than there are", "run demo cohort.count=50"),
    ("two sizes of the cohort", "run demo cohort.count=2 cohort.fraction=0.5"),
    ("local epochs and steps", "run demo train.local_epochs=2 train.local_steps=5"),
    ("more layers than the model has", "run demo method.layers=17"),
    ("a layer that the model does not have", "run demo method.layers=[7,8]"),
    ("a budget above the depth", "run demo method.budgets=[1,2,9]"),
    ("in the last round more layers than there are", "run demo method.layers=1 method.last_layers=9"),
    ("more personal layers than there are", "run demo method=fedper method.personal_layers=9"),
    ("layers and a skip ratio", "run demo method.layers=2 method.skip_ratio=0.5"),
    ("a policy without a number of layers", "run demo method=fedprox method.policy=random"),
    (
        "attention of a causal decoder to the class of a text",
        "run demo-classification method.layers=2 method.policy=attention",
    ),
    ("weight change from the first round", "run demo method.layers=2 method.policy=weight_change"),
    ("a warm-up longer than the run", "run demo rounds=3 method.layers=2 method.warmup_rounds=4"),
    ("a learning rate that never gets there", "run demo rounds=3 train.warmup_rounds=4"),
    ("byzantine clients of which there are none", "run demo faults.byzantine=0.1"),
    ("a cohort below the fewest survivors", "run demo faults.min_clients=4"),
    ("LoRA on modules that no layer has", "run demo method=lora method.target_modules=[query]"),
    ("LoRA on no layer", "run demo method=lora method.layers=0"),
    ("merging beside a server optimizer", "run demo method=flora server=adam"),
    ("a norm bound on more than changes", "run demo method=fednova faults.max_norm=5"),
    ("byzantine clients whose lies cancel out", "run demo method=flora faults.byzantine=0.2"),
    ("SCAFFOLD with AdamW", "run demo method=scaffold train.optimizer=adamw"),
    ("longer texts than the model reads", "run demo model=model model.max_length=128"),
    ("windows that leave gaps", "run demo model=model model.max_length=32 model.overflow=windows model.stride=40"),
    ("head and tail of a sentence", "run demo model=model model.max_length=32 model.overflow=head_tail"),
    ("a GPU where there is none", "run demo engine.executor=serial engine.device=cuda"),
    ("more workers than cores could serve", "run demo engine.workers=100000"),
    ("more threads than cores could serve", "run demo engine.executor=serial engine.threads=100000"),
    ("a cluster that does not answer", "run demo engine.address=127.0.0.1:1 engine.executor=ray"),
    (
        "origins where examples have none",
        "run demo corpus.path=mine partition=natural partition.clients=3 partition.min_size=1",
        distinct(30),
    ),
    (
        "whole documents where there are none",
        "run demo partition.whole_documents=true partition.clients=3 partition.min_size=1",
    ),
    (
        "more labels a client than there are",
        "run demo partition=pathological partition.classes=9 partition.clients=3 partition.min_size=1",
    ),
    (
        "too few labels a client to hold all",
        "run demo partition=pathological partition.classes=1 partition.clients=2 partition.min_size=1",
    ),
    (
        "more clusters than examples",
        "run demo partition.by=cluster partition.clusters=900 partition.clients=3 partition.min_size=1",
    ),
    (
        "a second method of a comparison that does not fit the model",
        "compare demo --methods fedavg,layer_skipping method.layers=17",
    ),
    (
        "a method of a comparison with a partition of its own",
        "compare mine.yaml --methods fedavg,lora",
        preset(per_method={"lora": {"partition.alpha": 0.1}}),
    ),
    (
        "a method of a comparison with a cohort of its own",
        "compare mine.yaml --methods fedavg,lora",
        preset(per_method={"lora": {"cohort.count": 2}}),
    ),
    (
        "a seed of a comparison whose partition cannot be made",
        "compare demo --methods fedavg --seeds 0,1 partition=pathological "
        "partition.classes=1 partition.clients=2 partition.min_size=1",
    ),
)

YAML_FILES = _part(
    "Settings files and overrides",
    ("no such file", "run nowhere.yaml"),
    ("a folder", "run folder.yaml", lambda folder: (folder / "folder.yaml").mkdir()),
    ("empty file", "run mine.yaml", files({"mine.yaml": ""})),
    ("not YAML", "run mine.yaml", files({"mine.yaml": "name: demo\ntrain: {lr: 1\nrounds: 2\n"})),
    ("a tab for indentation", "run mine.yaml", files({"mine.yaml": "train:\n\tlr: 1\n"})),
    ("a list", "run mine.yaml", files({"mine.yaml": "- name: demo\n"})),
    ("not UTF-8", "run mine.yaml", files({"mine.yaml": "name: dém\n".encode("latin-1")})),
    ("a control character", "run mine.yaml", files({"mine.yaml": b"name: a\x00b\n"})),
    ("an object of Python", "run mine.yaml", files({"mine.yaml": "name: !!python/object/apply:os.getcwd []\n"})),
    ("an impossible date", "run mine.yaml", files({"mine.yaml": "name: 2001-99-99\n"})),
    ("a number for a key", "run mine.yaml", files({"mine.yaml": "1: 2\ncorpus: jsonl\n"})),
    ("nested deeper than can be read", "run mine.yaml", files({"mine.yaml": "[" * 500})),
    ("aliases that grow without end", "run mine.yaml", files({"mine.yaml": "&a [*a, *a]\n"})),
    ("no corpus", "run mine.yaml", files({"mine.yaml": "method: fedavg\npartition: iid\n"})),
    (
        "a name that is a list",
        "run mine.yaml",
        files({"mine.yaml": "corpus: {name: [a]}\npartition: iid\nmethod: x\n"}),
    ),
    ("per_method that is a list", "run mine.yaml", preset(per_method=["lora"])),
    ("override without a value", "run demo rounds"),
    ("override without a key", "run demo =3"),
    ("override that is not YAML", "run demo 'method.layers=[1'"),
    ("override with an impossible date", "run demo name=2001-99-99"),
    ("method without a name", "run demo method="),
    ("a method that is a list", "run demo 'method=[lora]'"),
    ("override of what a comparison varies", "compare demo seed=3"),
)

NO_ENTITY = json.dumps({"tokens": [SECRET], "tags": ["O"]})
CORPORA = [
    *_part(
        "Corpora: JSON lines",
        ("no such folder", "run demo corpus.path=nowhere"),
        ("a file", "run demo corpus.path=mine.jsonl", files({"mine.jsonl": NER})),
        ("a folder without a split", "run demo corpus.path=mine", files({"mine/train.jsonl": NER})),
        ("a split twice", "run demo corpus.path=mine", files({"mine/train.jsonl": NER, "mine/train.jsonl.gz": b""})),
        ("empty split", "run demo corpus.path=mine", splits(NER, other="")),
        ("a line that breaks off", "run demo corpus.path=mine", splits(f"{NER}\n{NER[:30]}")),
        ("not objects", "run demo corpus.path=mine", splits(f'["{SECRET}"]')),
        (
            "not UTF-8",
            "run demo corpus.path=mine",
            splits(f"{NER}\n".encode() + f'{{"text": "{SECRET} é"}}'.encode("latin-1")),
        ),
        (
            "gzip that breaks off",
            "run demo corpus.path=mine",
            splits(cut(gzip.compress(f"{NER}\n".encode() * 9)), ".jsonl.gz"),
        ),
        ("gzip that is none", "run demo corpus.path=mine", splits(NER, ".jsonl.gz")),
        (
            "a folder for a split",
            "run demo corpus.path=mine",
            lambda folder: (folder / "mine/train.jsonl").mkdir(parents=True),
        ),
        ("keys of no task", "run demo corpus.path=mine", splits(json.dumps({"sentence": SECRET}))),
        (
            "fewer tags than tokens",
            "run demo corpus.path=mine",
            splits(json.dumps({"tokens": [SECRET, "x"], "tags": ["O"]})),
        ),
        (
            "tags of another scheme",
            "run demo corpus.path=mine",
            splits(json.dumps({"tokens": [SECRET], "tags": ["S-problem"]})),
        ),
        (
            "an entity without its beginning",
            "run demo corpus.path=mine",
            splits(json.dumps({"tokens": [SECRET], "tags": ["I-problem"]})),
        ),
        ("numbers for tags", "run demo corpus.path=mine", splits(json.dumps({"tokens": [SECRET], "tags": [1]}))),
        ("tokens in one string", "run demo corpus.path=mine", splits(json.dumps({"tokens": SECRET, "tags": ["O"]}))),
        ("no entity at all", "run demo corpus.path=mine", splits(NO_ENTITY)),
        ("an empty text", "run demo corpus.path=mine", splits(json.dumps({"text": " ", "label": "ill"}))),
        (
            "a label that train does not have",
            "run demo corpus.path=mine",
            splits(NER, other=NER.replace("problem", SECRET)),
        ),
        (
            "text in the place of the label",
            "run demo corpus.path=mine",
            splits("\n".join(json.dumps({"text": f"{n}", "label": f"{SECRET} {n}"}) for n in range(30))),
        ),
        ("two tasks in one corpus", "run demo corpus.path=mine", splits(NER, other=TEXT)),
        (
            "an id twice",
            "run demo corpus.path=mine",
            splits("\n".join([json.dumps(json.loads(NER) | {"id": "a"})] * 2)),
        ),
        ("the same text in train and test", "run demo corpus.path=mine", splits(TEXT)),
    ),
    *_part(
        "Corpora: CoNLL",
        ("no such folder", "run demo corpus=conll corpus.path=nowhere"),
        ("one column", "run demo corpus=conll corpus.path=mine", splits(f"{SECRET}\n", ".conll")),
        ("tags of another scheme", "run demo corpus=conll corpus.path=mine", splits(f"{SECRET} S-problem\n", ".conll")),
        (
            "an entity without its beginning",
            "run demo corpus=conll corpus.path=mine",
            splits(f"{SECRET} I-problem\n", ".conll"),
        ),
        (
            "not UTF-8",
            "run demo corpus=conll corpus.path=mine",
            splits(f"{SECRET}é B-problem\n".encode("latin-1"), ".conll"),
        ),
        ("empty", "run demo corpus=conll corpus.path=mine", splits("\n\n", ".conll")),
        (
            "an entity that does not end",
            "run demo corpus=conll corpus.scheme=iobes corpus.path=mine",
            splits(f"{SECRET} B-problem\n", ".conll"),
        ),
    ),
    *_part(
        "Corpora: brat",
        ("no such folder", "run demo corpus=brat corpus.path=nowhere"),
        ("a note without annotations", "run demo corpus=brat corpus.path=mine", brat(SECRET, "")),
        (
            "annotations without a note",
            "run demo corpus=brat corpus.path=mine",
            brat("", f"T1\tproblem 0 9\t{SECRET}\n"),
        ),
        (
            "a line that is no entity",
            "run demo corpus=brat corpus.path=mine",
            brat(SECRET, f"T1 problem 0 9 {SECRET}\n"),
        ),
        (
            "a span beyond the note",
            "run demo corpus=brat corpus.path=mine",
            brat(SECRET, f"T1\tproblem 0 99\t{SECRET}\n"),
        ),
        (
            "another text than the note's",
            "run demo corpus=brat corpus.path=mine",
            brat(f"A {SECRET}", f"T1\tproblem 0 9\t{SECRET}\n"),
        ),
        (
            "not UTF-8",
            "run demo corpus=brat corpus.path=mine",
            brat(f"{SECRET}é".encode("latin-1"), f"T1\tproblem 0 9\t{SECRET}\n"),
        ),
    ),
    *_part(
        "Corpora: i2b2/VA 2010",
        ("not there", "run llama-3.2-1b-i2b2 corpus.path=nowhere"),
        (
            "one of the archives missing",
            "run llama-3.2-1b-i2b2 corpus.path=mine",
            fixture("i2b2_2010", lambda folder: shutil.rmtree(folder / "test_data")),
        ),
        (
            "concepts of a note missing",
            "run llama-3.2-1b-i2b2 corpus.path=mine",
            fixture("i2b2_2010", removed("reference_standard_for_test_data/concepts/0001.con")),
        ),
        (
            "a line that is no concept",
            "run llama-3.2-1b-i2b2 corpus.path=mine",
            fixture(
                "i2b2_2010",
                line("reference_standard_for_test_data/concepts/0001.con", 1, f'c="{SECRET}" 1:0||t="test"'),
            ),
        ),
        (
            "a concept of another type",
            "run llama-3.2-1b-i2b2 corpus.path=mine",
            fixture(
                "i2b2_2010",
                line("reference_standard_for_test_data/concepts/0001.con", 1, f'c="{SECRET}" 1:0 1:0||t="{SECRET}"'),
            ),
        ),
        (
            "a concept outside the note",
            "run llama-3.2-1b-i2b2 corpus.path=mine",
            fixture(
                "i2b2_2010",
                line("reference_standard_for_test_data/concepts/0001.con", 1, f'c="{SECRET}" 99:0 99:0||t="test"'),
            ),
        ),
        (
            "another text than the note's",
            "run llama-3.2-1b-i2b2 corpus.path=mine",
            fixture(
                "i2b2_2010",
                line("reference_standard_for_test_data/concepts/0001.con", 1, f'c="{SECRET}" 1:0 1:1||t="test"'),
            ),
        ),
    ),
    *_part(
        "Corpora: MIMIC-III",
        ("not there", "run llama-3.2-1b-mimic3 corpus.path=nowhere"),
        ("no target", "run demo corpus=mimic3 corpus.path=mine", fixture("mimic3", lambda folder: None)),
        ("unknown target", "run llama-3.2-1b-mimic3 corpus.target=death", fixture("mimic3", lambda folder: None)),
        ("a table missing", "run llama-3.2-1b-mimic3 corpus.path=mine", fixture("mimic3", removed("NOTEEVENTS.csv"))),
        (
            "a column missing",
            "run llama-3.2-1b-mimic3 corpus.path=mine",
            fixture("mimic3", line("NOTEEVENTS.csv", 1, "a,b")),
        ),
        (
            "a table that breaks off",
            "run llama-3.2-1b-mimic3 corpus.path=mine",
            fixture(
                "mimic3",
                lambda folder: (folder / "NOTEEVENTS.csv").write_bytes(
                    cut((folder / "NOTEEVENTS.csv").read_bytes(), 0.5)
                ),
            ),
        ),
        (
            "gzip that breaks off",
            "run llama-3.2-1b-mimic3 corpus.path=mine",
            fixture(
                "mimic3",
                lambda folder: [
                    (folder / "NOTEEVENTS.csv.gz").write_bytes(
                        cut(gzip.compress((folder / "NOTEEVENTS.csv").read_bytes()))
                    ),
                    (folder / "NOTEEVENTS.csv").unlink(),
                ],
            ),
        ),
        (
            "words for a time",
            "run llama-3.2-1b-mimic3 corpus.path=mine",
            fixture(
                "mimic3",
                lambda folder: (folder / "ADMISSIONS.csv").write_text(
                    (folder / "ADMISSIONS.csv").read_text().replace("2151-03-01 08:00:00", f"{SECRET} noon")
                ),
            ),
        ),
    ),
    *_part(
        "Corpora: CSV, TSV and Parquet",
        ("empty file", "run demo corpus=table corpus.path=mine", splits("", ".csv")),
        ("no header", "run demo corpus=table corpus.path=mine", splits(f"{SECRET} pain,ill\n", ".csv")),
        (
            "a column that is not there",
            "run demo corpus=table corpus.path=mine corpus.columns.text=note",
            splits(f"text,label\n{SECRET},ill\n", ".csv"),
        ),
        (
            "a row with too many cells",
            "run demo corpus=table corpus.path=mine",
            splits(f"text,label\n{SECRET},ill,x\n", ".csv"),
        ),
        (
            "a quotation mark that does not end",
            "run demo corpus=table corpus.path=mine",
            splits(f'text,label\n"{SECRET},ill\n', ".csv"),
        ),
        (
            "integers without names",
            "run demo corpus=table corpus.path=mine",
            splits(parquet(pd.DataFrame({"text": [SECRET], "label": [1]})), ".parquet"),
        ),
        (
            "lists in one string",
            "run demo corpus=table corpus.path=mine",
            splits(f"tokens\ttags\n{SECRET} pain\tO O\n", ".tsv"),
        ),
        (
            "Parquet that breaks off",
            "run demo corpus=table corpus.path=mine",
            splits(cut(parquet(pd.DataFrame({"text": [SECRET], "label": ["ill"]}))), ".parquet"),
        ),
        (
            "Parquet that is none",
            "run demo corpus=table corpus.path=mine",
            splits(f"text,label\n{SECRET},ill\n", ".parquet"),
        ),
        (
            "columns for one task of two",
            "run demo corpus=table corpus.columns.text=a corpus.columns.tags=b corpus.path=mine",
            splits(f"a,b\n{SECRET},ill\n", ".csv"),
        ),
    ),
]

MODELS = _part(
    "Models",
    ("no such folder", "run demo model=./nowhere"),
    ("neither a folder nor an id", "run demo model=a/b/c"),
    ("without configuration", "run demo model=other model.max_length=32", model(removed("config.json"))),
    ("configuration that is not JSON", "run demo model=other model.max_length=32", model(files({"config.json": "{"}))),
    (
        "configuration of an unknown family",
        "run demo model=other model.max_length=32",
        model(configured(model_type="lama")),
    ),
    (
        "configuration that needs code of its own",
        "run demo model=other model.max_length=32",
        model(configured(model_type="own", auto_map={"AutoConfig": "code.Config"})),
    ),
    (
        "a family without a head for tags",
        "run demo model=other model.max_length=32",
        model(configured(model_type="whisper")),
    ),
    (
        "configuration with a wrong value",
        "run demo model=other model.max_length=32",
        model(configured(num_hidden_layers="four")),
    ),
    (
        "without tokenizer",
        "run demo model=other model.max_length=32",
        model(removed("tokenizer.json", "tokenizer_config.json")),
    ),
    (
        "tokenizer that breaks off",
        "run demo model=other model.max_length=32",
        model(files({"tokenizer.json": '{"version": "1.0", "tru'})),
    ),
    ("tokenizer of a larger vocabulary", "run demo model=other model.max_length=32", model(configured(vocab_size=20))),
    ("without weights", "run demo model=other model.max_length=32", model(removed("model.safetensors"))),
    ("only pickled weights", "run demo model=other model.max_length=32", model(pickled)),
    ("weights that break off", "run demo model=other model.max_length=32", model(truncated)),
    ("weights of other sizes", "run demo model=other model.max_length=32", model(configured(intermediate_size=64))),
    ("weights without a layer", "run demo model=other model.max_length=32", model(without_a_block)),
)

OUTPUTS = _part(
    "Output",
    ("a run folder of another experiment", "run demo -o out", another_run),
    ("a folder that holds something else", "run demo -o out", files({"out/notes.txt": "mine"})),
    ("a file for a run folder", "run demo -o out", files({"out": "mine"})),
    ("a file on the way to a run folder", "run demo -o out/run", files({"out": "mine"})),
    ("a link to nothing on the way to a run folder", "run demo -o out/run", dangling),
    ("a file on the way to a comparison", "compare demo --methods fedavg -o out", files({"out": "mine"})),
    (
        "a run of another experiment in a comparison",
        "compare demo --methods fedavg,lora -o out",
        lambda folder: write_run(folder / "out" / "lora-seed0", [0.0, 0.5]),
    ),
    ("a file on the way to a tuning", "tune demo --grid train.lr=0.1 --methods fedavg -o out", files({"out": "mine"})),
    ("a damaged run folder", "run demo -o out", files({"out/config.yaml": "{", "out/environment.json": "{"})),
    ("a name too long for a folder", f"run demo -o {'x' * 300}"),
    ("a table into a file on the way", "table study -o out/table.csv", files({"out": "mine"})),
    ("a table into a folder", "table study -o out", lambda folder: (folder / "out").mkdir()),
    ("a table onto a full disk", "table study -o /dev/full"),
    ("a picture into a file on the way", "plot study -o out/curves.png", files({"out": "mine"})),
    ("a report of an unknown kind", "report study -o out.docx"),
    ("a report into a folder", "report study -o out.md", lambda folder: (folder / "out.md").mkdir()),
    ("a partition into a file on the way", "partition demo -o out/partition", files({"out": "mine"})),
)

RECORDED = preset(
    corpus={"name": "jsonl", "path": "corpus"},
    model={"name": "model", "max_length": 32},
    partition={"name": "iid", "clients": 4},
    cohort={"count": 2},
    rounds=3,
)


def begun(**records: str) -> Prepare:
    """The folder `begun` of a run of the small corpus and model that was interrupted in its first round."""

    def write(folder: Path) -> None:
        RECORDED(folder)
        (folder / "begun").mkdir()
        settings = load(folder / "mine.yaml").resolved()
        (folder / "mine.yaml").unlink()
        (folder / "begun" / "config.yaml").write_text(yaml.safe_dump(settings))
        files({f"begun/{name}.json": content for name, content in records.items()})(folder)

    return write


def older(folder: Path) -> None:
    """The folder `begun` of a version that had a setting less."""
    begun()(folder)
    config = folder / "begun" / "config.yaml"
    settings = yaml.safe_load(config.read_text())
    del settings["prefix_cache"]
    config.write_text(yaml.safe_dump(settings))


OTHER_MODEL = json.dumps({"model_sha256": {"config.json": "0" * 64}})
RESUMED = _part(
    "Runs to go on with",
    ("no such folder", "run --resume nowhere"),
    ("a folder of runs", "run --resume study"),
    ("another folder as well", "run --resume begun -o out", begun()),
    ("a setting changed", "run --resume begun train.lr=0.1", begun()),
    ("a run of another version, with other settings", "run --resume begun", older),
    ("clients that hold something else now", "run --resume begun", begun(partition='{"clients": []}')),
    ("another model than it began with", "run --resume begun", begun(environment=OTHER_MODEL)),
    ("an environment that breaks off", "run --resume begun", begun(environment='{"python": ')),
)
REPLAYS = _part(
    "Visits to be redone",
    ("no such folder", "replay nowhere --round 1 --client 0"),
    ("a folder of runs", "replay study --round 1 --client 0"),
    ("no such round", "replay begun --round 4 --client 0", begun()),
    ("round 0, which is before training", "replay begun --round 0 --client 0", begun()),
    ("no such client", "replay begun --round 1 --client 4", begun()),
    ("a client that was not drawn", "replay begun --round 1 --client 0", begun()),
    ("no client", "replay begun --round 1", begun()),
    ("clients that hold something else now", "replay begun --round 1 --client 0", begun(partition='{"clients": []}')),
    ("another model than it ran with", "replay begun --round 1 --client 1", begun(environment=OTHER_MODEL)),
    ("an environment that breaks off", "replay begun --round 1 --client 1", begun(environment='{"python": ')),
)

RECORDS = _part(
    "Run folders to read",
    ("no such folder", "table nowhere"),
    ("no run in it", "table corpus"),
    ("an unfinished run", "table runs", study(removed("summary.json"))),
    ("settings that are not YAML", "table runs", study(files({"config.yaml": "{"}))),
    ("settings with an object of Python", "table runs", study(files({"config.yaml": "!!python/name:os.system"}))),
    ("a list for settings", "table runs", study(files({"config.yaml": "[]"}))),
    ("settings that are not UTF-8", "table runs", study(files({"config.yaml": b"name: \xff"}))),
    ("a summary that breaks off", "report runs", study(files({"summary.json": '{"name": "de'}))),
    ("a summary without its metric", "table runs", study(summary(metric="accuracy"))),
    ("a summary with a wrong value", "table runs", study(summary(rounds="two"))),
    ("a list for a summary", "table runs", study(files({"summary.json": "[]"}))),
    ("rounds missing", "plot runs -o figure.png", study(removed("rounds.csv"))),
    ("rounds that are empty", "plot runs -o figure.png", study(files({"rounds.csv": ""}))),
    (
        "rounds that break off",
        "plot runs -o figure.png",
        study(files({"rounds.csv": "round,test_f1,bytes_total,seconds_total\n0,0.5"})),
    ),
    (
        "rounds that end early",
        "table runs",
        study(files({"rounds.csv": "round,test_f1,bytes_total,seconds_total\n0,0.5,0,0\n"})),
    ),
    (
        "words for a number of rounds",
        "table runs",
        study(files({"rounds.csv": "round,test_f1,bytes_total,seconds_total\n0,half,0,0\n"})),
    ),
    (
        "a column of the rounds twice",
        "table runs",
        study(files({"rounds.csv": "round,round,test_f1,bytes_total,seconds_total\n2,2,0.5,0,0\n"})),
    ),
    ("rounds that are not UTF-8", "table runs", study(files({"rounds.csv": b"round,\xff\n"}))),
    ("an environment that is not JSON", "table runs", study(files({"environment.json": "{"}))),
    ("an environment that is a list", "table runs", study(files({"environment.json": "[]"}))),
    ("no record of clients", "plot runs --view layers -o figure.png", study(lambda folder: None)),
    ("runs on other corpora", "table runs", two_runs(label="x", settings={"corpus": {"name": "other"}})),
    ("runs of other metrics", "report runs", two_runs(label="x", metric="accuracy", task="classification")),
    ("a seed twice", "table runs", two_runs()),
    ("runs under other faults", "table runs", two_runs(seed=1, settings={"faults": {"dropout": 0.5}})),
    (
        "runs tested on other examples",
        "table runs",
        two_runs(seed=1, corpus={"name": "synthetic", "seed": 0}, test_sha256="1" * 64),
    ),
)

OPTIONS = _part(
    "Command lines",
    ("unknown command", "rnu demo"),
    ("unknown option", "run demo --output-folder x"),
    ("an option without its value", "run demo -o"),
    ("no preset", "run"),
    ("no folder", "table"),
    ("no output", "plot study"),
    ("unknown view", "plot study --view curve -o figure.png"),
    ("unknown view of a partition", "partition demo --view map"),
    ("clusters where none were made", "partition demo corpus.path=corpus partition.clients=3 --show cluster -o out"),
    ("seeds in words", "compare demo --seeds a"),
    ("half a seed", "compare demo --seeds 0.5"),
    ("a negative seed", "compare demo --seeds=-1"),
    ("no seed", "compare demo --seeds ,"),
    ("no method", "compare demo --methods ,"),
    ("skip ratios in words", "ablate demo --skip-ratios half"),
    ("a skip ratio above one", "ablate demo --skip-ratios 0,1.5"),
    ("a skip ratio that is no number", "ablate demo --skip-ratios nan"),
    ("no grid", "tune demo"),
    ("a grid without values", "tune demo --grid train.lr="),
    ("a grid without a key", "tune demo --grid 1,2"),
    ("a grid of an unknown setting", "tune demo --grid train.rate=1,2"),
    ("a grid of another section", "tune demo --grid partition.alpha=1,2"),
    ("a grid of wrong values", "tune demo --methods fedavg --grid train.lr=fast,slow"),
    ("a grid that is not YAML", "tune demo --grid 'train.lr=1,{'"),
    ("a setting twice in a grid", "tune demo --grid train.lr=1,2 --grid train.lr=3"),
    ("a budget without a unit", "report study --budget lots"),
    ("no budget", "report study --budget ,"),
    ("a negative budget", "report study --budget=-1MB"),
    ("a target in words", "report study --target most"),
    ("a target above all", "report study --target 101"),
)


def told(text: str) -> str:
    """A message without what differs from machine to machine."""
    return text.strip().replace(f"{os.cpu_count()} CPU cores", "N CPU cores")


def row(case: Case, text: str) -> str:
    """A case as a row of the table."""
    cells = [case.what, f"`{_short(case.command)}`", f"`` {told(text)} ``"]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _short(command: str) -> str:
    return command if len(command) <= 120 else f"{command[:60]}...{command[-20:]}"


HEAD = """# Bad inputs and what they are told

Made by `python -m tests.bad_inputs`; `tests/simulate/test_bad_input.py` checks every row. Each of these commands ends
before any training with exit code 2, this one line on standard error and nothing written. `run`, `compare`, `tune` and
`ablate` of `demo` and `mine.yaml` (the same preset, changed) are given a small corpus and model as well.
"""


def table() -> str:
    """All cases with what the code says to them now."""
    lines = [HEAD.strip()]
    about = ""
    for case in cases():
        if case.about != about:
            about = case.about
            lines += ["", f"## {about}", "", "| what is wrong | command | message |", "|---|---|---|"]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            lay_out(case, folder)
            lines.append(row(case, outcome(case, folder)[1]))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    os.environ["SKIPFL_CACHE"] = tempfile.mkdtemp(prefix="skipfl-")
    atexit.register(shutil.rmtree, os.environ["SKIPFL_CACHE"], ignore_errors=True)
    TABLE.write_text(table(), encoding="utf-8")
