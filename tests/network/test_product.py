"""Products by either library: the same up to rounding, torch's own where oneDNN is not in use, and derivatives."""

import itertools

import gymnasium
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from metarl_run.algo.memory.decoder import Decoder
from metarl_run.network import affine as of_affine
from metarl_run.network import product
from metarl_run.network.gru import GRU
from metarl_run.network.lstm import LSTM
from metarl_run.network.mlp import MLP
from metarl_run.network.product import CLASSES, COMPILED, LEVEL, MKL, ONEDNN, class_of, use, using
from metarl_run.network.transformer import Transformer

pytestmark = pytest.mark.skipif(not product.AVAILABLE, reason="torch was built without oneDNN")

M = 2
SMALLEST = {"medium": (1024, 64, 64), "large": (256, 256, 256)}


@pytest.fixture(autouse=True)
def restored():
    before = product.IN_USE.choice
    yield
    use(before)


@pytest.fixture
def calls(monkeypatch):
    """Shapes of the products that went to oneDNN."""
    found, linear = [], product.LINEAR

    def counted(x, weight, *others):
        assert not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))  # it would crash
        assert weight.is_contiguous() or weight.mT.is_contiguous()  # or it would take a thousand times as long
        found.append((*x.shape, len(weight)))
        return linear(x, weight, *others)

    monkeypatch.setattr(product, "LINEAR", counted)
    return found


@pytest.fixture
def small(monkeypatch):
    """Products of few rows count as medium."""
    monkeypatch.setattr(product, "MEDIUM", 16**3)


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def factors(kind, rows, k, n):
    """x or xᵀ, of a stack or not, and the second factor."""
    stack = (M,) if kind.startswith("per task") else ()
    if kind.endswith("transposed"):
        return normals(*stack, k, rows).mT, normals(*stack, k, n, seed=1)
    return normals(*stack, rows, k), normals(*stack, k, n, seed=1)


def close(ours, theirs):
    """Equal but for the rounding of sums of 32-bit numbers."""
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * max(theirs.abs().max().item(), 1))


@pytest.mark.parametrize("name", [name for name in CLASSES if name != COMPILED])
def test_every_function_is_torchs_by_either_library(name, calls):
    kind, _, size = name.rpartition(", ")
    x, W = factors(kind, *SMALLEST[size])
    assert class_of(x, W) == name
    stacked, tasks = x.dim() == 3, M if x.dim() == 3 else 1
    y = torch.matmul(x, W)
    b, full, wide = normals(*y.shape[:-2], 1, y.shape[-1]), normals(*y.shape), torch.zeros(*y.shape[:-1], 999)
    out = wide[..., 7 : 7 + y.shape[-1]]  # rows that lie apart
    plain, added, added_ = (
        (product.bmm, product.baddbmm, product.baddbmm_) if stacked else (product.mm, product.addmm, product.addmm_)
    )
    for library, others in itertools.product(("mkl", "onednn"), (MKL, ONEDNN)):
        calls.clear()
        with using({**others, name: library}):
            results = [plain(x, W), plain(x, W, out=out), product.matmul(x, W), added(b, x, W)]
            results += [added_(full.clone(), x, W)]
            if stacked:
                scaled = product.baddbmm(b, x, W, beta=-2, alpha=-3, out=out.clone())
        expected = [y, y, y, b + y, full + y]
        for ours, theirs in zip(results, expected, strict=True):
            (close if library == "onednn" else torch.testing.assert_close)(ours, theirs)
        assert torch.equal(out, results[0]) and not wide[..., :7].any()
        if stacked:
            close(scaled, -2 * b - 3 * y)
        assert len(calls) == (tasks * (5 + stacked) if library == "onednn" else 0)


def test_without_onednn_every_result_is_torchs_to_the_bit(calls):
    x, W, stack, Ws = normals(1024, 64), normals(64, 64, seed=1), normals(M, 1024, 64), normals(M, 64, 64, seed=1)
    b, bs, total, totals = normals(1, 64), normals(M, 1, 64), normals(1024, 64, seed=2), normals(M, 1024, 64, seed=2)
    known = stack.unflatten(1, (2, -1))
    for choice in (MKL, LEVEL):
        with using(choice):
            pairs = [
                (product.mm(x, W), torch.mm(x, W)),
                (product.bmm(stack, Ws), torch.bmm(stack, Ws)),
                (product.matmul(known, W), known @ W),
                (product.addmm(b, x, W), torch.addmm(b, x, W)),
                (product.addmm_(total.clone(), x, W), total.clone().addmm_(x, W)),
                (product.baddbmm(bs, stack, Ws, beta=-2, alpha=-2), torch.baddbmm(bs, stack, Ws, beta=-2, alpha=-2)),
                (product.baddbmm_(totals.clone(), stack, Ws), totals.clone().baddbmm_(stack, Ws)),
                (product.linear(known, W, b), torch.nn.functional.linear(known, W.t(), b[0])),
            ]
        assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
    assert not calls


def test_one_matrix_multiplies_all_rows_of_any_shape(calls):
    known, W, b = normals(2, 16, 32, 64), normals(64, 64), normals(1, 64)
    use(ONEDNN)
    close(product.matmul(known, W), known @ W)
    close(product.linear(known, W, b), known @ W + b)
    assert calls == [(1024, 64, 64)] * 2


def test_weights_whose_rows_or_columns_lie_apart_are_copied_first(calls):
    """As `calls` asserts: oneDNN has no kernel for them but its reference."""
    x, wide = normals(1024, 64), normals(64, 200, seed=1)
    use(ONEDNN)
    for W in (wide[:, 100:164], wide[:, ::3], normals(64, 200, seed=2)[:, :64].mT, normals(64, 1).expand(64, 64)):
        close(product.mm(x, W), torch.mm(x, W))
    assert len(calls) == 4


@pytest.mark.parametrize(
    ("rows", "k", "n", "dtype"),
    [
        (1023, 64, 64, torch.float32),  # small
        (2**15, 15, 64, torch.float32),  # narrow
        (2**15, 64, 15, torch.float32),
        (15, 1024, 1024, torch.float32),
        (1024, 64, 64, torch.float64),
    ],
)
def test_small_and_narrow_products_and_those_of_64_bits_are_torchs(rows, k, n, dtype, calls):
    x, W = normals(rows, k).to(dtype), normals(k, n, seed=1).to(dtype)
    use(ONEDNN)
    assert torch.equal(product.mm(x, W), torch.mm(x, W)) and not calls


def test_classes_tell_what_is_multiplied():
    x, W = torch.empty(1024, 64), torch.empty(64, 64)
    assert class_of(x, W) == "plain, medium"
    assert class_of(torch.empty(4, 256, 64), W) == "plain, medium"
    assert class_of(torch.empty(4, 1024, 64), W) == "plain, large"
    assert class_of(x[:64].mT, W) == "transposed, medium"
    assert class_of(torch.empty(9, 1024, 64), torch.empty(9, 64, 64)) == "per task, medium"
    assert class_of(torch.empty(9, 64, 4096).mT, torch.empty(9, 64, 64)) == "per task, transposed, large"
    assert class_of(x[:, :32], W[:32]) == "plain, medium"  # rows that lie apart are not transposed
    assert class_of(torch.ones(()).expand(1024, 64), W) == "plain, medium"


# --- Derivatives ---


def derivatives(function, inputs, order=2):
    """Derivatives of the sum of squares of `function`, and of that of their squares, by floating-point inputs."""
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    value, found = function(*inputs).square().mean(), []
    for last in range(order):
        found += torch.autograd.grad(value, inputs, create_graph=last < order - 1, allow_unused=True)
        value = sum(gradient.square().sum() for gradient in found[-len(inputs) :] if gradient is not None)
    return [gradient for gradient in found if gradient is not None]


def by_both(function, inputs, order=2):
    """Each derivative by MKL and by oneDNN."""
    with using(MKL):
        expected = derivatives(function, inputs, order)
    with using(ONEDNN):
        found = derivatives(function, inputs, order)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * theirs.abs().max().item())


@pytest.mark.parametrize("stack", [(), (M,)], ids=["one", "stack"])
def test_derivatives_of_products_are_torchs(stack, small, calls):
    x, W, b = normals(*stack, 32, 16), normals(*stack, 16, 24, seed=1), normals(*stack, 1, 24, seed=2)
    functions = [product.matmul, lambda x, W: product.matmul(W.mT, x.mT), lambda x, W: product.matmul(x, W).sum(-1)]
    for function in functions:
        by_both(function, [x, W])
    by_both(of_affine.affine, [b, x, W])
    by_both(product.baddbmm if stack else product.addmm, [b, x, W])
    by_both(lambda W: product.matmul(x, W), [W])
    assert {(16, 32, 24), (32, 24, 16), (32, 16, 24)} <= {*calls}


def test_a_derivative_goes_to_the_library_of_its_own_class(small, calls):
    x, W = normals(32, 16).requires_grad_(), normals(16, 24).requires_grad_()
    with using({**MKL, "transposed, medium": "onednn"}):
        product.mm(x, W).sum().backward()
    assert calls == [(16, 32, 24)]
    torch.testing.assert_close(W.grad, x.detach().mT @ torch.ones(32, 24))


D, H, T, N = 17, 32, 3, 24
HEADS = {"policy": 3, "value": 1}
MEMORY = {
    "gru": GRU(num_inputs=D, heads=HEADS, hidden=H),
    "lstm": LSTM(num_inputs=D, heads=HEADS, hidden=H),
    "transformer": Transformer(num_inputs=D, heads=HEADS, hidden=H, layers=1, attention_heads=2, feed_forward=H),
}
"""Their derivatives have none themselves: the scans are written by hand, and torch's attention has no second one."""


def fresh(network):
    return {name: θ + 0.3 * normals(*θ.shape, seed=1) for name, θ in network.init(torch.Generator()).items()}


@pytest.mark.parametrize("name", MEMORY)
def test_networks_with_memory_learn_the_same_by_both(name, small, calls):
    network = MEMORY[name]
    params, x = fresh(network), normals(T, N, D, seed=2)

    def sequence(*values):
        outputs = network.sequence(dict(zip(params, values, strict=True)), x)
        return torch.cat([*outputs.values()], -1)

    by_both(sequence, [*params.values()], order=1)
    assert len(calls) > T


@pytest.mark.parametrize("name", MEMORY)
def test_networks_with_memory_act_the_same_by_both(name, small, calls):
    network = MEMORY[name]
    params, x = fresh(network), normals(N, 1, D, seed=2)
    outputs = []
    for choice in (MKL, ONEDNN):
        with using(choice), torch.no_grad():
            memory = network.initial_memory(params, N)
            for _ in range(2):
                output, memory = network(params, x, memory)
            outputs.append(output["policy"])
    close(outputs[1], outputs[0])
    assert calls


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("stack", [(), (M,)], ids=["one agent", "a stack"])
def test_fully_connected_networks_adapt_the_same_by_both(stack, activation, small, calls):
    """Two layers of hidden units, whose derivatives are written by hand for tanh."""
    network = MLP(num_inputs=D, heads={"policy": 3}, hidden=[H, H], activation=activation)
    one = fresh(network)
    params = {name: θ.expand(*stack, *θ.shape) + 0.1 * normals(*stack, *θ.shape) for name, θ in one.items()}
    x = normals(*stack, 2, N, D, seed=3)

    def policy(*values):
        return network(dict(zip(params, values, strict=True)), x, {})[0]["policy"]

    by_both(policy, [*params.values()])
    assert len(calls) > 10


def test_decoders_learn_the_same_by_both(small, calls):
    box = gymnasium.spaces.Box(-9.0, 9.0, (D,))
    decoder = Decoder(observation_space=box, action_space=box, latent=16, states=True, hidden=[H, H], activation="relu")
    params = fresh(decoder)
    m, known = normals(4, N, 16), normals(T, N, 2 * D, seed=4)

    def predicted(m, *values):
        return decoder.predicted("state", dict(zip(params, values, strict=True)), m, known)

    by_both(predicted, [m, *params.values()])
    assert calls


# --- What is in use ---


def test_traced_programs_choose_for_themselves(calls):
    use(ONEDNN)
    graph = make_fx(lambda x, W: product.mm(x, W))(normals(1024, 64), normals(64, 64))
    assert {str(node.target) for node in graph.graph.nodes if node.op == "call_function"} == {"aten.mm.default"}
    assert not calls


def test_where_torch_has_no_onednn_its_own_products_serve(monkeypatch, calls):
    monkeypatch.setattr(product, "AVAILABLE", False)
    x, W = normals(1024, 64), normals(64, 64)
    with using(ONEDNN):
        assert torch.equal(product.mm(x, W), x @ W)
        assert product.IN_USE.choice == MKL
    assert not calls


def test_what_was_in_use_is_in_use_again_also_after_an_error():
    with pytest.raises(ZeroDivisionError), using(ONEDNN):
        assert product.in_use("plain, large") == "onednn"
        raise ZeroDivisionError
    assert product.IN_USE.choice == LEVEL
