"""The replay buffer: contents, padding and state."""

import torch

from metarl_run.algo.planning.replay import FIELDS, Replay
from metarl_run.types import Rollout


def numbered(first, number, T=3):
    """Lifetimes of T steps, each with its own number in every reward."""
    reward = torch.arange(first, first + number).float().expand(T, -1).clone()
    no = torch.zeros(T, number, dtype=torch.bool)
    return Rollout(torch.zeros(T + 1, number, 2), no.long(), reward, no, no, ~no, {})


def kept(replay):
    return sorted(replay.kept["reward"][0, : len(replay)].tolist())


def test_it_keeps_the_latest_lifetimes():
    replay = Replay(capacity=5, steps=4)
    for first, number, wanted in ((0, 3, [0, 1, 2]), (3, 3, [1, 2, 3, 4, 5]), (6, 8, [9, 10, 11, 12, 13])):
        replay.add(numbered(first, number))
        assert kept(replay) == wanted


def test_padding_is_not_alive():
    replay = Replay(capacity=2, steps=5)
    replay.add(numbered(1, 2))
    drawn = replay.sample(8, torch.Generator().manual_seed(0))
    assert drawn.observation.shape == (6, 8, 2) and drawn.reward.shape == (5, 8)
    assert drawn.alive[:3].all() and not drawn.alive[3:].any()
    assert set(drawn.reward[0].tolist()) == {1.0, 2.0}


def test_it_goes_on_from_its_state():
    one, other = Replay(capacity=3, steps=3), Replay(capacity=3, steps=3)
    one.add(numbered(0, 4))
    other.load_state(one.state())
    for replay in (one, other):
        replay.add(numbered(10, 1))
    assert len(other) == 3 and kept(one) == kept(other) == [2, 3, 10]
    draws = [replay.sample(9, torch.Generator().manual_seed(0)) for replay in (one, other)]
    assert all(torch.equal(getattr(draws[0], name), getattr(draws[1], name)) for name in FIELDS)
