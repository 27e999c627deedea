"""Extra tensors, client memory, personal tensors, faults: the same bits serially, on one and on two actors."""

import pytest

from tests.runs import FAULTS, SGD, experiment, require_same_bits

PARTIAL = {"train": {"lr": 0.01, "batch_size": 4, "partial_work": 0.7}}
HALF = {"cohort": {"count": 2}, "rounds": 3}
HONEST = FAULTS | {"availability": 0.8, "persistence": 2, "deadline": 4}
FAULTY = {
    "rounds": 3,
    "faults": HONEST | {"byzantine": 0.2, "attack": "noise"},
    "partition": {"name": "dirichlet", "clients": 6, "alpha": 0.5, "min_size": 3},
}


@pytest.mark.parametrize(
    ("method", "family", "task", "changes"),
    [
        ({"name": "scaffold"}, "tiny_decoder", "ner_corpus", SGD | HALF),
        ({"name": "scaffold", "layers": 2, "policy": "random"}, "tiny_encoder", "text_corpus", SGD | HALF),
        ({"name": "scaffold", "budgets": [1, 2]}, "tiny_decoder", "text_corpus", SGD | HALF),
        ({"name": "fednova"}, "tiny_encoder", "ner_corpus", PARTIAL),
        ({"name": "fednova", "budgets": [1, 3]}, "tiny_decoder", "text_corpus", HALF),
        ({"name": "fedper"}, "tiny_decoder", "ner_corpus", HALF),
        ({"name": "fedper", "layers": 2, "personal_layers": 1}, "tiny_encoder", "text_corpus", HALF),
        ({"name": "head_only"}, "tiny_decoder", "text_corpus", {}),
        ({"name": "head_only"}, "tiny_encoder", "ner_corpus", HALF),
        ({"name": "layer_skipping", "layers": 2, "policy": "gradient_norm"}, "tiny_decoder", "ner_corpus", FAULTY),
        ({"name": "scaffold"}, "tiny_encoder", "ner_corpus", SGD | FAULTY | {"faults": HONEST}),
        ({"name": "fedper", "layers": 2, "personal_layers": 1}, "tiny_encoder", "text_corpus", FAULTY),
        ({"name": "layer_skipping", "budgets": [1, 3]}, "tiny_decoder", "text_corpus", {"aggregation": "trimmed_mean"}),
        ({"name": "lora"}, "tiny_decoder", "ner_corpus", FAULTY | {"aggregation": "median", "server": "adam"}),
    ],
    ids=str,
)
def test_serial_one_actor_and_two_actors_give_the_same_bits(method, family, task, changes, tmp_path, request, actors):
    what = experiment(request.getfixturevalue(family), request.getfixturevalue(task), method, **changes)
    require_same_bits(what, tmp_path, actors)
