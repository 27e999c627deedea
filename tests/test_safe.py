"""Safe by default: no pickle, no foreign code, no way out of an output folder, no clinical text in what runs leave."""

import ast
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

import pytest

from simulate import api, cli, config, tuning
from simulate.engine import rounds
from tests import bad_inputs
from tests.bad_inputs import Case, lay_out, outcome
from tests.command import SKIPFL
from tests.runs import experiment, run

ROOT = Path(__file__).parents[1]
SOURCES = [
    file for package in ("baselines", "partitions", "results", "simulate") for file in (ROOT / package).rglob("*.py")
]
RUNS_CODE = re.compile(
    r"(pickle|cloudpickle|dill|marshal)\.(loads?|Unpickler)|(torch|joblib|np|numpy)\.load|(pd|pandas)\.read_pickle"
    r"|yaml\.(load|load_all|unsafe_load|full_load)|shelve\.open|eval|exec"
)
"""Calls that run what a file says."""
SMALL = [
    "model=model",
    "model.max_length=32",
    "corpus.path=mine",
    "rounds=1",
    "partition.clients=3",
    "partition.min_size=1",
]


def calls() -> list[tuple[str, str, ast.Call]]:
    """Every call in the packages: its file and line, what is called, the call."""
    found = []
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                found.append((f"{file.relative_to(ROOT)}:{node.lineno}", ast.unparse(node.func), node))
    return found


def test_no_call_runs_what_a_file_says():
    """What processes of one run say to each other over a pipe of theirs is no file."""
    found = [(place, ast.unparse(call)) for place, name, call in calls() if RUNS_CODE.fullmatch(name)]
    assert [(place, call) for place, call in found if call != "pickle.loads(connection.recv_bytes())"] == []


def test_a_users_models_are_loaded_without_remote_code():
    """Elsewhere only models of our own are, by the same default."""
    seen = 0
    for place, name, call in calls():
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert given.get("trust_remote_code", "False") == "False", place
        if place.startswith("simulate/models") and name.endswith((".from_pretrained", ".from_config")):
            assert "trust_remote_code" in given, place
            seen += 1
    assert seen >= 4


class Bomb:
    """Unpickled, it leaves a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.mark.parametrize("pickled_only", [True, False])
def test_neither_pickles_nor_code_of_a_model_folder_are_run(pickled_only, tmp_path):
    exploded = tmp_path / "exploded"
    code = f"from pathlib import Path\nPath({str(exploded)!r}).touch()\n"

    def spoil(folder: Path) -> None:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(exploded)))
        (folder / "training_args.bin").write_bytes(pickle.dumps(Bomb(exploded)))
        (folder / "code.py").write_text(code)
        for name in ("config.json", "tokenizer_config.json"):
            content = json.loads((folder / name).read_text())
            auto = {
                "AutoConfig": "code.A",
                "AutoModelForTokenClassification": "code.B",
                "AutoTokenizer": ["code.C", None],
            }
            (folder / name).write_text(json.dumps(content | {"auto_map": auto}))
        if pickled_only:
            (folder / "model.safetensors").unlink()

    case = Case("", "", "run demo model=other model.max_length=32 -o out", bad_inputs.model(spoil))
    lay_out(case, tmp_path)
    code_, text = outcome(case, tmp_path)
    assert not exploded.exists()
    if pickled_only:
        assert code_ == 2
        assert "pytorch_model.bin is a pickle, which is never loaded" in text
    else:
        assert code_ == 0, text  # a family that transformers knows is read by its own class


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "a\\b", "x\n", "x\0", "", "x" * 101])
def test_a_name_is_that_of_one_folder(name):
    data = config.read("demo") | {"name": name}
    data.pop("per_method")
    with pytest.raises(config.ConfigError, match=r"^name = .*: expected 1 to 100 printable characters"):
        config.build(data)


def test_trials_stay_in_their_folder(tmp_path):
    grid = {"method.target_modules": [["../../x"], ["/etc"], [".."]]}
    tried = tuning.trials("demo", ["lora"], grid, None, [], tmp_path)
    assert len(tried) == 3
    assert {trial.folder.parent for trial in tried} == {tmp_path / "trials"}
    assert all(re.fullmatch(r"lora-target_modules[\w.+-]*-seed0", trial.folder.name) for trial in tried)


def test_an_unexpected_error_is_recorded_without_what_it_says(tiny_decoder, ner_corpus, tmp_path, monkeypatch):
    """Errors of libraries quote what they stumbled over."""

    def fail(*_):
        raise KeyError("patient Xylophone")

    monkeypatch.setattr(rounds.RoundLoop, "run", fail)
    with pytest.raises(KeyError):
        run(experiment(tiny_decoder, ner_corpus), tmp_path / "run")
    record = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert record["status"] == "failed"
    assert re.fullmatch(r"KeyError at test_safe\.py:\d+", record["error"])


@pytest.mark.parametrize("debug", [False, True])
def test_an_unexpected_error_is_told_without_what_it_says(debug, capsys, monkeypatch):
    """Standard error may end in a log; whoever asks for --debug sees all."""

    def fail(*_, **__):
        raise KeyError("patient Xylophone")

    monkeypatch.setattr(api, "simulate", fail)
    monkeypatch.setattr(sys, "argv", ["skipfl", "run", "demo", "-o", "never", *(["--debug"] if debug else [])])
    with pytest.raises(KeyError if debug else SystemExit) as ended:
        cli.main()
    if not debug:
        assert ended.value.code == 1
        told = r"error: KeyError at test_safe\.py:\d+, a defect of skipfl or of a library; --debug shows all\n"
        assert re.fullmatch(told, capsys.readouterr().err)


# One run through the real command on Ray, whose every trace is searched for its corpus.

TAGS = {"zq": "O", "zb": "B-problem", "zi": "B-treatment"}


def marked(folder: Path) -> list[str]:
    """Writes a corpus none of whose words stands anywhere else, with text for groups (two examples each, as patients
    recur) and documents; returns them."""
    folder.mkdir()
    words = []
    for split, size in (("train", 12), ("validation", 4), ("test", 4)):
        with (folder / f"{split}.jsonl").open("w") as stream:
            for number in range(size):
                tokens, group = (
                    [f"{prefix}{split}{place}{end}" for prefix in TAGS]
                    for place, end in ((number, "k"), (number // 2, "g"))
                )
                words += [*tokens, *group]
                example = {"tokens": tokens, "tags": list(TAGS.values()), "document": " ".join(tokens)}
                stream.write(json.dumps(example | {"group": " ".join(group)}) + "\n")
    return words


def readable(file: Path) -> bytes:
    """The bytes of a file, and what its compressed streams hold."""
    data = file.read_bytes()
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", data, re.DOTALL):
        try:
            data += zlib.decompressobj().decompress(stream)
        except zlib.error:
            continue
    return data.lower()


def listening(pid: int) -> set[str]:
    """Local addresses, as hexadecimal digits, at which a process and those below it listen."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, below = set(), [pid]
    while below:
        process = below.pop()
        below += parents.get(process, [])
        try:
            links = {str(link.readlink()) for link in Path(f"/proc/{process}/fd").iterdir()}
            tables = [Path(f"/proc/{process}/net/{kind}").read_text() for kind in ("tcp", "tcp6")]
        except OSError:
            continue
        for line in "\n".join(tables).splitlines():
            fields = line.split()
            if fields[3:4] == ["0A"] and f"socket:[{fields[9]}]" in links:
                found.add(fields[1].partition(":")[0])
    return found


@pytest.fixture(scope="module")
def traces(tiny_decoder):
    """A finished study and what came of it: working folder, words, output, addresses listened at."""
    root = Path(tempfile.mkdtemp(prefix="sk", dir="/tmp"))  # Ray's sockets need a short path
    try:
        words = marked(root / "mine")
        (root / "model").symlink_to(tiny_decoder)
        places = {"HOME": "home", "TMPDIR": "tmp", "RAY_TMPDIR": "ray", "SKIPFL_CACHE": "cache", "MPLCONFIGDIR": "home"}
        for name in places.values():
            (root / name).mkdir(exist_ok=True)
        environment = os.environ | {key: str(root / name) for key, name in places.items()}
        command = [SKIPFL, "compare", "demo", "--methods", "lora", *SMALL, "method.layers=1"]
        command += ["engine.workers=2", "-o", "out"]
        addresses: set[str] = set()
        process = subprocess.Popen(
            command, cwd=root, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

        def watch() -> None:
            while process.poll() is None:
                addresses.update(listening(process.pid))
                time.sleep(1)

        watcher = threading.Thread(target=watch)
        watcher.start()
        output, _ = process.communicate(timeout=300)
        watcher.join()
        assert process.returncode == 0, output
        yield root, words, output, addresses
    finally:
        shutil.rmtree(root, ignore_errors=True)


def test_no_trace_of_a_run_holds_corpus_text(traces, monkeypatch):
    """Records, pictures, reports, exported model, output, logs of Ray, temporary files: all but the private cache."""
    root, words, output, _ = traces
    said = output
    for command in (
        "report out -o report.md",
        "report out -o report.csv",
        "table out -o table.csv",
        "plot out --view pareto -o pareto.png",
        "partition demo corpus.path=mine partition.clients=3 partition.min_size=1 partition.by=cluster "
        "partition.clusters=2 -o who",
        "partition demo corpus.path=mine partition=natural partition.clients=3 partition.min_size=1 -o where",
        "run demo model=model model.max_length=32 corpus.path=bad -o bad-run",
    ):
        if "corpus.path=bad" in command:
            shutil.copytree(root / "mine", root / "bad")
            broken = (root / "bad" / "test.jsonl").read_text().replace("B-problem", "S-problem")
            (root / "bad" / "test.jsonl").write_text(broken)
        code, errors = outcome(Case("", "", command), root)
        assert code == (2 if "corpus.path=bad" in command else 0), errors
        said += errors
    shutil.rmtree(root / "bad")
    searched = [
        file
        for file in root.rglob("*")
        if file.is_file() and not file.is_symlink() and not {"mine", "cache"} & set(file.relative_to(root).parts[:1])
    ]
    names = {file.name for file in searched}
    assert {
        "rounds.csv",
        "clients.csv",
        "environment.json",
        "curves.png",
        "curves.pdf",
        "README.md",
        "report.md",
    } <= names
    assert any(file.parent.name == "logs" for file in searched), "the logs of the Ray session are among them"
    for word in words:
        assert word not in said
    for file in searched:
        content = readable(file)
        assert [word for word in words if word.encode() in content] == [], file


def test_what_is_kept_of_the_text_is_for_its_owner_alone(traces):
    root, _, _, _ = traces
    kept = [path for path in (root / "cache").iterdir() if path.is_dir()]
    assert kept
    assert all(path.stat().st_mode & 0o077 == 0 for path in kept)
    docs = (ROOT / "partitions" / "README.md").read_text(encoding="utf-8")
    assert "it holds your clinical text" in docs


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ray_listens_on_loopback_alone(traces):
    """127.0.0.1 as the kernel writes it, for IPv4 and mapped into IPv6."""
    _, _, _, addresses = traces
    assert addresses
    assert addresses <= {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
