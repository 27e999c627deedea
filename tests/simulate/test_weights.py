"""Weights that workers share: the same bits as weights of one's own, mapped where nobody changes them."""

import pytest
import torch

from baselines.fedavg import FedAvg
from baselines.flora import FLoRA
from baselines.layer_skipping import LayerSkipping
from baselines.lora import LoRA
from simulate.engine import weights
from simulate.engine.shared import SharedFolder
from simulate.engine.weights import load
from simulate.models.backbone import ModelSettings

LABELS = ("O", "B-problem", "I-problem")


def loaded(model, method, folder=None, **settings):
    return load(ModelSettings(name=str(model), max_length=32, **settings), "classification", LABELS, 3, method, folder)


@pytest.mark.parametrize("model", ["tiny_decoder", "tiny_encoder"])
@pytest.mark.parametrize("method", [LayerSkipping(layers=1), LoRA(layers=1), FLoRA(), FedAvg()])
@pytest.mark.parametrize("settings", [{}, {"pretrained": False}])
def test_the_second_worker_has_the_same_model(model, method, settings, request):
    model = request.getfixturevalue(model)
    alone = loaded(model, method, **settings)
    folder = SharedFolder("weights")
    workers = [loaded(model, method, folder, **settings) for _ in range(2)]
    state = alone.model.state_dict()
    for worker in workers:
        assert (worker.pad, worker.full, worker.structure, worker.scope) == (
            (alone.pad, alone.full, alone.structure, alone.scope)
        )
        own = worker.model.state_dict()
        assert own.keys() == state.keys()
        assert all(torch.equal(own[name], state[name]) for name in state)
        assert all(torch.equal(worker.initial[name], alone.initial[name]) for name in alone.scope.trained)
        for (name, buffer), (_, other) in zip(
            worker.model.named_buffers(), alone.model.named_buffers(), strict=True
        ):  # those of no checkpoint too
            assert torch.equal(buffer, other), name
        assert not any(parameter.requires_grad for parameter in worker.model.parameters())
    ids = torch.tensor([[3, 4, 5], [6, 7, 0]])
    with torch.no_grad():
        outputs = [one.model(input_ids=ids, attention_mask=(ids > 0).long()).logits for one in (alone, *workers)]
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
    changing = {*alone.scope.trained, *alone.scope.merged}
    first, second = (dict(worker.model.named_parameters()) for worker in workers)
    for name, parameter in first.items():  # a mark that one sets in shared memory, the other sees
        parameter.data.view(-1)[0] = 123.0
        assert (second[name].view(-1)[0] == 123.0) == (name not in changing), name
    assert all(not (worker.initial[name] == 123.0).any() for worker in workers for name in alone.scope.trained)
    folder.close()
    assert not folder.path.exists()


def test_buffers_that_a_checkpoint_brings_are_shared_too(tiny_decoder, monkeypatch):
    def with_buffer(make, values):
        def made(*arguments):
            found = make(*arguments)
            (found[0] if isinstance(found, tuple) else found).register_buffer("correction", torch.tensor(values))
            return found

        return made

    monkeypatch.setattr(weights, "load_model", with_buffer(weights.load_model, [1.5, 2.5]))
    monkeypatch.setattr(weights, "empty_model", with_buffer(weights.empty_model, [0.0, 0.0]))
    folder = SharedFolder("buffers")
    assert [loaded(tiny_decoder, FedAvg(), folder).model.correction.tolist() for _ in range(2)] == [[1.5, 2.5]] * 2
    folder.close()


@pytest.mark.parametrize("shared", [False, True])
def test_every_parameter_lies_where_products_are_the_same_bits(tiny_decoder, shared):
    """At multiples of 64 bytes, of the first worker and of others; a checkpoint's own memory does not."""
    folder = SharedFolder("aligned") if shared else None
    for _ in range(1 + shared):
        worker = loaded(tiny_decoder, LayerSkipping(layers=2), folder)
        assert {parameter.data_ptr() % 64 for parameter in worker.model.parameters()} == {0}
    if folder:
        folder.close()
