"""Heads that read the memory by the state: against a loop over rows."""

import torch

from metarl_run.network.read import StateRead, read

S, D, H, W, U, T, N = 3, 5, 4, 2, 6, 7, 4
HEADS = {"policy": 3, "value": 1}


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moved(fresh):
    """Parameters of which none is 0."""
    return {name: (θ.double() + 0.3 * normals(*θ.shape, seed=1)).requires_grad_() for name, θ in fresh.items()}


def inputs(T, N):
    """States, one-hot, and two further features."""
    state = torch.randint(S, (T, N), generator=torch.Generator().manual_seed(4))
    return torch.cat([torch.nn.functional.one_hot(state, S).double(), normals(T, N, D - S, seed=5)], -1), state


def make():
    head = StateRead(num_states=S, num_inputs=D, hidden=H, heads=HEADS, width=W, units=U)
    return head, moved(head.init(torch.Generator().manual_seed(0)))


def test_every_row_is_read_by_the_matrix_of_its_own_state():
    head, params = make()
    h, (x, state) = normals(T, N, H, seed=2).requires_grad_(), inputs(T, N)
    output = head(params, h, x)
    rows = []
    for t in range(T):
        for i in range(N):
            y = h[t, i] @ params["read.states"][state[t, i]]
            known = torch.cat([y, x[t, i]])
            u = (known @ params["read.weight"] + params["read.bias"][0]).relu()
            rows.append(
                {
                    name: u @ params[f"{name}.weight"] + known @ params[f"{name}.shortcut"] + params[f"{name}.bias"][0]
                    for name in HEADS
                }
            )
    weight = {name: normals(T, N, outputs, seed=6) for name, outputs in HEADS.items()}
    wanted = {name: torch.stack([row[name] for row in rows]).view(T, N, -1) for name in HEADS}
    gradients = [
        torch.autograd.grad(sum((out[name] * weight[name]).sum() for name in HEADS), [h, *params.values()])
        for out in (wanted, output)
    ]
    for name in HEADS:
        torch.testing.assert_close(output[name], wanted[name], rtol=0, atol=1e-12)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    with torch.no_grad():  # the way of acting
        for name, value in head(params, h, x).items():
            torch.testing.assert_close(value, wanted[name], rtol=0, atol=1e-12)


def test_a_state_that_no_row_is_in_has_a_derivative_of_zero():
    W_s = normals(S, H, W, seed=1).requires_grad_()
    y = read(normals(2, H, seed=2), W_s, torch.tensor([2, 0]))
    (slope,) = torch.autograd.grad(y.sum(), W_s)
    assert slope[[0, 2]].abs().min() > 0 and not slope[1].any()


def test_everywhere_is_a_read_in_every_state():
    head = StateRead(num_states=S, num_inputs=S, hidden=H, heads=HEADS, width=W, units=U)
    params, h = moved(head.init(torch.Generator().manual_seed(0))), normals(N, H, seed=2)
    found = head.everywhere(params, h)
    wanted = head(params, h.unsqueeze(1).expand(N, S, H), torch.eye(S).double().expand(N, S, S))
    for name in HEADS:
        torch.testing.assert_close(found[name], wanted[name], rtol=0, atol=1e-12)
