"""Threads: how many there are changes no byte, and what goes wrong in one of them is seen."""

import os
import threading
import time

import gymnasium
import pytest
import torch
from suited import composed

from metarl_run.lifetime import live
from metarl_run.maths.parallel import in_parallel, num_threads, traced, use_threads
from metarl_run.network import hypernetwork, min_gru, recurrent, ssd, tanh_network, transformer
from metarl_run.network.gru import GRU
from metarl_run.network.lstm import LSTM
from metarl_run.network.min_gru import MinGRU
from metarl_run.network.mlp import MLP
from metarl_run.network.ssd import SSD
from metarl_run.network.transformer import Transformer
from metarl_run.run.agent import set_up
from metarl_run.system.child import Child

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

T, N, M, D, H = 3, 37, 5, 4, 16
HEADS = {"policy": 3, "value": 1}
WITH_MEMORY = {
    "gru": GRU(num_inputs=D, heads=HEADS, hidden=H),
    "lstm": LSTM(num_inputs=D, heads=HEADS, hidden=H),
    "ssd": SSD(num_inputs=D, heads=HEADS, hidden=H, layers=2, memories=2, key=4),
    "min_gru": MinGRU(num_inputs=D, heads=HEADS, hidden=H),
    "transformer": Transformer(num_inputs=D, heads=HEADS, hidden=H, layers=2, attention_heads=2, feed_forward=H),
    "from a hypernetwork": MinGRU(
        num_inputs=D, heads=HEADS, hidden=H, read="hypernetwork", observation_space=gymnasium.spaces.Box(0, 1, (2,))
    ),
}


@pytest.fixture(autouse=True)
def afterwards_one_thread():
    yield
    use_threads(1)


@pytest.fixture
def small_blocks(monkeypatch):
    """Several of them even in small tests."""
    for module, name, size in (
        (recurrent, "ROWS", 1),
        (recurrent, "CACHED", 5 * H),
        (recurrent, "STEPPED", 5 * H),
        (min_gru, "CACHED", T * 5 * H),
        (ssd, "CACHED", T * 5 * H),
        (transformer, "CACHED", T * 5 * H),
        (transformer, "STEPPED", 5 * H),
        (hypernetwork, "CACHED", 10_000),
        (tanh_network, "CACHED", 1),
        (tanh_network, "ROLLED_OUT", 1),
    ):
        monkeypatch.setattr(module, name, size)


def normals(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def same(results):
    """True if the results with 1, 2 and 3 threads have the same bytes."""
    first, *others = results
    return all(a.numpy().tobytes() == b.numpy().tobytes() for one in others for a, b in zip(first, one, strict=True))


def with_threads(function):
    for number in (1, 2, 3):
        use_threads(number)
        yield [x.detach() for x in function()]


@pytest.mark.parametrize("kind", WITH_MEMORY)
def test_sequences_and_their_derivatives_have_the_same_bytes(kind, small_blocks):
    network = WITH_MEMORY[kind]
    params = {name: θ.requires_grad_() for name, θ in network.init(torch.Generator().manual_seed(0)).items()}
    x = normals(T, N, D).requires_grad_()

    def outputs():
        y = list(network.sequence(params, x).values())
        return [*y, *torch.autograd.grad(sum(one.square().sum() for one in y), [x, *params.values()])]

    assert same(with_threads(outputs))


@pytest.mark.parametrize("kind", WITH_MEMORY)
def test_steps_have_the_same_bytes(kind, small_blocks):
    network = WITH_MEMORY[kind]
    params, x = network.init(torch.Generator().manual_seed(0)), normals(T, N, 1, D)

    def outputs():
        memory = network.initial_memory(params, N)
        with torch.inference_mode():
            for t in range(T):
                y, memory = network(params, x[t], memory)
        assert all(one.is_inference() for one in (*y.values(), *memory.values()))
        return [*y.values(), *memory.values()]

    assert same(with_threads(outputs))
    whole, memory = network(params, x[0], network.initial_memory(params, N))  # with gradients there is one block
    with torch.no_grad():
        blocks, after = network(params, x[0], network.initial_memory(params, N))
    torch.testing.assert_close((dict(whole), memory), (dict(blocks), after))


def test_policies_of_a_stack_have_the_same_bytes(small_blocks):
    network = MLP(num_inputs=D, heads=HEADS, hidden=[H, H], activation="tanh")
    params = {name: normals(M, *θ.shape) for name, θ in network.init(torch.Generator().manual_seed(0)).items()}
    x = normals(M, N, D)

    def outputs():
        with torch.inference_mode():
            return list(network(params, x, {})[0].values())

    assert same(with_threads(outputs))
    with torch.inference_mode():
        for m in range(M):
            alone = network({name: φ[m] for name, φ in params.items()}, x[m], {})[0]
            torch.testing.assert_close(list(alone.values()), [y[m] for y in outputs()])


def test_second_derivatives_have_the_same_bytes(small_blocks):
    network = MLP(num_inputs=D, heads=HEADS, hidden=[H, H], activation="tanh")
    generator = torch.Generator().manual_seed(0)
    params = {name: (θ + 0.1 * normals(M, *θ.shape)).requires_grad_() for name, θ in network.init(generator).items()}
    x, θ = normals(M, N, D), list(params.values())

    def outputs():
        y = list(network(params, x, {})[0].values())
        first = torch.autograd.grad(sum(one.square().sum() for one in y), θ, create_graph=True)
        return [*y, *first, *torch.autograd.grad(sum(one.square().sum() for one in first), θ)]

    assert same(with_threads(outputs))


@pytest.mark.parametrize(
    "overrides",
    [
        ["algo=maml"],
        *(["algo=rl2", f"network={kind}"] for kind in WITH_MEMORY if " " not in kind),
        ["algo=rl2", "network=min_gru", "network.read=hypernetwork", "network.read_units=4"],
    ],
    ids=["maml", *WITH_MEMORY],
)
def test_meta_updates_have_the_same_bytes(overrides, small_blocks):
    def learned(number):
        sizes = ["meta_batch_size=6", "episodes_per_task=2", "env.horizon=4", f"threads={number}", "logger=files"]
        config = composed("env=cartpole_family", *overrides, *sizes).config
        _, streams, family, algo = set_up(config)
        assert num_threads() == number
        task = family.sample(6, "meta_train", streams("tasks"))
        from metarl_run.env.vector import parallel

        def lived(steps):
            env = parallel(family, task, episodes_per_task=2, generator=streams("env"))
            return live(algo, env, streams("actions"), adaptation_steps=steps)

        for _ in range(2):
            algo.meta_update(lived)
        return [θ.detach() for θ in algo.meta_params.values()]

    assert same([learned(number) for number in (1, 2, 3)])


def test_blocks_are_computed_at_the_same_time_in_the_mode_of_the_caller():
    use_threads(3)
    together = threading.Barrier(3, timeout=10)

    def meet(k):
        together.wait()
        return k, torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_num_threads()

    for mode, seen in (
        (torch.enable_grad(), (True, False)),
        (torch.no_grad(), (False, False)),
        (torch.inference_mode(), (False, True)),
    ):
        with mode:
            assert in_parallel(meet, [(0,), (1,), (2,)]) == [(k, *seen, 1) for k in range(3)]


def test_the_first_of_the_blocks_that_fail_is_told():
    use_threads(2)
    begun = threading.Barrier(2, timeout=10)

    def fail(k):
        if k < 2:
            begun.wait()
        if k == 0:
            time.sleep(0.05)  # the other one fails earlier
        raise ArithmeticError(f"block {k}")

    with pytest.raises(ArithmeticError, match="block 0"):
        in_parallel(fail, [(k,) for k in range(5)])
    assert in_parallel(lambda k: k, [(0,), (1,)]) == [0, 1]


def test_blocks_within_blocks_are_computed_one_after_another():
    use_threads(2)

    def outer(k):
        return in_parallel(lambda j: (k, j), [(0,), (1,)])

    assert in_parallel(outer, [(0,), (1,)]) == [[(0, 0), (0, 1)], [(1, 0), (1, 1)]]


def test_a_fork_has_threads_of_its_own():
    use_threads(2)

    def who(k):
        time.sleep(0.05)
        return os.getpid(), threading.get_ident()

    parent = {process for process, _ in in_parallel(who, [(0,), (1,)])}
    found = Child(lambda: in_parallel(who, [(0,), (1,)])).result()
    assert {process for process, _ in found}.isdisjoint(parent)
    assert len({thread for _, thread in found}) == 2


def test_recorded_operations_are_those_of_one_thread():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(threading.get_ident())
            return function(*args, **kwargs or {})

    seen = []
    use_threads(2)
    assert not traced()
    with Recorder():
        assert traced()
        in_parallel(lambda k: (torch.ones(2) + k, time.sleep(0.01)), [(0,), (1,)])
    assert len(seen) > 2
    assert {*seen} == {threading.get_ident()}
