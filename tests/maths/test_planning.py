"""Planning and policy evaluation against hand calculation, brute force over policies, and their own identities."""

import itertools

import numpy as np
import pytest
import scipy
import torch

from metarl_run.maths.planning import extended_q, finite_horizon_q, optimal_value, policy_value, time_dependent_q


def random_mdp(S, A, seed, *leading):
    generator = torch.Generator().manual_seed(seed)
    transition = torch.rand(*leading, S, A, S, generator=generator, dtype=torch.float64)
    reward = torch.randn(*leading, S, A, generator=generator, dtype=torch.float64)
    return transition / transition.sum(-1, keepdim=True), reward


def expected_return(transition, reward, policy):
    """Σ over all trajectories of their probability times their return, for policy[t][s] → a, from each first state."""
    S = len(reward)
    totals = []
    for start in range(S):
        total = 0.0
        for path in itertools.product(range(S), repeat=len(policy) - 1):
            states, probability, gain = (start, *path), 1.0, 0.0
            for t, s in enumerate(states):
                a = policy[t][s]
                gain += reward[s, a].item()
                if t + 1 < len(states):
                    probability *= transition[s, a, states[t + 1]].item()
            total += probability * gain
        totals.append(total)
    return torch.tensor(totals, dtype=torch.float64)


def test_the_optimum_of_all_deterministic_policies():
    """S = 2, A = 2, H = 3: each of the 4³ time-dependent policies, each by enumerating its trajectories."""
    H = 3
    for seed in range(5):
        transition, reward = random_mdp(2, 2, seed)
        one_step = list(itertools.product(range(2), repeat=2))
        values = [expected_return(transition, reward, policy) for policy in itertools.product(one_step, repeat=H)]
        q = finite_horizon_q(transition, reward, horizon=H)
        torch.testing.assert_close(q[0].amax(-1), torch.stack(values).amax(0), rtol=1e-12, atol=1e-12)
        assert torch.equal(optimal_value(transition, reward, horizon=H), q[0].amax(-1))
        greedy = [tuple(q[t].argmax(-1).tolist()) for t in range(H)]
        torch.testing.assert_close(expected_return(transition, reward, greedy), q[0].amax(-1))


def test_by_hand():
    """State 0 pays 1 for staying; going to state 1 pays nothing at once and 5 for each step there."""
    transition = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
    reward = torch.tensor([[1.0, 0.0], [5.0, 0.0]])
    q = finite_horizon_q(transition, reward, horizon=3)
    assert q.shape == (3, 2, 2)
    assert q[2].tolist() == [[1, 0], [5, 0]]
    assert q[1].tolist() == [[2, 5], [10, 1]]
    assert q[0].tolist() == [[6, 10], [15, 5]]


def test_a_stochastic_step_by_hand():
    transition = torch.tensor([[[0.25, 0.75]], [[0.0, 1.0]]])
    q = finite_horizon_q(transition, torch.tensor([[2.0], [4.0]]), horizon=2)
    assert q[..., 0].tolist() == [[2 + 0.25 * 2 + 0.75 * 4, 8], [2, 4]]


def test_one_step_is_the_reward():
    transition, reward = random_mdp(3, 2, 0)
    assert torch.equal(finite_horizon_q(transition, reward, horizon=1)[0], reward)


def test_leading_axes_are_tasks():
    transition, reward = random_mdp(3, 2, 0, 4)
    together = finite_horizon_q(transition, reward, horizon=5)
    assert together.shape == (4, 5, 3, 2)
    for i in range(4):
        torch.testing.assert_close(together[i], finite_horizon_q(transition[i], reward[i], horizon=5))


def test_a_constant_added_to_every_reward_adds_the_steps_to_go():
    transition, reward = random_mdp(4, 3, 1)
    more = finite_horizon_q(transition, reward + 2, horizon=6) - finite_horizon_q(transition, reward, horizon=6)
    torch.testing.assert_close(more, 2 * torch.arange(6, 0, -1, dtype=more.dtype)[:, None, None].expand_as(more))


# --- A reward that depends on the step ---


def test_the_optimum_of_all_deterministic_policies_where_the_reward_depends_on_the_step():
    """Each of the 4³ policies, its value computed backwards from its own choices."""
    H = 3
    transition, _ = random_mdp(2, 2, 0)
    reward = torch.randn(H, 2, 2, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    one_step, values = list(itertools.product(range(2), repeat=2)), []
    for policy in itertools.product(one_step, repeat=H):
        value = torch.zeros(2, dtype=torch.float64)
        for t in reversed(range(H)):
            value = torch.stack([reward[t, s, a] + transition[s, a] @ value for s, a in enumerate(policy[t])])
        values.append(value)
    q = time_dependent_q(transition, reward)
    torch.testing.assert_close(q[0].amax(-1), torch.stack(values).amax(0), rtol=1e-12, atol=1e-12)


def test_a_reward_that_never_changes_is_a_special_case():
    transition, reward = random_mdp(3, 2, 0, 4)
    q = time_dependent_q(transition, reward.unsqueeze(1).expand(4, 5, 3, 2))
    assert torch.equal(q, finite_horizon_q(transition, reward, horizon=5))


# --- Extended value iteration ---


def best_expectation(p, width, value):
    """max p′ · value over distributions p′ with ‖p′ − p‖₁ ≤ width: a linear programme in (p′, |p′ − p|)."""
    S = len(p)
    same, none = np.eye(S), np.zeros(S)
    bounds = np.block([[same, -same], [-same, -same], [none[None], np.ones((1, S))]])
    found = scipy.optimize.linprog(
        np.concatenate([-value, none]),
        A_ub=bounds,
        b_ub=np.concatenate([p, -p, [width]]),
        A_eq=np.concatenate([np.ones(S), none])[None],
        b_eq=[1.0],
    )
    assert found.success
    return -found.fun


@pytest.mark.parametrize("seed", range(4))
def test_extended_value_iteration_is_a_linear_programme_at_every_step(seed):
    S, A, H = 4, 3, 3
    transition, reward = random_mdp(S, A, seed)
    generator = torch.Generator().manual_seed(seed)
    width = 2.5 * torch.rand(S, A, generator=generator, dtype=torch.float64)  # more than 2 allows any distribution
    width[0, 0], transition[1, 1], transition[2, 2] = 0, torch.eye(S)[2], torch.full((S,), 1 / S)
    reward[3] = reward[2]  # two states are worth the same
    q = extended_q(transition, reward, width, horizon=H)
    value = np.zeros(S)
    for t in reversed(range(H)):
        for s, a in itertools.product(range(S), range(A)):
            best = best_expectation(transition[s, a].numpy(), width[s, a].item(), value)
            assert q[t, s, a].item() == pytest.approx(reward[s, a].item() + best, abs=1e-8)
        value = q[t].amax(-1).numpy()


def test_extended_value_iteration_by_hand():
    """From (0.5, 0.3, 0.2) a width of 0.6 moves 0.3 to the best of (0, 1, 10), and takes it from the worst."""
    transition = torch.tensor([0.5, 0.3, 0.2]).expand(3, 1, 3)
    reward, width = torch.tensor([[0.0], [1.0], [10.0]]), torch.full((3, 1), 0.6)
    q = extended_q(transition, reward, width, horizon=2)
    torch.testing.assert_close(q[0, :, 0], reward[:, 0] + 0.2 * 0 + 0.3 * 1 + 0.5 * 10)
    wide = extended_q(transition, reward, torch.full((3, 1), 1.4), horizon=2)
    torch.testing.assert_close(wide[0, :, 0], reward[:, 0] + 0.1 * 1 + 0.9 * 10)


def test_without_width_extended_value_iteration_is_value_iteration_and_with_all_it_reaches_the_best_state():
    transition, reward = random_mdp(5, 3, 2, 6)
    none = extended_q(transition, reward, torch.zeros_like(reward), horizon=4)
    torch.testing.assert_close(none, finite_horizon_q(transition, reward, horizon=4), rtol=1e-12, atol=1e-12)
    q = extended_q(transition, reward, torch.full_like(reward, 2.0), horizon=4)
    best = reward.flatten(1).amax(-1)[:, None, None]
    torch.testing.assert_close(q[:, 0], reward + 3 * best, rtol=1e-12, atol=1e-12)


def test_the_tasks_of_extended_value_iteration_know_nothing_of_their_neighbours():
    transition, reward = random_mdp(3, 2, 0, 4, 2)
    width = reward.abs() / 4
    together = extended_q(transition, reward, width, horizon=5)
    assert together.shape == (4, 2, 5, 3, 2)
    for i in itertools.product(range(4), range(2)):
        alone = extended_q(transition[i], reward[i], width[i], horizon=5)
        torch.testing.assert_close(together[i], alone, rtol=1e-12, atol=1e-12)


# --- A given policy ---


def random_policy(S, A, seed, *leading):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*leading, S, A, generator=generator, dtype=torch.float64).mul(2).softmax(-1)


def by_trajectories(transition, reward, policy, H):
    """Σ over all trajectories s₀ a₀ s₁ a₁ … of their probability times their return, from each first state."""
    S, A = reward.shape
    totals = []
    for start in range(S):
        total = 0.0
        for actions in itertools.product(range(A), repeat=H):
            for later in itertools.product(range(S), repeat=H - 1):
                states, probability, gain = (start, *later), 1.0, 0.0
                for t, (s, a) in enumerate(zip(states, actions, strict=True)):
                    gain += reward[s, a].item()
                    probability *= policy[s, a].item()
                    if t + 1 < H:
                        probability *= transition[s, a, states[t + 1]].item()
                total += probability * gain
        totals.append(total)
    return torch.tensor(totals, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(5))
def test_policy_evaluation_is_the_sum_over_all_trajectories(seed):
    """S = 3, A = 2, H = 3: 216 trajectories from the three states."""
    transition, reward = random_mdp(3, 2, seed)
    policy = random_policy(3, 2, seed)
    value = policy_value(transition, reward, policy, horizon=3)
    torch.testing.assert_close(value, by_trajectories(transition, reward, policy, 3), rtol=0, atol=1e-12)


def test_policy_evaluation_by_hand():
    """State 0 is left for state 1 half of the time, for good; it pays 2 to stay, 0 to go, and then 4 a step."""
    transition = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    reward = torch.tensor([[2.0, 0.0], [4.0, 4.0]])
    policy = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    # V₂ = (1, 4), V₁ = (1 + 1/2 + 4/2, 8), V₀ = (1 + 3.5/2 + 8/2, 12)
    assert policy_value(transition, reward, policy, horizon=3).tolist() == [6.75, 12]


def test_no_policy_is_better_than_the_optimum_and_a_greedy_last_step_is_as_good():
    transition, reward = random_mdp(4, 3, 2, 50)
    policy = random_policy(4, 3, 3, 50)
    for horizon in (1, 2, 7):
        optimum = optimal_value(transition, reward, horizon=horizon)
        assert (policy_value(transition, reward, policy, horizon=horizon) < optimum).all()
    greedy = torch.nn.functional.one_hot(reward.argmax(-1), 3).double()
    assert torch.equal(
        policy_value(transition, reward, greedy, horizon=1), optimal_value(transition, reward, horizon=1)
    )


def test_where_actions_make_no_difference_every_policy_is_optimal():
    transition, reward = random_mdp(4, 1, 0)
    transition, reward = transition.expand(4, 3, 4), reward.expand(4, 3)
    value = policy_value(transition, reward, random_policy(4, 3, 0), horizon=9)
    torch.testing.assert_close(value, optimal_value(transition, reward, horizon=9), rtol=1e-12, atol=1e-12)


def test_several_policies_per_task_are_evaluated_one_by_one():
    transition, reward = random_mdp(3, 2, 0, 4)
    policies = random_policy(3, 2, 1, 5, 4)
    together = policy_value(transition, reward, policies, horizon=6)
    assert together.shape == (5, 4, 3)
    for k, i in itertools.product(range(5), range(4)):
        alone = policy_value(transition[i], reward[i], policies[k, i], horizon=6)
        torch.testing.assert_close(together[k, i], alone, rtol=1e-12, atol=1e-12)


def test_what_lacks_to_one_ends_the_episode():
    """The same as moving to a state of its own, where nothing is paid any more."""
    transition, reward = random_mdp(3, 2, 4)
    transition *= 0.8
    policy = random_policy(3, 2, 4)
    ending = 1 - transition.sum(-1, keepdim=True)
    whole = torch.cat([torch.cat([transition, ending], -1), torch.eye(4, dtype=torch.float64)[3].expand(1, 2, 4)])
    paid, acts = torch.cat([reward, torch.zeros(1, 2)]), torch.cat([policy, torch.full((1, 2), 0.5)])
    near = {"rtol": 0, "atol": 1e-12}
    value, whole_value = policy_value(transition, reward, policy, horizon=5), policy_value(whole, paid, acts, horizon=5)
    torch.testing.assert_close(value, whole_value[:3], **near)
    optimum, whole_optimum = optimal_value(transition, reward, horizon=5), optimal_value(whole, paid, horizon=5)
    torch.testing.assert_close(optimum, whole_optimum[:3], **near)


def test_values_of_single_precision_tables_are_computed_in_double_precision():
    transition, reward = (x.float() for x in random_mdp(10, 5, 0))
    policy = random_policy(10, 5, 0).float()
    given = (transition, reward, policy)
    exact = policy_value(*(x.double() for x in given), horizon=50)
    assert torch.equal(policy_value(*given, horizon=50), exact) and exact.dtype == torch.float64
    optimum = optimal_value(transition.double(), reward.double(), horizon=50)
    assert torch.equal(optimal_value(transition, reward, horizon=50), optimum)
