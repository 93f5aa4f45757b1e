"""Ranks: the same update to the last bit, whatever their number; what ends one ends all."""

import functools
import os
import pickle
import signal
import socket
import time
from pathlib import Path

import pytest
import torch
from suited import composed

from metarl_run.errors import ConfigError, NumericalError, Pruned
from metarl_run.rollout import collect
from metarl_run.run import ranks as module
from metarl_run.run.agent import build_agent
from metarl_run.run.ranks import PeerLost, Ranks, joined
from metarl_run.run.training import Training, sum_of_bits
from metarl_run.seeding import Streams
from metarl_run.system.child import Child
from metarl_run.system.interruption import Interrupted, StopRequest
from metarl_run.system.launched import Launched
from metarl_run.types import parts_of

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # OpenBLAS's


def free_port():
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


def together(size, function):
    """What `function(ranks)` returns in each of so many forks, or the error that it raises."""
    port = str(free_port())

    def be(rank):
        environment = {"MASTER_ADDR": "localhost", "MASTER_PORT": port}
        ranks = joined(Launched("test", rank, size, rank, size, environment), "cpu")
        try:
            return pickle.dumps(function(ranks))  # torch would send tensors as descriptors of shared memory
        finally:
            ranks.leave()

    children = [Child(functools.partial(be, rank)) for rank in range(size)]
    ends = []
    for child in children:
        try:
            ends.append(pickle.loads(child.result()))
        except BaseException as error:
            ends.append(error)
    return ends


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_every_part_has_one_rank_and_ranks_have_their_parts_in_order(size):
    assert [part for rank in range(size) for part in Ranks(rank, size).own(7)] == [*range(7)]
    assert [part.stop - part.start for part in parts_of(10, 4)] == [2, 3, 2, 3]
    assert parts_of(2, 4) == [slice(0, 1), slice(1, 2)]


# --- What is gathered ---


def test_trees_of_all_parts_arrive_whole_and_in_order_however_they_are_divided():
    def tree(part):
        """Of other lengths in each part, with every kind of tensor."""
        x = torch.arange(part + 1) / 3
        return x, {"double": x.double().outer(x.double()), "flag": x > 0.5}, [torch.tensor(part)]

    def gather(ranks):
        return ranks.gathered([functools.partial(tree, part) for part in ranks.own(4)])

    for got in together(3, gather):
        for part, (x, named, (number,)) in enumerate(got):
            wanted = tree(part)
            assert torch.equal(x, wanted[0]) and int(number) == part
            assert all(torch.equal(named[name], wanted[1][name]) for name in wanted[1])
            assert named["double"].dtype is torch.float64 and named["flag"].dtype is torch.bool


# --- Training ---

CASES = {
    "maml": ["algo=maml", "episodes_per_task=2"],
    "maml, statistics": ["algo=maml", "episodes_per_task=2", "normalise.observations=true", "normalise.rewards=true"],
    "meta_sgd": ["algo=meta_sgd", "learner=actor_critic", "episodes_per_task=2"],
    "rl2": ["algo=rl2", "network.hidden=8", "algo.episodes=2", "algo.minibatches=2", "episodes_per_task=3"],
}
TINY = ("experiment=smoke", "env.horizon=12", "meta_batch_size=5", "distributed=2")


def training(case, ranks, iterations=5):
    config = composed(*TINY, *CASES[case], f"meta_iterations={iterations}").config
    streams = Streams(0, torch.device("cpu"))
    family, algo = build_agent(config, streams)
    return Training(
        algo=algo,
        collect=collect,
        family=family,
        streams=streams,
        sinks={},
        stop=StopRequest(),
        folder=Path("nowhere"),
        meta_iterations=config["meta_iterations"],
        meta_batch_size=config["meta_batch_size"],
        meta_batch_chunk=None,
        episodes_per_task=config["episodes_per_task"],
        meta_validation={},
        meta_test={},
        validate_every=0,
        checkpoint_every=1000,
        parts=config["meta_batch_parts"],
        ranks=ranks,
    )


def learned(case, ranks):
    """θ, env steps and statistics after some meta-iterations."""
    one = training(case, ranks, 2 if case == "rl2" else 5)  # its shapes are checked in every call
    one.save = lambda: None
    one.meta_train()
    state = one.state()
    statistics = [*state.get("normalisation", {}).values()]
    return [x.clone() for x in (*state["algo"]["meta_params"].values(), *statistics)], one.env_steps


@pytest.mark.parametrize("case", CASES)
def test_1_2_and_4_ranks_learn_the_same_to_the_last_bit(case):
    expected, steps = learned(case, Ranks())
    before = training(case, Ranks()).state()["algo"]["meta_params"].values()
    assert any(not torch.equal(old, new) for old, new in zip(before, expected, strict=False))
    for size in (2, 4) if case in ("maml", "rl2") else (2,):
        for θ, number in together(size, functools.partial(learned, case)):
            assert number == steps
            for got, wanted in zip(θ, expected, strict=True):
                assert torch.equal(got, wanted)


# --- Ends ---


def test_an_error_in_one_rank_ends_all_of_them_with_it():
    def fail(ranks):
        with ranks.telling():
            ranks.gathered([lambda: torch.zeros(1)])
            if ranks.rank == 1:
                raise NumericalError("meta-loss", "must be finite, got nan", task=3)
            ranks.gathered([lambda: torch.zeros(1)])

    for end in together(3, fail):
        assert isinstance(end, NumericalError)
        assert "must be finite, got nan in task 3" in str(end)


def test_the_early_end_of_a_search_is_told_by_the_leader():
    def prune(ranks):
        with ranks.telling():
            if ranks.leads:
                raise Pruned(7)
            ranks.told()

    assert [type(end) for end in together(2, prune)] == [Pruned, Pruned]


def test_what_is_no_error_of_a_run_stays_in_its_rank_and_the_others_hear_of_it():
    def fail(ranks):
        with ranks.telling():
            if ranks.rank == 1:
                raise KeyError("oops")
            ranks.gathered([lambda: torch.zeros(1)])

    first, second = together(2, fail)
    assert isinstance(second, KeyError)
    assert "KeyError in another rank" in str(first)


def test_a_rank_that_is_killed_ends_the_others_at_once():
    def die(ranks):
        ranks.gathered([lambda: torch.zeros(1)])
        if ranks.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        begin = time.monotonic()
        with pytest.raises(PeerLost, match="rank 0 has lost the others"), ranks.telling():
            ranks.gathered([lambda: torch.zeros(1)])
        return time.monotonic() - begin

    seconds, _ = together(2, die)
    assert seconds < 30


def test_all_stop_in_the_same_iteration_whichever_was_asked():
    def ask(ranks):
        one = training("maml", ranks, iterations=5)
        one.save = lambda: None
        if ranks.rank == 1:
            one.stop.exit_code = 143
        try:
            one.meta_train()
        except Interrupted as request:
            return request.exit_code, one.iteration

    assert together(2, ask) == [(143, 1), (143, 1)]


def test_ranks_that_came_apart_are_found_out():
    def part(ranks):
        one = training("maml", ranks, iterations=3)
        if ranks.rank == 1:
            θ = next(iter(one.algo.meta_params.values()))
            with torch.no_grad():
                θ.view(-1)[0] = torch.nextafter(θ.view(-1)[0], torch.tensor(1.0))
        with ranks.telling():
            one.meta_train()

    for end in together(2, part):
        assert "different meta-parameters" in str(end)


def test_a_sum_of_bits_sees_the_last_bit_and_the_place():
    x = torch.tensor([1.0, 2.0])
    assert sum_of_bits([x]) == sum_of_bits([x.clone()])
    assert sum_of_bits([x]) != sum_of_bits([x.flip(0)])
    assert sum_of_bits([x]) != sum_of_bits([torch.nextafter(x, torch.tensor(9.0))])


def test_ranks_that_do_not_find_each_other_are_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(module, "RENDEZVOUS", 0.5)
    place = Launched("torchrun", 1, 2, 1, 2, {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())})
    with pytest.raises(ConfigError, match="rank 1 did not find the other 1 at localhost") as refused:
        joined(place, "cpu")
    assert refused.value.exit_code == 2 and "\n" not in refused.value.reason
