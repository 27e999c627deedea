"""`skipfl partition` as a user meets it: a real process."""

import json
import sys

import pytest

from simulate import api
from simulate.cli import main
from tests.command import quick

SMALL = ["corpus.train=200", "corpus.validation=10", "corpus.test=10", "partition.clients=4"]


def test_prints_draws_and_names_what_it_wrote(tmp_path):
    result = quick("partition", "demo", *SMALL, "partition.alpha=0.1", "-o", "out/alpha0.1", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    *_, closing = result.stdout.splitlines()
    assert closing == "wrote out/alpha0.1.json, out/alpha0.1.png, out/alpha0.1.pdf"
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        f"alpha0.1.{kind}" for kind in ("json", "png", "pdf")
    }
    record = json.loads((tmp_path / "out/alpha0.1.json").read_text())
    assert [client["client"] for client in record["clients"]] == [0, 1, 2, 3]
    assert record["statistics"]["examples"] == 200
    assert record["skewed_by"] == "label"
    assert f"{record['statistics']['js_divergence_bits']:.3f} bits" in result.stdout
    for text in ("effective number of labels", "earth mover's distance, groups", "most frequent labels"):
        assert text in result.stdout


def test_neither_model_nor_tokenizer_is_needed(tmp_path):
    result = quick(
        "partition", "demo", *SMALL, "model=no/such-model", "partition=natural", "-o", "natural.png", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert "most frequent groups" in result.stdout
    assert sorted(file.name for file in tmp_path.iterdir()) == ["natural.json", "natural.pdf", "natural.png"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["partition.whole_documents=true", "partition.clients=40"], "error: 40 clients of at least 8 examples each"),
        (["partition.by=hospital"], "error: partition.by = 'hospital': Input should be 'label', 'group' or 'cluster'"),
        (["--show", "cluster"], "error: the partition does not record clusters; it has label, group"),
    ],
)
def test_mistakes_end_in_one_line(arguments, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["skipfl", "partition", "demo", *SMALL, *arguments, "-o", str(tmp_path / "x")])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith(expected)
    assert message.count("\n") == 1


def test_it_is_the_partition_of_a_run(tiny_decoder, ner_corpus, tmp_path):
    settings = [
        f"model={tiny_decoder}", "model.max_length=32", f"corpus.path={ner_corpus}", "rounds=1", "method.layers=1",
        "partition.clients=3", "partition.min_size=3", "engine.executor=serial",
    ]  # fmt: skip
    (folder,) = api.run("demo", tmp_path / "run", settings)
    of_run = json.loads((folder / "partition.json").read_text())
    alone = json.loads(api.partition("demo", tmp_path / "alone.json", settings).read_text())
    digests = [[client["indices_sha256"] for client in record["clients"]] for record in (of_run, alone)]
    assert digests[0] == digests[1]
    assert of_run["statistics"] == alone["statistics"]
