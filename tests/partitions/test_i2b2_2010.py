"""The i2b2-2010 reader against invented notes in the official layout, and every mistake it names."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from partitions.corpora.i2b2_2010 import I2b2Concepts, parse_concept
from partitions.corpus import CorpusError

FIXTURE = Path(__file__).parent / "fixtures" / "i2b2_2010"
TRAINING = "concept_assertion_relation_training_data"
RECORD = f"{TRAINING}/beth/concept/record-11.con"

pytestmark = pytest.mark.filterwarnings("ignore:i2b2-2010")


@pytest.fixture
def folder(tmp_path) -> Path:
    """A copy of the fixture that a test may spoil."""
    return Path(shutil.copytree(FIXTURE, tmp_path / "i2b2"))


def message(folder: Path) -> str:
    with pytest.raises(CorpusError) as caught:
        I2b2Concepts(path=folder).load()
    text = str(caught.value).replace(str(folder), "DIR")
    assert "\n" not in text
    assert "cough" not in text
    return text


def words(text: str) -> list[str]:
    return text.split()


def examples(corpus) -> dict[str, tuple]:
    return {
        row["id"]: (row["tokens"], row["tags"], row["group"], row["document"])
        for split in corpus.splits.values()
        for row in split
    }


def test_reads_tokens_tags_groups_and_documents():
    rows = examples(I2b2Concepts(path=FIXTURE).load())
    record, outside = ("beth", "beth/record-11"), ["O"]
    assert rows == {
        "beth/record-11-1": (["Admission", "Date", ":"], outside * 3, *record),
        "beth/record-11-2": (["2031-05-04"], outside, *record),
        "beth/record-11-4": (["HISTORY", "OF", "PRESENT", "ILLNESS", ":"], outside * 5, *record),
        "beth/record-11-5": (
            words("The lamplighter noted a Stubborn Cough and low grade fever after tea ."),
            words("O O O B-problem I-problem I-problem O B-problem I-problem I-problem O O O"),
            *record,
        ),
        "beth/record-11-7": (
            ["His", "chest", "film", "was", "clear", "."],
            ["B-test", "I-test", "I-test", "O", "O", "O"],
            *record,
        ),
        "beth/record-12-1": (["HOSPITAL", "COURSE", ":"], outside * 3, "beth", "beth/record-12"),
        "beth/record-12-2": (
            words("The beekeeper was given honeybalm 5 mg for the patient 's hives ."),
            words("O O O O B-treatment O O O B-problem I-problem I-problem I-problem O"),
            *("beth", "beth/record-12"),
        ),
        "beth/record-13-1": (["DISPOSITION", ":"], outside * 2, "beth", "beth/record-13"),
        "beth/record-13-2": (["Home", "to", "the", "lighthouse", "."], outside * 5, "beth", "beth/record-13"),
        "partners/700000001-1": (
            ["The", '"creaking"', "knee", "of", "the", "clockmaker", "was", "X-rayed", "."],
            ["B-problem", "I-problem", "I-problem", "O", "O", "O", "O", "B-test", "O"],
            *("partners", "partners/700000001"),
        ),
        "partners/700000002_QX-1": (
            ["Willow", "tincture", "relieved", "his", "gout", "."],
            ["B-treatment", "I-treatment", "O", "B-problem", "I-problem", "O"],
            *("partners", "partners/700000002_QX"),
        ),
        "test/0001-1": (
            ["Barometer", "readings", "were", "normal", "."],
            ["B-test", "I-test", "O", "O", "O"],
            *("test", "test/0001"),
        ),
        "test/0002-1": (
            ["No", "dizziness", "on", "the", "ladder", "."],
            ["O", "B-problem", "O", "O", "O", "O"],
            *("test", "test/0002"),
        ),
        "test/0002-3": (
            ["Plan", ":", "compass", "lotion", "."],
            ["O", "O", "B-treatment", "I-treatment", "O"],
            *("test", "test/0002"),
        ),
    }


def test_describes_itself_without_files(tmp_path):
    assert I2b2Concepts(path=tmp_path / "absent").describe() == ("ner", ("problem", "test", "treatment"))
    assert I2b2Concepts(path=FIXTURE).load().labels == ("problem", "test", "treatment")


def test_overlapping_and_repeated_concepts_are_counted():
    with pytest.warns(
        UserWarning,
        match=r"^i2b2-2010: concepts left out as they repeat or overlap a longer one: 2, at .*, line 3 and elsewhere$",
    ):
        I2b2Concepts(path=FIXTURE).load()


@pytest.mark.parametrize("spoil", ["crlf", "no final newline", "byte order mark", "blank last line"])
def test_line_ends_and_byte_order_marks_change_nothing(folder, spoil):
    for file in [*folder.rglob("*.txt"), *folder.rglob("*.con")]:
        data = file.read_bytes()
        file.write_bytes(
            {
                "crlf": data.replace(b"\n", b"\r\n"),
                "no final newline": data.removesuffix(b"\n"),
                "byte order mark": b"\xef\xbb\xbf" + data,
                "blank last line": data + b" \n",
            }[spoil]
        )
    assert examples(I2b2Concepts(path=folder).load()) == examples(I2b2Concepts(path=FIXTURE).load())


def held_out(folder: Path, **settings) -> list[str]:
    return sorted(set(I2b2Concepts(path=folder, **settings).load().splits["validation"]["document"]))


def many_notes(folder: Path, beth: int, partners: int) -> Path:
    """The fixture with other training notes, one line each."""
    shutil.rmtree(folder / TRAINING)
    for site, count in {"beth": beth, "partners": partners}.items():
        for part in ("txt", "concept"):
            (folder / TRAINING / site / part).mkdir(parents=True)
        for index in range(count):
            (folder / TRAINING / site / "txt" / f"note-{index}.txt").write_text(f"Cough {index} of {site} .\n")
            (folder / TRAINING / site / "concept" / f"note-{index}.con").write_text('c="cough" 1:0 1:0||t="problem"\n')
    return folder


def test_validation_holds_whole_notes_of_every_site(folder):
    many_notes(folder, 40, 11)
    corpus = I2b2Concepts(path=folder, validation=0.2).load()
    groups = list(corpus.splits["validation"]["group"])
    assert (groups.count("beth"), groups.count("partners")) == (8, 2)  # of 40 and 11
    assert len(corpus.splits["train"]) == 41
    documents = [set(split["document"]) for split in corpus.splits.values()]
    assert sum(map(len, documents)) == len(set.union(*documents)) == 53


def test_what_is_held_out_depends_on_seed_site_and_name_alone(folder):
    first = held_out(many_notes(folder, 40, 11), validation=0.2)
    assert held_out(folder, validation=0.2) == first
    assert held_out(folder, validation=0.2, seed=1) != first
    assert {name.removeprefix("beth/") for name in first if "beth" in name} != {f"note-{index}" for index in range(8)}
    fewer = set(held_out(folder, validation=0.1))
    assert fewer < set(first)
    for part in ("txt", "concept"):
        shutil.rmtree(folder / TRAINING / "partners" / part)
    shutil.rmtree(folder / TRAINING / "partners")
    assert held_out(folder, validation=0.2) == [name for name in first if name.startswith("beth")]


def test_a_site_keeps_a_note_and_gives_one(folder):
    assert {name.partition("/")[0] for name in held_out(FIXTURE)} == {"beth", "partners"}
    assert len(held_out(FIXTURE, validation=0.99)) == 3  # 2 of beth's 3, 1 of partners' 2
    many_notes(folder, 1, 1)
    assert message(folder) == f"DIR/{TRAINING}: no site has two notes, so none can be held out for validation"


def test_settings():
    reader = I2b2Concepts(path=FIXTURE)
    assert I2b2Concepts.model_validate(reader.model_dump(mode="json")) == reader
    for wrong in ({"validation": 0}, {"validation": 1}, {"labels": ["test"]}):
        with pytest.raises(ValidationError):
            I2b2Concepts(path=FIXTURE, **wrong)


def test_missing_folders(folder):
    text = message(folder / "absent")
    assert text.startswith("DIR: no such folder; to obtain it: sign the data use agreement of the n2c2 portal")
    shutil.rmtree(folder / "test_data")
    assert message(folder).startswith("DIR/test_data: no such folder; to obtain it: ")
    shutil.rmtree(folder / TRAINING / "beth" / "txt")
    (folder / "test_data").mkdir()
    assert message(folder) == f"DIR/{TRAINING}/beth/txt: no such folder; a site has the folders txt and concept"


def test_files_without_their_fellow(folder):
    (folder / "test_data" / "0003.txt").write_text("Alone .\n")
    concepts = "DIR/reference_standard_for_test_data/concepts"
    expected = f"DIR/test_data/0003.txt: has no annotations; expected {concepts}/0003.con"
    assert message(folder) == expected
    (folder / "test_data" / "0003.txt").rename(folder / "reference_standard_for_test_data/concepts/0003.con")
    assert message(folder) == f"{concepts}/0003.con: has no text; expected DIR/test_data/0003.txt"


def test_hidden_files_are_passed_over(folder):
    (folder / "test_data" / "._0001.txt").write_bytes(b"\xff")
    assert len(I2b2Concepts(path=folder).load().splits["test"]) == 3


def test_not_utf8(folder):
    (folder / "test_data" / "0002.txt").write_bytes(b"No dizziness on the ladder .\n\nPlan : \xe9\n")
    assert message(folder) == "DIR/test_data/0002.txt, line 3: not UTF-8 at byte 8"


def test_empty_notes(folder):
    for note in (folder / "test_data").iterdir():
        note.write_text("\n")
    for concepts in (folder / "reference_standard_for_test_data/concepts").iterdir():
        concepts.write_text("")
    assert message(folder) == "DIR/test_data: holds no examples"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cough", 'not a concept; expected c="TEXT" LINE:WORD LINE:WORD||t="TYPE"'),
        ('c="cough" 5:5 5:5', 'not a concept; expected c="TEXT" LINE:WORD LINE:WORD||t="TYPE"'),
        (
            'c="cough" 5:5 5:5||t="problem"||a="present"',
            'not a concept; expected c="TEXT" LINE:WORD LINE:WORD||t="TYPE"',
        ),
        ('c="cough" 5:5 5:5||t="person"', "its type (6 characters) is not among problem, test, treatment"),
        ('c="cough" 5:5 5:4||t="problem"', "ends at 5:4, before its beginning at 5:5"),
        ('c="cough" 0:0 5:5||t="problem"', "0:0 is outside the note, which has 7 lines (from 1)"),
        ('c="cough" 7:0 8:0||t="problem"', "8:0 is outside the note, which has 7 lines (from 1)"),
        ('c="cough" 3:0 3:0||t="problem"', "3:0 is outside its line, which has 0 words (from 0)"),
        ('c="cough" 5:5 5:8||t="problem"', "5:8 is outside its line, which has 8 words (from 0)"),
        ('c="cough" 5:4 5:4||t="problem"', "the text in c= is not that of 5:4 to 5:4 in NOTE"),
        ('c="cough" 5:4 5:5||t="problem"', "the text in c= is not that of 5:4 to 5:5 in NOTE"),
        ('c="" 5:5 5:5||t="problem"', "the text in c= is not that of 5:5 to 5:5 in NOTE"),
    ],
)
def test_mistakes_in_concepts(folder, line, expected):
    with (folder / RECORD).open("a") as stream:
        stream.write(line)
    expected = expected.replace("NOTE", f"DIR/{TRAINING}/beth/txt/record-11.txt")
    assert message(folder) == f"DIR/{RECORD}, line 4: {expected}"


numbers = st.integers(min_value=0, max_value=12)
concepts = st.builds(
    'c="{}" {}:{} {}:{}||t="{}"'.format,
    st.sampled_from(["a stubborn cough", "his chest film", "", '"']) | st.text(max_size=5),
    *[numbers] * 4,
    st.sampled_from(["problem", "test", "treatment", "O", ""]),
)


@given(st.text() | concepts | st.builds("{}{}".format, concepts, st.text(max_size=3)))
def test_any_line_is_a_concept_or_a_corpus_error(line):
    mistake, concept = "", None
    try:
        concept = parse_concept(line)
    except CorpusError as error:
        mistake = str(error)
    assert "\n" not in mistake
    if concept:
        assert concept.first <= concept.last
        assert concept.kind in ("problem", "test", "treatment")


@given(st.lists(st.binary(max_size=12) | concepts.map(str.encode), max_size=4).map(b"\n".join))
def test_any_concept_file_is_read_or_a_corpus_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz") / "i2b2"
    shutil.copytree(FIXTURE, folder)
    (folder / RECORD).write_bytes(data)
    mistake = f"{RECORD}, line "
    try:
        I2b2Concepts(path=folder).load()
    except CorpusError as error:
        mistake = str(error)
    assert "\n" not in mistake
    assert f"{RECORD}, line " in mistake
