"""Attention over the lifetime: against torch's own blocks, and positions by hand."""

import math

import pytest
import torch

from metarl_run.network.transformer import Transformer, positions

T, N, D, H, F, A, LAYERS = 6, 3, 5, 8, 12, 2, 3
HEADS = {"policy": 3, "value": 1}
SIZES = {"hidden": H, "layers": LAYERS, "attention_heads": A, "feed_forward": F}


def make(**changes):
    return Transformer(num_inputs=D, heads=HEADS, **{**SIZES, **changes})


def fresh(network, seed=0):
    return network.init(torch.Generator().manual_seed(seed))


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def of_torch(params, layer):
    """torch's block with the parameters of block `layer`."""
    block = torch.nn.TransformerEncoderLayer(H, A, F, dropout=0.0, batch_first=True, norm_first=True).double()
    theirs = {
        "self_attn.in_proj_weight": params[f"{layer}.look.weight"].T,
        "self_attn.in_proj_bias": torch.zeros(3 * H),
        "self_attn.out_proj.weight": params[f"{layer}.seen.weight"].T,
        "self_attn.out_proj.bias": params[f"{layer}.seen.bias"][0],
        "linear1.weight": params[f"{layer}.wide.weight"].T,
        "linear1.bias": params[f"{layer}.wide.bias"][0],
        "linear2.weight": params[f"{layer}.narrow.weight"].T,
        "linear2.bias": params[f"{layer}.narrow.bias"][0],
        "norm1.weight": params[f"{layer}.look.norm.weight"],
        "norm1.bias": params[f"{layer}.look.norm.bias"],
        "norm2.weight": params[f"{layer}.wide.norm.weight"],
        "norm2.bias": params[f"{layer}.wide.norm.bias"],
    }
    block.load_state_dict(theirs)
    return block


def test_a_sequence_goes_through_blocks_as_torch_has_them():
    network = make()
    params = {name: θ.double() + 0.3 * normals(*θ.shape, seed=1) for name, θ in fresh(network).items()}
    x = normals(T, N, D, seed=2)
    y = (x @ params["input.weight"] + params["input.bias"]).transpose(0, 1) + positions(0, T, H, x)
    unseen = torch.nn.Transformer.generate_square_subsequent_mask(T, dtype=torch.float64)
    for layer in range(LAYERS):
        y = of_torch(params, layer)(y, src_mask=unseen)
    y = torch.nn.functional.layer_norm(y, (H,), params["norm.weight"], params["norm.bias"]).transpose(0, 1)
    output = network.sequence(params, x)
    assert output.keys() == HEADS.keys()
    for head, value in output.items():
        torch.testing.assert_close(value, y @ params[f"{head}.weight"] + params[f"{head}.bias"])


@pytest.mark.parametrize("kind", ["waves", "none"])
def test_without_positions_the_order_of_earlier_steps_does_not_matter(kind):
    """In one block; of several, the later ones see how much the earlier ones had seen."""
    network = make(layers=1, positions=kind)
    params = {name: θ.double() + 0.3 * normals(*θ.shape, seed=1) for name, θ in fresh(network).items()}
    x = normals(T, N, D, seed=2)
    change = network.sequence(params, x)["policy"][-1] - network.sequence(params, x[[3, 1, 0, 4, 2, 5]])["policy"][-1]
    assert (change.abs().max() < 1e-12) == (kind == "none")


def test_positions_are_waves_of_growing_length():
    """Eight numbers: sin and cos of t, t / 10, t / 100 and t / 1000."""
    p = positions(0, 300, 8, torch.empty(0, dtype=torch.float64))
    for t in (0, 1, 7, 299):
        angles = [t / 10**i for i in range(4)]
        expected = [*map(math.sin, angles), *map(math.cos, angles)]
        assert p[t].tolist() == pytest.approx(expected, abs=1e-12)
    assert torch.equal(positions(40, 43, 8, p), p[40:43])


def test_the_memory_grows_by_one_step_at_a_time_and_keeps_what_was():
    network = make()
    params = fresh(network)
    memory = network.initial_memory(params, N)
    assert len(memory) == 2 * LAYERS and all(tensor.shape == (N, 1, 0, H) for tensor in memory.values())
    for t in range(4):
        _, after = network(params, torch.randn(N, 2, D, generator=torch.Generator().manual_seed(t)), memory)
        assert all(tensor.shape == (N, 2, t + 1, H) for tensor in after.values())
        if t:
            assert all(torch.equal(after[name][:, :, :t], memory[name]) for name in memory)
        memory = after


def test_a_fresh_network_hardly_prefers_any_action_and_every_block_adds_little():
    network = make(hidden=64, feed_forward=256, attention_heads=4)
    params = fresh(network)
    x = torch.randn(50, 20, D, generator=torch.Generator().manual_seed(1))
    assert network.sequence(params, x)["policy"].abs().max() < 0.1
    for layer in range(LAYERS):
        bound = (6 / (2 * 64)) ** 0.5 / (2 * LAYERS) ** 0.5
        assert 0.99 * bound < params[f"{layer}.seen.weight"].abs().max() <= bound


def test_fresh_parameters_are_reproducible():
    one, again, other = fresh(make()), fresh(make()), fresh(make(), seed=1)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["0.look.weight"], other["0.look.weight"])


@pytest.mark.parametrize(("bad", "told"), [(9, "got 9; try 12"), (6, "got 6; try 8"), (2, "got 2; try 4")])
def test_a_width_that_cannot_be_shared_out_is_named_with_one_that_can(bad, told):
    with pytest.raises(ValueError, match=f"hidden must be a multiple of twice attention_heads=2, {told}"):
        make(hidden=bad)


@pytest.mark.parametrize("name", SIZES)
def test_sizes_must_be_counts(name):
    with pytest.raises(ValueError, match=f"{name} must be an integer >= 1, got 0"):
        make(**{name: 0})


@pytest.mark.parametrize("context", [1, 3, 4, 20])
def test_a_sliding_window_read_step_by_step_is_the_sequence(context):
    network = make(context=context)
    params = {name: θ.double() + 0.3 * normals(*θ.shape, seed=1) for name, θ in fresh(network).items()}
    x = normals(11, N, D, seed=2)
    whole = network.sequence(params, x)
    memory = network.initial_memory(params, N)
    for t in range(11):
        output, memory = network(params, x[t].unsqueeze(1), memory)
        for head, value in output.items():
            torch.testing.assert_close(value.squeeze(1), whole[head][t])
        assert all(tensor.shape == (N, 1, min(t + 1, context - 1), H) for tensor in memory.values())


def test_a_window_forgets_what_lies_before_it_and_tells_distances_alone():
    """One block reads the latest L inputs: shifted by any number of steps, the same ones give the same outputs."""
    network = make(context=4, layers=1)
    params = {name: θ.double() + 0.3 * normals(*θ.shape, seed=1) for name, θ in fresh(network).items()}
    x = normals(12, N, D, seed=2)
    last, alone = network.sequence(params, x)["policy"][-1], network.sequence(params, x[-4:])["policy"][-1]
    torch.testing.assert_close(last, alone)
    assert (network.sequence(params, x[-3:])["policy"][-1] - last).abs().max() > 1e-3
    swapped = network.sequence(params, x[[8, 10, 9, 11]])["policy"][-1]
    assert (swapped - last).abs().max() > 1e-3  # the order within the window matters
