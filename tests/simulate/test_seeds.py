"""Addressed randomness."""

import torch

from simulate import seeds


def test_equal_addresses_equal_draws():
    assert (
        seeds.generator(1, "batches", 2, 3).random(4).tolist() == seeds.generator(1, "batches", 2, 3).random(4).tolist()
    )


def test_addresses_are_distinct():
    addresses = [(0, "a", 1), (0, "a", 2), (1, "a", 1), (0, "b", 1), (0, "a", "1"), (0, "a/1"), (0, "a", 1, 1)]
    assert len({seeds.derive(seed, *rest) for seed, *rest in addresses}) == len(addresses)


def test_derived_seeds_are_the_same_on_every_machine():
    # the first 8 bytes of SHA-256 of b"int:7/str:cohort/int:3", big-endian, without the last bit
    assert seeds.derive(7, "cohort", 3) == 4644216780517100182


def test_torch_draws_leave_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with seeds.torch_draws(0, "dropout", 1):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with seeds.torch_draws(0, "dropout", 1):
        assert torch.equal(torch.rand(3), inside)


def test_drawing_leaves_nothing_queued_for_a_device_that_is_not_used():
    before = len(torch.cuda._queued_calls)
    with seeds.torch_draws(0, "dropout", 1):
        assert len(torch.cuda._queued_calls) == before
