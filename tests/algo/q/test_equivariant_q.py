"""The equivariant Q-network: its symmetries, its inputs, and its prior."""

import pytest
import torch
from q_lab import A, H, S, drawn

from metarl_run.algo.bayes.tabular_posterior import Belief, Prior
from metarl_run.algo.q.equivariant_q import EquivariantQ, Seen
from metarl_run.maths.planning import finite_horizon_q

N = 6


def seen(seed=0, num_states=S, num_actions=A):
    """Counts of N tasks, many of them 0."""
    g = drawn(seed)
    shape = N, num_states, num_actions
    transitions = torch.poisson(torch.full((*shape, num_states), 0.4), generator=g)
    visits = transitions.sum(-1) + torch.poisson(torch.full(shape, 0.3), generator=g)
    return Seen(
        transitions=transitions,
        visits=visits,
        total_reward=visits + visits.sqrt() * torch.randn(shape, generator=g),
        starts=torch.poisson(torch.full((N, num_states), 0.5), generator=g),
        q=torch.randn(N, H, num_states, num_actions, generator=g),
    )


def double(x):
    return Seen(*(part.double() for part in x))


def network(seed=0):
    """With weights that matter."""
    net, g = EquivariantQ(hidden=[8], activation="tanh"), drawn(seed)
    params = {name: θ.double() for name, θ in net.init(g).items()}
    return net, {name: θ + 0.5 * torch.randn(θ.shape, generator=g).double() for name, θ in params.items()}


def permuted(x, states, actions):
    """The same tasks with state i called `states[i]` in the place of … and actions alike."""
    return Seen(
        transitions=x.transitions[:, states][:, :, actions][..., states],
        visits=x.visits[:, states][:, :, actions],
        total_reward=x.total_reward[:, states][:, :, actions],
        starts=x.starts[:, states],
        q=x.q[:, :, states][..., actions],
    )


@pytest.mark.parametrize("seed", range(5))
def test_states_and_actions_that_change_places_change_those_of_q_and_nothing_else(seed):
    net, params = network(seed)
    x, g = double(seen(seed)), drawn(seed + 10)
    states, actions = torch.randperm(S, generator=g), torch.randperm(A, generator=g)
    q = net(params, x)
    assert q.std() > 0.1
    torch.testing.assert_close(net(params, permuted(x, states, actions)), q[:, :, states][..., actions])


def test_an_action_listed_twice_changes_no_value():
    net, params = network()
    x = double(seen())
    twice = torch.arange(A).repeat(2)
    torch.testing.assert_close(net(params, permuted(x, torch.arange(S), twice)), net(params, x)[..., twice])


def test_tasks_know_nothing_of_their_neighbours():
    net, params = network()
    x = double(seen())
    some = torch.tensor([4, 1])
    torch.testing.assert_close(net(params, Seen(*(part[some] for part in x))), net(params, x)[some])


def test_without_a_correction_it_plans_in_the_mean_of_the_posterior():
    """With the weights of a prior: Dirichlet(2, …), mean rewards N(0.7, 1 / 3), and noise of variance 1."""
    net, params = network()
    params = {name: torch.zeros_like(θ) for name, θ in params.items()}
    params["reward.mean"] += 0.7
    params["reward.log_weight"] += torch.tensor(3.0).double().log()
    params["transition.log_weight"] += torch.tensor(2.0).double().log()
    x = double(seen())
    prior = Prior(reward_mean=0.7, reward_precision=3.0, noise_precision=1.0, concentration=2.0)
    belief = Belief(prior, x.transitions.movedim(-1, 1), x.visits, x.total_reward, x.starts.sum(-1))
    torch.testing.assert_close(net(params, x), finite_horizon_q(*belief.mean(), horizon=H))


@pytest.mark.parametrize("part", Seen._fields)
def test_everything_that_was_seen_matters(part):
    net, params = network()
    x = double(seen())
    other = x._replace(**{part: getattr(x, part).flip(0)})
    assert (net(params, other) - net(params, x)).abs().amax((1, 2, 3)).gt(1e-6).all()
