"""Networks with memory, whose heads read it in another way than linearly: a whole sequence against single steps."""

import gymnasium
import pytest
import torch

from metarl_run.network.gru import GRU
from metarl_run.network.lstm import LSTM
from metarl_run.network.min_gru import MinGRU
from metarl_run.network.ssd import SSD
from metarl_run.network.transformer import Transformer

S, D, H, T, N = 3, 5, 4, 7, 4
HEADS = {"policy": 3, "value": 1}
SPACE = gymnasium.spaces.Box(0.0, 1.0, (S,))
NETWORKS = {
    "gru": (GRU, {}),
    "lstm": (LSTM, {}),
    "min_gru": (MinGRU, {}),
    "ssd": (SSD, {"layers": 2, "memories": 2, "key": 3}),
    "transformer": (Transformer, {"layers": 2, "attention_heads": 2, "feed_forward": 6}),
}


def make(network, read, **changes):
    of, sizes = NETWORKS[network]
    options = {"read": read, "read_width": 2, "read_units": 6, "observation_space": SPACE, **sizes, **changes}
    return of(num_inputs=D, heads=HEADS, hidden=H, **options)


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inputs():
    """States, one-hot, and two further features."""
    state = torch.randint(S, (T, N), generator=torch.Generator().manual_seed(4))
    return torch.cat([torch.nn.functional.one_hot(state, S).double(), normals(T, N, D - S, seed=5)], -1)


def fresh(network):
    return network.init(torch.Generator().manual_seed(0))


@pytest.mark.parametrize("read", ["observation", "hypernetwork"])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_learns_from_what_it_acted_on(name, read):
    network = make(name, read)
    params = {θ: (x.double() + 0.3 * normals(*x.shape, seed=1)).requires_grad_() for θ, x in fresh(network).items()}
    assert network.head_names() == {θ for θ in params if θ.partition(".")[0] in (*HEADS, "read")}
    x = inputs()
    memory, outputs = network.initial_memory(params, N), []
    for now in x:
        output, memory = network(params, now.unsqueeze(1), memory)
        outputs.append(output)
    wanted = {head: torch.stack([output[head].squeeze(1) for output in outputs]) for head in HEADS}
    got = network.sequence(params, x)
    gradients = [
        torch.autograd.grad(sum(value.square().sum() for value in out.values()), list(params.values()))
        for out in (wanted, got)
    ]
    for head in HEADS:
        torch.testing.assert_close(got[head], wanted[head], rtol=0, atol=1e-10)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)
        assert one.any()


@pytest.mark.parametrize("name", NETWORKS)
def test_from_a_hypernetwork_it_starts_as_the_base_network_whatever_it_remembers(name):
    network = make(name, "hypernetwork")
    params = {θ: x.double() for θ, x in fresh(network).items()}
    x = inputs()
    u = (x[..., :S] @ params["read.weight"] + params["read.bias"]).relu()
    for head, value in network.sequence(params, x).items():
        assert value.abs().max() > 1e-4
        torch.testing.assert_close(value, u @ params[f"{head}.weight"] + params[f"{head}.bias"], rtol=0, atol=1e-14)


@pytest.mark.parametrize("read", ["observation", "hypernetwork"])
def test_a_read_without_observations_is_refused(read):
    with pytest.raises(ValueError, match=f"read {read} needs an observation_space"):
        make("gru", read, observation_space=None)


@pytest.mark.parametrize("size", ["read_width", "read_units"])
def test_sizes_must_be_counts(size):
    with pytest.raises(ValueError, match=f"{size} must be an integer >= 1, got 0"):
        make("ssd", "hypernetwork", **{size: 0})
