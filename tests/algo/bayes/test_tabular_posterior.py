"""The belief about a tabular MDP, against counts kept by hand, numerical integration and the moments of theory."""

import itertools

import numpy as np
import pytest
import scipy
import torch
from torch.nn.functional import one_hot

from metarl_run.algo.bayes.tabular_posterior import Belief, Experience, Prior
from metarl_run.types import Percept

S, A, H = 4, 3, 5
CPU = torch.device("cpu")


def prior(**changes):
    numbers = {"reward_mean": 1.0, "reward_precision": 1.0, "noise_precision": 1.0, "concentration": 1.0}
    return Prior(**(numbers | changes))


def experience(**changes):
    return Experience(num_states=S, num_actions=A, horizon=H, prior=prior(**changes))


def told(state, action=0, reward=0.0, ended=False):
    """The percept of one slot."""
    return Percept(
        one_hot(torch.tensor([[state]]), S).float(),
        torch.tensor([[action]]),
        torch.tensor([[reward]]),
        torch.tensor([[ended]]),
    )


def random_life(steps, M=3, B=2, seed=0):
    """The percepts of slots that do anything at all, with episodes of uneven length."""
    generator = torch.Generator().manual_seed(seed)
    action, reward = torch.zeros(M, B, dtype=torch.int64), torch.zeros(M, B)
    ended, step = torch.ones(M, B, dtype=torch.bool), torch.zeros(M, B, dtype=torch.int64)
    for _ in range(steps):
        state = torch.randint(S, (M, B), generator=generator)
        yield Percept(one_hot(state, S).float(), action, reward, ended)
        step = torch.where(ended, 0, step) + 1
        action = torch.randint(A, (M, B), generator=generator)
        reward = torch.randn(M, B, generator=generator)
        ended = (torch.rand(M, B, generator=generator) < 0.3) | (step >= H)


def everywhere(memory):
    return torch.ones(memory["step"].shape, dtype=torch.bool)


def one_belief(transitions, visits, total_reward, **changes):
    """Of one slot, from nested lists; transitions as n[s][a][s′]."""
    n = torch.tensor(transitions, dtype=torch.float32).movedim(-1, 0)
    return Belief(prior(**changes), n[None], torch.tensor([visits]), torch.tensor([total_reward]), torch.ones(1))


# --- What is counted ---


def test_the_counts_are_those_kept_by_hand_slot_by_slot_of_the_episodes_that_are_over():
    of = experience()
    life = list(random_life(60))
    memory = of.initial_memory(3, CPU)
    M, B = life[0].last_reward.shape
    n, visits, total, episodes = torch.zeros(M, B, S, A, S), torch.zeros(M, B, S, A), torch.zeros(M, B, S, A), {}
    for slot in itertools.product(range(M), range(B)):
        episodes[slot] = [[]]
    before = None
    for percept in life:
        memory = of.observe(memory, percept)
        state = percept.observation.argmax(-1)
        for slot in itertools.product(range(M), range(B)):
            if before is not None:
                step = (int(before[slot]), int(percept.last_action[slot]), float(percept.last_reward[slot]))
                episodes[slot][-1].append((*step, int(state[slot])))
            if percept.last_ended[slot]:
                over = episodes[slot][-1]
                for s, a, r, _ in over:
                    visits[(*slot, s, a)] += 1
                    total[(*slot, s, a)] += r
                for s, a, _, following in over[:-1]:
                    n[(*slot, s, a, following)] += 1
                episodes[slot].append([])
        before = state
        belief = of.belief(memory, everywhere(memory))
        assert torch.equal(belief.transitions.movedim(1, -1), n.flatten(0, 1))
        assert torch.equal(belief.visits, visits.flatten(0, 1))
        torch.testing.assert_close(belief.total_reward, total.flatten(0, 1))
        assert belief.episodes.tolist() == [len(lived) - 1 for lived in episodes.values()]
    assert visits.sum() > 200


def test_the_last_step_of_an_episode_counts_its_reward_and_not_what_it_led_to():
    of = experience()
    memory = of.initial_memory(1, CPU)
    for percept in (told(0, ended=True), told(2, action=1, reward=3.0), told(0, action=2, reward=5.0, ended=True)):
        memory = of.observe(memory, percept)
    belief = of.belief(memory, everywhere(memory))
    assert belief.visits[0].nonzero().tolist() == [[0, 1], [2, 2]]
    assert belief.total_reward[0, 0, 1] == 3 and belief.total_reward[0, 2, 2] == 5
    assert belief.transitions[0].nonzero().tolist() == [[2, 0, 1]]  # to 2 from 0 by 1; nothing from 2


def test_the_first_percept_of_a_lifetime_counts_nothing_but_an_episode_begun():
    of = experience()
    memory = of.observe(of.initial_memory(1, CPU), told(0, ended=True))
    belief = of.belief(memory, everywhere(memory))
    assert belief.visits.sum() == belief.transitions.sum() == belief.total_reward.sum() == 0
    assert belief.episodes.tolist() == [1]


def test_slots_learn_apart_and_what_was_remembered_is_not_touched():
    of = experience()
    together, alone = of.initial_memory(3, CPU), of.initial_memory(1, CPU)
    for percept in random_life(30):
        before = {name: x.clone() for name, x in together.items()}
        after = of.observe(together, percept)
        assert all(torch.equal(before[name], together[name]) for name in before)
        together = after
        alone = of.observe(alone, Percept(*(part[1:2, 1:2] for part in percept)))
        for name in together:
            assert torch.equal(together[name][1:2, 1:2], alone[name])


def test_the_belief_of_some_slots_is_theirs_out_of_that_of_all():
    of = experience()
    memory = of.initial_memory(3, CPU)
    for percept in random_life(30):
        memory = of.observe(memory, percept)
    some = torch.tensor([[True, False], [False, False], [True, True]])
    every, few = of.belief(memory, everywhere(memory)), of.belief(memory, some)
    for whole, part in zip(every[1:], few[1:], strict=True):
        assert torch.equal(whole[some.flatten()], part)


# --- What is believed ---


def test_the_belief_about_a_reward_is_bayes_rule_by_numerical_integration():
    rewards, μ0, τ0, τ = [2.0, -0.5, 4.0], 0.5, 2.0, 0.7
    belief = one_belief(
        [[[0.0]]],
        [[3.0]],
        [[sum(rewards)]],
        reward_mean=μ0,
        reward_precision=τ0,
        noise_precision=τ,
    )
    x = np.linspace(-15, 15, 60_001)
    density = scipy.stats.norm.pdf(x, μ0, τ0**-0.5)
    for reward in rewards:
        density = density * scipy.stats.norm.pdf(reward, x, τ**-0.5)
    density /= density.sum()
    mean = (density * x).sum()
    variance = (density * (x - mean) ** 2).sum()
    assert belief.reward_mean.item() == pytest.approx(mean, rel=1e-6)
    assert belief.reward_precision.item() == pytest.approx(1 / variance, rel=1e-6)


def test_the_belief_by_hand():
    """Prior N(1, 1): rewards 2 and 4 make (1 + 6) / 3. Dirichlet(1, 1): led to 0 once, to 1 not at all: 2/3, 1/3."""
    belief = one_belief([[[1.0, 0.0], [0.0, 0.0]]] * 2, [[2.0, 0.0]] * 2, [[6.0, 0.0]] * 2)
    transition, reward = belief.mean()
    torch.testing.assert_close(reward[0, 0], torch.tensor([7 / 3, 1.0]))
    torch.testing.assert_close(belief.reward_precision[0, 0], torch.tensor([3.0, 1.0]))
    torch.testing.assert_close(transition[0, 0], torch.tensor([[2 / 3, 1 / 3], [1 / 2, 1 / 2]]))


def test_with_a_prior_near_nothing_the_estimates_are_the_means_of_what_was_seen():
    belief = one_belief(
        [[[3.0, 1.0], [0.0, 0.0]]] * 2,
        [[4.0, 0.0]] * 2,
        [[6.0, 0.0]] * 2,
        reward_mean=5.0,
        reward_precision=1e-4,
        concentration=1e-4,
    )
    transition, reward = belief.mean()
    torch.testing.assert_close(reward[0, 0], torch.tensor([1.5, 5.0]), rtol=0, atol=2e-4)
    torch.testing.assert_close(transition[0, 0], torch.tensor([[0.75, 0.25], [0.5, 0.5]]), rtol=0, atol=1e-4)


def test_a_sampled_mdp_has_the_mean_and_the_spread_of_the_posterior():
    n = [[[3.0, 0.0, 1.0], [0.0, 0.0, 0.0]]] * 3
    one = one_belief(n, [[4.0, 0.0]] * 3, [[6.0, 0.0]] * 3, noise_precision=2.0)
    N = 20_000
    many = Belief(one.prior, *(x.expand(N, *x.shape[1:]) for x in one[1:]))
    transition, reward = many.sample(torch.Generator().manual_seed(0))
    mean_transition, mean_reward = one.mean()
    deviation = one.reward_precision.rsqrt()
    torch.testing.assert_close(reward.mean(0), mean_reward[0], rtol=0, atol=4 / N**0.5)
    torch.testing.assert_close(reward.std(0), deviation[0], rtol=0.03, atol=0)
    for s, a in itertools.product(range(3), range(2)):
        α = one.concentration[0, :, s, a].double().numpy()
        theory = scipy.stats.dirichlet(α)
        p = transition[:, s, a].double()
        assert np.abs(p.mean(0).numpy() - theory.mean()).max() < 4 * np.sqrt(theory.var().max() / N)
        assert np.allclose(np.cov(p.numpy().T), theory.cov(), atol=2e-3)
    torch.testing.assert_close(mean_transition[0, 0, 0], torch.tensor([4 / 7, 1 / 7, 2 / 7]))
    rows = transition[:, [0, 1]].flatten(1, 2)
    assert abs(torch.corrcoef(torch.stack([rows[:, 0, 0], rows[:, 2, 0]]))[0, 1]) < 0.03, "rows are independent"


def test_draws_come_from_the_generator_alone():
    belief = one_belief([[[1.0, 0.0], [0.0, 2.0]]] * 2, [[2.0, 0.0]] * 2, [[6.0, 0.0]] * 2)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, again, other = (belief.sample(torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(x, y) for x, y in zip(one, again, strict=True))
    assert not any(torch.equal(x, y) for x, y in zip(one, other, strict=True))


@pytest.mark.parametrize("name", ["reward_precision", "noise_precision", "concentration"])
def test_a_prior_without_weight_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be a finite number > 0, got 0"):
        prior(**{name: 0.0})
