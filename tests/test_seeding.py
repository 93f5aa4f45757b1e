"""Streams: same name, same numbers; another name, other numbers."""

import torch

from metarl_run.seeding import Streams, derived_seed

CPU = torch.device("cpu")


def draw(seed, *name):
    return torch.rand(4, generator=Streams(seed, CPU)(*name)).tolist()


def test_a_stream_depends_on_seed_name_and_index_alone():
    assert draw(0, "meta_train/tasks", 3) == draw(0, "meta_train/tasks", 3)
    names = [(0, "a"), (0, "b"), (1, "a"), (0, "a", 0), (0, "a", 1), (0, "a", 0, 1), (10, "a"), (1, "0/a")]
    assert len({derived_seed(*name) for name in names}) == len(names)


def test_reading_one_stream_does_not_move_another():
    streams = Streams(0, CPU)
    first = streams("a")
    torch.rand(100, generator=streams("b"))
    assert torch.rand(4, generator=first).tolist() == draw(0, "a")


def test_numpy_streams_are_reproducible_and_global_randomness_is_untouched():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    numbers = [Streams(0, CPU).numpy("bootstrap", 2).random() for _ in range(2)]
    assert numbers[0] == numbers[1]
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds_fit_a_generator():
    assert all(0 <= derived_seed(seed, "x") < 2**63 for seed in range(1000))
