"""Cells that remember: against torch's own, and the derivative of a whole sequence against autograd's."""

import pytest
import torch

from metarl_run.network import gru, lstm, recurrent
from metarl_run.network.gru import GRU
from metarl_run.network.lstm import LSTM
from metarl_run.network.recurrent import orthogonal

T, N, D, H = 7, 4, 5, 6
HEADS = {"policy": 3, "value": 1}
CELLS = {"gru": GRU, "lstm": LSTM}
SCANS = {"gru": gru.Scan, "lstm": lstm.Scan}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


@pytest.fixture(params=CELLS)
def network(request):
    return CELLS[request.param](num_inputs=D, heads=HEADS, hidden=H)


@pytest.fixture
def params(network):
    """Parameters of which none is 0."""
    return {name: θ.double() + 0.3 * normals(*θ.shape, seed=1) for name, θ in network.init(generator()).items()}


def of_torch(network, params):
    """torch's module with these parameters. Its LSTM orders its blocks i, f, n, o; ours is i, f, o, n."""
    kind = torch.nn.GRU if isinstance(network, GRU) else torch.nn.LSTM
    order = [0, 1, 2] if isinstance(network, GRU) else [0, 1, 3, 2]

    def blocks(θ):
        return torch.cat([θ.chunk(network.gates, -1)[block] for block in order], -1)

    module = kind(D, H).double()
    inner = torch.zeros(network.gates * H, dtype=torch.float64)
    if isinstance(network, GRU):
        inner[2 * H :] = params["memory.bias"][0]
    with torch.no_grad():
        module.weight_ih_l0.copy_(blocks(params["input.weight"]).T)
        module.weight_hh_l0.copy_(blocks(params["memory.weight"]).T)
        module.bias_ih_l0.copy_(blocks(params["input.bias"])[0])
        module.bias_hh_l0.copy_(inner)
    return module


def test_a_sequence_and_a_step_are_those_of_torch(network, params):
    x = normals(T, N, D, seed=2)
    expected, last = of_torch(network, params)(x)
    with_one = torch.cat([x, torch.ones(T, N, 1)], -1)
    V, W_head = normals(D + 1, 2, seed=7), normals(H, 2, seed=8)
    W = torch.cat([V, torch.cat([params["input.weight"], params["input.bias"]])], -1)
    torch.testing.assert_close(network.scan(params, with_one, W, W_head), expected @ W_head + with_one @ V)
    memory = network.initial_memory(params, N)
    outputs = []
    for now in x:
        output, memory = network(params, now.unsqueeze(1), memory)
        outputs.append(output)
    for head, values in network.sequence(params, x).items():
        torch.testing.assert_close(values, torch.stack([output[head].squeeze(1) for output in outputs]))
    last = {"h": last} if isinstance(network, GRU) else dict(zip("hc", last, strict=True))
    assert memory.keys() == last.keys()
    for name, tensor in memory.items():
        torch.testing.assert_close(tensor.transpose(0, 1), last[name])


@pytest.mark.parametrize("cell", SCANS)
@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize("data", [False, True], ids=["", "of data"])
def test_the_derivative_that_is_written_out_is_that_of_finite_differences(cell, length, data, monkeypatch):
    monkeypatch.setattr(recurrent, "ROWS", 1)
    monkeypatch.setattr(recurrent, "CACHED", 2 * H)  # two lifetimes at a time, and the third alone
    columns = CELLS[cell].gates * H + 2  # and two of heads
    inputs = [normals(length, 3, D, seed=3), *(0.5 * normals(rows, columns, seed=rows) for rows in (D, H))]
    if cell == "gru":
        inputs.append(normals(1, H, seed=5))
    assert torch.autograd.gradcheck(
        SCANS[cell].apply, [x.requires_grad_(k > 0 or not data) for k, x in enumerate(inputs)]
    )


def test_fresh_parameters_are_reproducible_and_keep_what_is_remembered(network):
    first, again, other = network.init(generator(0)), network.init(generator(0)), network.init(generator(1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["memory.weight"], other["memory.weight"])
    for block in first["memory.weight"].chunk(network.gates, -1):
        torch.testing.assert_close(block @ block.T, torch.eye(H))
    assert first["input.weight"].abs().max() <= (6 / (D + H)) ** 0.5
    assert first["policy.weight"].abs().max() <= 0.01 * (6 / (H + 3)) ** 0.5


def test_a_fresh_lstm_keeps_its_cells():
    bias = LSTM(num_inputs=D, heads=HEADS, hidden=H).init(generator())["input.bias"]
    assert bias.tolist() == [[0.0] * H + [1.0] * H + [0.0] * 2 * H]


def test_orthogonal_matrices_are_uniform_over_all_of_them():
    """Every entry has mean 0 and variance 1 / n, and reflections are as likely as rotations."""
    n, samples = 3, 4000
    g = generator()
    q = torch.stack([orthogonal(n, g) for _ in range(samples)])
    assert q.mean(0).abs().max() < 5 * (1 / n / samples) ** 0.5
    assert (q**2).mean(0).sub(1 / n).abs().max() < 5 * (4 / 45 / samples) ** 0.5  # Var(u²) = 4/45 on the sphere
    assert (torch.linalg.det(q) > 0).float().mean().sub(0.5).abs() < 5 * (0.25 / samples) ** 0.5


@pytest.mark.parametrize("cell", CELLS)
def test_a_width_that_is_none_is_named(cell):
    with pytest.raises(ValueError, match="hidden must be an integer >= 1, got 0"):
        CELLS[cell](num_inputs=D, heads=HEADS, hidden=0)
