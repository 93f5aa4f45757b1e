"""The network that reads a vector by the state, which stands before it in the input."""

import torch

from metarl_run.network.read import StateRead
from metarl_run.network.state_network import StateNetwork

S, H, W, U = 3, 4, 2, 5
HEADS = {"policy": 2, "value": 1}


def test_the_first_features_are_the_state_and_the_others_what_is_read():
    g = torch.Generator().manual_seed(0)
    network = StateNetwork(num_inputs=S + H, heads=HEADS, num_states=S, width=W, units=U)
    params = {name: torch.randn(θ.shape, generator=g) for name, θ in network.init(g).items()}
    b, s = torch.randn(6, 2, H, generator=g), torch.eye(S)[torch.randint(S, (6, 2), generator=g)]
    read = StateRead(num_states=S, num_inputs=S, hidden=H, heads=HEADS, width=W, units=U)
    output, memory = network(params, torch.cat([s, b], -1), {})
    for head, wanted in read(params, b, s).items():
        assert torch.equal(output[head], wanted)
    assert memory == {} and network.head_names() <= params.keys()
