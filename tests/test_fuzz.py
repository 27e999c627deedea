"""Whatever stands in a settings file, an override, a corpus or a record: a result or a user's error, and no text told.

Input is arbitrary, or sound and then damaged: bytes cut, changed, repeated or put in. The longer profile is slow.
"""

import json
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from partitions.corpora.brat import Brat
from partitions.corpora.conll import Conll
from partitions.corpora.i2b2_2010 import I2b2Concepts
from partitions.corpora.jsonl import Jsonl
from partitions.corpora.table import TableFolder
from partitions.corpus import CorpusError
from results import frames
from results.frames import ResultsError
from simulate.config import ConfigError, load
from simulate.errors import USER_ERRORS
from simulate.tuning import read_grid
from tests.results.conftest import write_run

SECRET = "Xylophone"
"""Stands in every sound corpus where text does; no message may hold it."""
DEMO = (Path(__file__).parents[1] / "simulate" / "presets" / "demo.yaml").read_bytes()
OFTEN = 25
VERY_OFTEN = 2_000
PATIENCE = 30.0
"""Seconds after which what is being read is taken to hang."""

quickly = settings(
    max_examples=OFTEN,
    derandomize=True,
    database=None,
    deadline=timedelta(seconds=5),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
SPICE = [
    *(b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n\n", b"\t", b'"', b"||", b":", b"{", b"[", b"\\ud800"),
    *(b"&a [*a]", b"-1", b"9" * 30, b"1e999", b"null", b"!!python/none", b"2001-99-99", b"O", b"B-", b"I-x"),
    *("\u2028".encode(), "\U0001f4a3".encode()),
]


@st.composite
def damaged(draw, sound: bytes) -> bytes:
    """Sound bytes with up to four damages."""
    data = sound
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 40)))
        how = draw(st.sampled_from(["cut", "drop", "put", "swap", "repeat"]))
        piece = draw(st.sampled_from(SPICE) | st.binary(max_size=4))
        data = {
            "cut": data[:end],
            "drop": data[:start] + data[end:],
            "put": data[:start] + piece + data[start:],
            "swap": data[:start] + piece + data[end:],
            "repeat": data[:end] + data[start:],
        }[how]
    return data


def like(sound: bytes) -> st.SearchStrategy[bytes]:
    """Damaged, or arbitrary."""
    return (
        damaged(sound) | st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace"))
    )


class _AlarmError(BaseException):
    """What is no `Exception` no parser takes for an error of its own."""


@contextmanager
def in_time(seconds: float = PATIENCE) -> Iterator[None]:
    """The block is left when it has taken so long: what hangs fails."""

    def ring(*_: object) -> None:
        raise _AlarmError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _AlarmError:
        raise AssertionError(f"hangs: not done in {seconds:g} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def refuses(call: Callable[[], object], errors: type[Exception] | tuple[type[Exception], ...] = USER_ERRORS) -> None:
    """A call gives something, or one of the errors, in whose line no corpus text stands."""
    told = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call()
        except errors as error:
            told = str(error)
    assert SECRET.casefold() not in told.casefold()
    assert len(told) < 2_000


NER = b"".join(
    json.dumps({"id": f"n{n}", "tokens": [SECRET, "pain"], "tags": ["O", "B-problem"]}).encode() + b"\n"
    for n in range(3)
)
TEXT = b"".join(json.dumps({"text": f"{SECRET} {n}", "label": "ill", "group": "a"}).encode() + b"\n" for n in range(3))
CONLL = (
    f"-DOCSTART- O\n\n{SECRET} NN O\npain NN B-problem\ntoday NN I-problem\n\n{SECRET}\tO\nfever\tB-problem\n".encode()
)
CSV = f'id,text,label\n1,"{SECRET}, ""pain""\n again",ill\n2,{SECRET} two,well\n'.encode()
NOTE = f"{SECRET} was given aspirin .\nNo chest pain today .\n".encode()
ANN = b"T1\ttreatment 20 27\taspirin\nT2\tproblem 33 43\tchest pain\nR1\tcauses Arg1:T1 Arg2:T2\n"
CON = b'c="aspirin" 1:3 1:3||t="treatment"\nc="chest pain" 2:1 2:2||t="problem"\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def read_jsonl(folder: Path, data: bytes) -> None:
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_bytes(data)
    refuses(Jsonl(path=folder, allow_overlap=True).load, CorpusError)


def read_conll(folder: Path, data: bytes) -> None:
    for split in ("train", "validation", "test"):
        (folder / f"{split}.conll").write_bytes(data)
    for scheme in ("iob2", "iob1", "iobes"):
        refuses(Conll(path=folder, scheme=scheme, allow_overlap=True).load, CorpusError)


def read_csv(folder: Path, data: bytes) -> None:
    for split in ("train", "validation", "test"):
        (folder / f"{split}.csv").write_bytes(data)
    refuses(TableFolder(path=folder, allow_overlap=True).load, CorpusError)


def read_brat(folder: Path, data: bytes, note: bytes = NOTE) -> None:
    for split in ("train", "validation", "test"):
        (folder / split).mkdir(exist_ok=True)
        (folder / split / "a.txt").write_bytes(note)
        (folder / split / "a.ann").write_bytes(data)
    refuses(Brat(path=folder, allow_overlap=True).load, CorpusError)


def read_concepts(folder: Path, data: bytes) -> None:
    training = folder / "concept_assertion_relation_training_data" / "site"
    for texts, concepts, name in (
        (training / "txt", training / "concept", "a"),
        (training / "txt", training / "concept", "b"),
        (folder / "test_data", folder / "reference_standard_for_test_data" / "concepts", "c"),
    ):
        texts.mkdir(parents=True, exist_ok=True)
        concepts.mkdir(parents=True, exist_ok=True)
        (texts / f"{name}.txt").write_bytes(NOTE)
        (concepts / f"{name}.con").write_bytes(data if name == "a" else CON)
    refuses(I2b2Concepts(path=folder, allow_overlap=True).load, CorpusError)


def read_settings(folder: Path, data: bytes) -> None:
    file = folder / "mine.yaml"
    file.write_bytes(data)
    refuses(lambda: load(file))
    refuses(lambda: load(file, ["train.lr=1e-3", "method.layers=2"], "lora"))


def read_override(folder: Path, data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    refuses(lambda: load("demo", [text]))
    refuses(lambda: load("demo", [f"method={text}"]))
    refuses(lambda: load("demo", [f"corpus.{text}"]))
    refuses(lambda: read_grid([text]), ConfigError)


def read_records(folder: Path, data: bytes) -> None:
    """One record of a run after the other is what was drawn."""
    for name in ("config.yaml", "summary.json", "rounds.csv", "environment.json"):
        sound = (folder / "run" / name).read_bytes()
        try:
            (folder / "run" / name).write_bytes(data)
            refuses(lambda: frames.load(folder), ResultsError)
        finally:
            (folder / "run" / name).write_bytes(sound)


OVERRIDE = b"method.layers=[1, 2, {a: 3}]"
PARSERS = {
    "JSON lines, ner": (read_jsonl, NER),
    "JSON lines, texts": (read_jsonl, TEXT),
    "CoNLL": (read_conll, CONLL),
    "CSV": (read_csv, CSV),
    "brat": (read_brat, ANN),
    "concepts": (read_concepts, CON),
    "settings": (read_settings, DEMO),
    "overrides": (read_override, OVERRIDE),
    "records": (read_records, b"round,test_f1,bytes_total,seconds_total\n0,0.1,0,0\n1,0.5,9,1\n2,0.6,9,2\n"),
}


@pytest.mark.parametrize(("read", "sound"), PARSERS.values(), ids=PARSERS.keys())
def test_anything_is_read_or_refused(read, sound, folder, request):
    _fuzz(read, sound, folder / request.node.callspec.id, quickly)


@pytest.mark.slow
@pytest.mark.parametrize(("read", "sound"), PARSERS.values(), ids=PARSERS.keys())
def test_anything_is_read_or_refused_at_length(read, sound, folder, request):
    _fuzz(read, sound, folder / f"long {request.node.callspec.id}", settings(quickly, max_examples=VERY_OFTEN))


def _fuzz(read, sound: bytes, folder: Path, how: settings) -> None:
    folder.mkdir()
    if read is read_records:
        write_run(folder / "run", [0.0, 0.5, 0.6])

    def read_in_time(data: bytes) -> None:
        with in_time():
            read(folder, data)

    how(given(like(sound))(read_in_time))()


def test_a_parser_that_hangs_fails(folder):
    """Also one that goes on after any error."""

    def hang() -> None:
        while True:
            with suppress(Exception):
                time.sleep(0.01)

    with pytest.raises(AssertionError, match=r"hangs: not done in 0\.1 s"), in_time(0.1):
        refuses(hang)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.parametrize(("read", "sound"), PARSERS.values(), ids=PARSERS.keys())
def test_what_is_damaged_was_sound(read, sound, folder, request, monkeypatch):
    """The fuzzing begins from what is read without an error."""
    fresh = folder / f"sound {request.node.callspec.id}"
    fresh.mkdir()
    if read in (read_override, read_records, read_conll):
        pytest.skip("not one input for all of its readers")
    monkeypatch.setitem(read.__globals__, "refuses", lambda call, *_: call())
    read(fresh, sound)
