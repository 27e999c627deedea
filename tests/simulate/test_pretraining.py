"""Pre-training: text, tokenizer, batches, growth, resume, and the checkpoint that ships."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from partitions.corpora.synthetic import notes
from simulate.models.sources import SHIPPED_FOLDERS
from simulate.pretraining.card import card
from simulate.pretraining.growth import model_config, stack, untrained
from simulate.pretraining.perplexity import model_nats, unigram_nats, windows
from simulate.pretraining.probe import Probe, hidden_states
from simulate.pretraining.schedule import Schedule
from simulate.pretraining.settings import Pretraining, Stage, WorkFolder
from simulate.pretraining.state import State
from simulate.pretraining.streams import batch, prepare
from simulate.pretraining.text import TextError, detokenize, plain, read_folder, split_off
from simulate.pretraining.tokenizer import train_tokenizer
from simulate.pretraining.train import ResumeError, train

TINY = Pretraining(
    notes=30,
    vocabulary=500,
    hidden=32,
    mlp=64,
    heads=2,
    stages=(Stage(layers=1, steps=60), Stage(layers=2, steps=60)),
    batch_tokens=256,
    lengths=(32, 64),
    warmup=10,
    peak_lr=1e-2,
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(notes(7, 30), vocabulary=500)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> WorkFolder:
    folder = WorkFolder(tmp_path_factory.mktemp("work"))
    prepare(TINY, folder)
    return folder


def write_corpus(folder: Path, **splits: list[dict[str, object]]) -> Path:
    folder.mkdir()
    for split, rows in splits.items():
        with gzip.open(folder / f"{split}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return folder


@pytest.mark.parametrize(
    ("tokens", "running"),
    [
        ("The 24 - year - old man ( APC2 ) , well .", "The 24-year-old man (APC2), well."),
        ("Parkinson ' s disease : 7 . 5 mg / day [ 1 ]", "Parkinson's disease: 7.5 mg/day [1]"),
        ('called " antibody test , " at 50 % ; P < 0 . 05', 'called "antibody test," at 50%; P < 0.05'),
        ("a / b / c and x-ray", "a/b/c and x-ray"),
    ],
)
def test_tokens_become_running_text(tokens: str, running: str) -> None:
    assert detokenize(tokens.split()) == running


def test_a_folder_gives_its_train_split_only(tmp_path: Path) -> None:
    row = {"tokens": ["Seen", "once", "."], "tags": ["O"] * 3, "group": ""}
    secret = {"tokens": ["secret"], "tags": ["O"], "group": ""}
    folder = write_corpus(
        tmp_path / "set", train=[{"id": "a-0", **row}, {"id": "a-1", **row}, {"id": "b-0", **row}],
        validation=[{"id": "v-0", **secret}], test=[{"id": "t-0", **secret}],
    )  # fmt: skip
    (folder / "notes.txt").write_text("secret")
    assert [document.running for document in read_folder(folder)] == ["Seen once. Seen once.", "Seen once."]
    assert read_folder(folder)[1].sentences == ("Seen once .",)


def test_other_splits_and_malformed_rows_are_refused(tmp_path: Path) -> None:
    only_test = write_corpus(tmp_path / "only_test", test=[{"id": "t-0", "text": "secret"}])
    with pytest.raises(TextError, match=r"only_test: expected train\.jsonl"):
        read_folder(only_test)
    (tmp_path / "validation.txt").write_text("secret")
    with pytest.raises(TextError, match=r"validation\.txt: named like a held-out split"):
        read_folder(tmp_path)
    malformed = write_corpus(tmp_path / "malformed", train=[{"id": "a-0", "text": "fine"}, {"id": "a-1", "words": []}])
    with pytest.raises(TextError, match=r"train\.jsonl\.gz, line 2"):
        read_folder(malformed)


def test_held_out_documents_are_the_last_and_disjoint() -> None:
    documents = [plain(text) for text in "abcdefghij"]
    kept, held_out = split_off(documents, 0.2)
    assert [document.running for document in held_out] == ["i", "j"]
    assert kept + held_out == documents


def test_tokenizer_round_trip(tokenizer: PreTrainedTokenizerFast) -> None:
    for text in [*notes(8, 3), "naïve ≥ 12345 mg\n\n  - x"]:
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text.strip()


def test_words_give_the_tokens_of_running_text(tokenizer: PreTrainedTokenizerFast) -> None:
    for text in [*notes(8, 3), "The 24 - year - old man ( APC2 ) took 1000 mg , T-cell @NUMBER don't ."]:
        words = text.split()
        split = tokenizer(words, is_split_into_words=True)
        assert split["input_ids"] == tokenizer(" ".join(words))["input_ids"]
        assert split["input_ids"][0] == tokenizer.bos_token_id
        assert {word for word in split.word_ids() if word is not None} == set(range(len(words)))


def test_batches_depend_on_seed_and_step_alone(work: WorkFolder) -> None:
    tokenizer, streams = prepare(TINY, work)
    again = batch(TINY, streams, tokenizer.bos_token_id, 3)
    assert np.array_equal(batch(TINY, streams, tokenizer.bos_token_id, 3), again)
    assert again.shape == (4, 64)
    assert batch(TINY, streams, tokenizer.bos_token_id, 2).shape == (8, 32)
    assert (again[:, 0] == tokenizer.bos_token_id).all()
    assert not np.array_equal(batch(TINY, streams, tokenizer.bos_token_id, 5), again)
    other = TINY.model_copy(update={"seed": 8})
    assert not np.array_equal(batch(other, streams, tokenizer.bos_token_id, 3), again)


def test_schedule_warms_up_at_every_growth_and_ends_at_zero() -> None:
    stages = (Stage(layers=1, steps=100), Stage(layers=2, steps=100))
    schedule = Schedule(stages, peak=1.0, warmup=10, decay=50, steps=200)
    rates = [schedule.rate(step) for step in range(200)]
    assert rates[0] == rates[100] == 0.1
    assert rates[9] == rates[99] == rates[149] == rates[150] == 1.0
    assert rates[175] == 0.5  # 25 of the 50 steps of decay remain
    assert rates[199] == 1 / 50
    cut = schedule.ending_at(170)
    assert (cut.decay_start, cut.rate(169)) == (120, 1 / 50)
    assert schedule.stage_start(100) == (100, stages[1])


def test_stacking_copies_layers_onto_themselves(tokenizer: PreTrainedTokenizerFast) -> None:
    small = untrained(model_config(TINY, tokenizer, 2), seed=0)
    large = stack(small, 4)
    assert large.config.num_hidden_layers == len(large.model.layers) == 4
    for index, layer in enumerate(large.model.layers):
        for name, value in small.model.layers[index % 2].state_dict().items():
            assert torch.equal(layer.state_dict()[name], value)
    assert torch.equal(large.lm_head.weight, small.model.embed_tokens.weight)
    layer = sum(parameter.numel() for parameter in small.model.layers[0].parameters())
    assert large.num_parameters() - small.num_parameters() == 2 * layer
    with pytest.raises(ValueError, match="expected a multiple of 2"):
        stack(small, 5)


def test_training_learns_more_than_token_frequencies(work: WorkFolder, tmp_path: Path) -> None:
    model = _train(TINY, tmp_path / "run", tmp_path / "checkpoint").model
    tokenizer, streams = prepare(TINY, work)
    texts = list(notes(8, 5))
    tokens = sum(len(window) - 1 for window in windows(tokenizer, texts))
    start = model_nats(untrained(model.config, TINY.seed), tokenizer, texts) / tokens
    unigram = unigram_nats(np.bincount(streams["notes"], minlength=TINY.vocabulary), tokenizer, texts) / tokens
    learned = model_nats(model, tokenizer, texts) / tokens
    assert start == pytest.approx(np.log(TINY.vocabulary), abs=0.2)  # random weights: all tokens alike
    assert learned < unigram - 0.5
    assert unigram < start


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole = _train(TINY, tmp_path / "whole", tmp_path / "a")
    for stop in (50, 100):  # before and after the growth at step 60
        with pytest.raises(KeyboardInterrupt):
            _train(TINY, tmp_path / "cut", tmp_path / "b", stop=stop)
    resumed = _train(TINY, tmp_path / "cut", tmp_path / "b")
    assert resumed.losses == whole.losses
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()
    with pytest.raises(ResumeError, match="a run of other settings"):
        _train(TINY.model_copy(update={"seed": 8}), tmp_path / "cut", tmp_path / "b")


def test_a_time_limit_cuts_the_plateau_not_the_decay(tmp_path: Path) -> None:
    settings = TINY.model_copy(update={"stages": (Stage(layers=1, steps=400),), "decay": 0.1})
    state = _train(settings, tmp_path / "run", tmp_path / "checkpoint", hours=1e-9)
    assert state.step == 51 + 40  # the first step that may be cut at, and a decay of a tenth of 400 steps


def test_a_word_is_represented_by_its_last_sub_word(tokenizer: PreTrainedTokenizerFast) -> None:
    model = untrained(model_config(TINY, tokenizer, 2), seed=0)
    words = ["acetylsalicylate", "given"]
    ids = tokenizer(words, is_split_into_words=True, return_tensors="pt")["input_ids"]
    length = len(tokenizer.tokenize("acetylsalicylate"))
    assert length > 1
    with torch.no_grad():
        states = model.model(input_ids=ids).last_hidden_state[0]
    features = hidden_states(model, tokenizer, [words], layers=[0, 2])
    assert features.shape == (2, 2, 32)
    np.testing.assert_allclose(features[1, 0], states[length].numpy(), rtol=1e-5)  # <bos> stands at position 0
    np.testing.assert_allclose(features[1, 1], states[-1].numpy(), rtol=1e-5)
    text = hidden_states(model, tokenizer, ["acetylsalicylate given"], layers=[2])
    np.testing.assert_allclose(text[0, 0], states[1:].mean(dim=0).numpy(), rtol=1e-4, atol=1e-6)


def test_probe_scores_entities_strictly() -> None:
    tags = {"test": ["B-test", "I-test", "O", "B-problem"]}
    data = Probe({"test": [["CT", "scan", "showed"], ["pain"]]}, tags)
    half = data.score_tags("test", np.array(["B-test", "O", "O", "B-problem"]))
    assert half["entity_f1"] == 0.5  # one of two predicted entities is right, one of two true ones is found


def test_the_card_is_written_from_the_figures(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path)
    settings = Pretraining(text=(Path("somewhere/bc5cdr"), Path("somewhere/own")))
    work.settings.write_text(settings.model_dump_json())
    training = {
        "steps": 8000, "tokens": 16_384_000, "seconds": 5400.0, "hours": 1.5, "processor": "a CPU", "threads": 1,
        "parameters": 4_831_360, "stream_tokens": {"notes": 8_000_000, "text": 1_000_000},
        "losses": [[2000, 4, 3.0], [4000, 8, 2.5], [8000, 16, 2.0]],
    }  # fmt: skip
    work.training.write_text(json.dumps(training))
    values = {"perplexity": 10.0, "bits_per_byte": 1.25}
    row = {"tokens": 100, "trained": values, "untrained": values, "unigram": values}
    work.perplexity.write_text(json.dumps({"own": row}))
    entry = {"features": "layer 8", "test": {"entity_f1": 0.5}}
    other = {"features": "layer 8", "test": {"entity_f1": 0.25}}
    probes = {"trained": entry, "random 0": entry, "random 1": other}
    work.probe.write_text(json.dumps({"mtsamples_ner": {"probes": probes}}))
    text = card(work)
    assert "| 40000 synthetic notes | 8.00 M | 1.1 times |" in text  # 0.55 * 16.384 M / 8 M
    assert "| real text, both renderings | 1.00 M | 7.4 times |" in text  # 0.45 * 16.384 M / 1 M
    assert "| 16 layers | 4000 | 2.00 |" in text
    assert "CC BY 4.0" in text
    assert "`own`: see the folder's own terms" in text
    assert "| own | 100 | 10.0 (1.25) |" in text
    assert "| random weights | best layer of each | 37.5 (25.0 to 50.0) |" in text
    assert "--steps 8000 --hours 1.5 --notes 40000 --seed 7 --text PATH/bc5cdr --text PATH/own" in text


def test_the_shipped_checkpoint_predicts_fresh_notes() -> None:
    shipped = SHIPPED_FOLDERS["tiny-llama"]
    tokenizer = AutoTokenizer.from_pretrained(shipped)
    model = AutoModelForCausalLM.from_pretrained(shipped)
    assert isinstance(model, LlamaForCausalLM)
    assert model.dtype == torch.float32
    assert (model.config.num_hidden_layers, model.config.vocab_size, len(tokenizer)) == (16, 8016, 8016)
    assert (tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token) == ("<pad>", "<bos>", "<eos>")
    assert model.num_parameters() == 4_831_360  # 8016 * 128 + 16 * (128 * 320 + 3 * 128 * 512 + 2 * 128) + 128
    texts = list(notes(123, 3))
    tokens = sum(len(window) - 1 for window in windows(tokenizer, texts))
    trained = np.exp(model_nats(model, tokenizer, texts) / tokens)
    random = np.exp(model_nats(untrained(model.config, 0), tokenizer, texts) / tokens)
    assert random > 5000
    assert trained < 50


def _train(
    settings: Pretraining, folder: Path, target: Path, stop: int | None = None, hours: float | None = None
) -> State:
    def report(state: State, schedule: Schedule, pace: float) -> None:
        if state.step == stop:
            raise KeyboardInterrupt

    return train(settings, WorkFolder(folder), target, hours=hours, save_seconds=0.0, report=report)
