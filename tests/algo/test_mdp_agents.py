"""The hand-made agents of tabular MDPs against hand calculation, exact planning and each other."""

import functools
import math

import pytest
import torch
from suited import suited
from torch.nn.functional import one_hot

from metarl_run.algo.bayes.tabular_posterior import Belief, Prior
from metarl_run.algo.beb import BEB
from metarl_run.algo.epsilon_greedy_mdp import EpsilonGreedyMDP
from metarl_run.algo.opsrl import OPSRL
from metarl_run.algo.psrl import PSRL
from metarl_run.algo.ucrl2 import UCRL2
from metarl_run.env.random_mdp import RandomMDP
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.lifetime import live
from metarl_run.maths.planning import finite_horizon_q
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams
from metarl_run.types import Percept

S, A, H = 2, 2, 3
OPTIONS = ("psrl", "opsrl", "ucrl2", "beb", "epsilon_greedy_mdp", "greedy_mdp")
NEAR_NOTHING = {"reward_precision": 1e-4, "concentration": 1e-4}


def family(**changes):
    tasks = {"mean_reward": ["normal", 1, 1], "concentration": 1.0}
    sizes = {"horizon": H, "num_states": S, "num_actions": A}
    return RandomMDP(**(sizes | changes), reward_deviation=1.0, meta_train=tasks, meta_test=tasks)


def make(kind, prior=None, of=None, **numbers):
    of = of or family()
    weights = {"reward_mean": 0.0, "reward_precision": 1.0, "noise_precision": 1.0, "concentration": 1.0}
    return kind(
        family=of,
        observation_space=of.observation_space,
        action_space=of.action_space,
        prior=Prior(**(weights | (prior or {}))),
        **numbers,
    )


EACH = {
    "psrl": functools.partial(make, PSRL),
    "opsrl": functools.partial(make, OPSRL, num_samples=3),
    "ucrl2": functools.partial(make, UCRL2, NEAR_NOTHING, confidence=0.05, scale=0.1),
    "beb": functools.partial(make, BEB, scale=0.01),
    "greedy": functools.partial(make, EpsilonGreedyMDP, NEAR_NOTHING, epsilon=0.0),
}


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def nothing_seen(agent, tasks=1, episodes=1):
    of = agent.experience
    counts = of.initial_memory(tasks, torch.device("cpu"))
    belief = of.belief(counts, torch.ones(tasks, 1, dtype=torch.bool))
    return belief._replace(episodes=belief.episodes + episodes)


def told(state, action, reward, ended):
    """A percept from nested lists `[M][B]`."""
    return Percept(
        one_hot(torch.tensor(state), S).float(), torch.tensor(action), torch.tensor(reward), torch.tensor(ended)
    )


def step(agent, algo, percept, generator=None):
    """Draw, then act: the distribution and the agent afterwards."""
    agent = algo.draw(agent, percept, generator or drawn())
    distribution, memory = algo.act(agent, percept)
    return distribution, agent._replace(memory=memory)


def after(agent, algo, *percepts):
    """What one slot of one task does after all of these."""
    for percept in percepts:
        distribution, agent = step(agent, algo, told(*([[part]] for part in percept)))
    return distribution.logits.softmax(-1)[0, 0].tolist()


# --- Each agent's idea ---


def test_psrl_plans_the_optimum_of_one_posterior_sample():
    algo = make(PSRL)
    belief = nothing_seen(algo, tasks=50)
    transition, reward = belief.sample(drawn(3))
    assert torch.equal(algo.plan(belief, drawn(3)), finite_horizon_q(transition, reward, horizon=H))


def test_opsrl_takes_the_largest_value_of_several_samples():
    algo = make(OPSRL, num_samples=4)
    belief, generator = nothing_seen(algo, tasks=50), drawn(3)
    each = [finite_horizon_q(*belief.sample(generator), horizon=H) for _ in range(4)]
    assert torch.equal(algo.plan(belief, drawn(3)), torch.stack(each).amax(0))
    assert (algo.plan(belief, drawn(3)) > make(PSRL).plan(belief, drawn(3))).float().mean() > 0.7


def test_opsrl_with_one_sample_lives_as_psrl():
    rollouts = []
    for algo in (make(PSRL), make(OPSRL, num_samples=1)):
        of = family()
        env = TaskVectorEnv(of, of.sample(6, "meta_test", drawn(1)), episodes_per_task=2, generator=drawn(2))
        rollouts.append(live(algo, env, drawn(3), adaptation_steps=9).rollouts[0])
    assert torch.equal(rollouts[0].action, rollouts[1].action) and torch.equal(rollouts[0].reward, rollouts[1].reward)


def test_the_bonus_of_beb_by_hand():
    """H = 3, c = 0.01: 2 c H³ = 0.54. In (0, 0) one reward of 3 was seen, and one transition to state 1."""
    algo = make(BEB, scale=0.01)
    belief = nothing_seen(algo)
    belief.visits[0, 0, 0], belief.total_reward[0, 0, 0], belief.transitions[0, 1, 0, 0] = 1, 3.0, 1
    q = algo.plan(belief, drawn())[0]
    known, new = 3 / 2 + 1 / (1 + 2), 1 / (1 + 1)  # mean reward and its bonus
    torch.testing.assert_close(q[2], torch.tensor([[known, new], [new, new]]))
    of_known, of_new = 0.54 / (1 + 3), 0.54 / (1 + 2)
    v = (known, new)
    one_left = known + of_known + v[0] / 3 + v[1] * 2 / 3, new + of_new + (v[0] + v[1]) / 2
    torch.testing.assert_close(q[1], torch.tensor([[one_left[0], one_left[1]], [one_left[1], one_left[1]]]))
    v = one_left
    two_left = known + 2 * of_known + v[0] / 3 + v[1] * 2 / 3, new + 2 * of_new + (v[0] + v[1]) / 2
    torch.testing.assert_close(q[0], torch.tensor([[two_left[0], two_left[1]], [two_left[1], two_left[1]]]))


def test_the_confidence_sets_of_ucrl2_by_hand():
    """H = 3, before the second episode: four rewards of (0, 0) were seen, and three transitions, all to state 0."""
    algo = make(UCRL2, NEAR_NOTHING | {"concentration": 1e-5}, confidence=0.05, scale=0.1)
    belief = nothing_seen(algo, episodes=2)
    belief.visits[0, 0, 0], belief.total_reward[0, 0, 0], belief.transitions[0, 0, 0, 0] = 4, 8.0, 3
    q = algo.plan(belief, drawn())[0]
    L = math.log(2 * 2 * 2 * (2 + 1) / 0.05)
    known, new = 2 + 0.1 * math.sqrt(4 * L / 4), 0 + 0.1 * math.sqrt(4 * L / 1)
    near = {"rtol": 1e-4, "atol": 0}
    torch.testing.assert_close(q[2], torch.tensor([[known, new], [new, new]]), **near)
    to_best = min(1, 0.5 + 0.1 * math.sqrt(4 * 2 * L / 1) / 2)  # state 0, from where nothing was seen
    v = (known, new)
    guess = new + to_best * v[0] + (1 - to_best) * v[1]
    torch.testing.assert_close(q[1], torch.tensor([[known + v[0], guess], [guess, guess]]), **near)


def test_the_confidence_sets_of_ucrl2_grow_with_the_logarithm_of_the_episodes():
    algo = make(UCRL2, NEAR_NOTHING, confidence=0.05, scale=0.1)
    last = [float(algo.plan(nothing_seen(algo, episodes=k), drawn())[0, -1, 0, 0]) for k in (1, 100)]
    assert last == pytest.approx([0.1 * math.sqrt(4 * math.log(8 * (k + 1) / 0.05)) for k in (1, 100)])


def test_ucrl2_refuses_a_confidence_set_that_is_everything():
    with pytest.raises(ValueError, match=r"confidence must be a finite number in .*, got 0"):
        make(UCRL2, NEAR_NOTHING, confidence=0.0, scale=0.1)


def test_epsilon_greedy_shares_what_is_not_random_among_the_best():
    q = torch.tensor([[[1.0, 3.0, 2.0, 0.0]], [[5.0, 0.0, 5.0, 1.0]]])
    algo = make(EpsilonGreedyMDP, epsilon=0.2)
    wanted = torch.tensor([[[0.05, 0.85, 0.05, 0.05]], [[0.45, 0.05, 0.45, 0.05]]])
    torch.testing.assert_close(algo.behaviour(q).logits.softmax(-1), wanted)
    torch.testing.assert_close(algo.behaviour(q).logits.exp(), wanted)
    at_random = make(EpsilonGreedyMDP, epsilon=1.0).behaviour(q).logits.exp()
    torch.testing.assert_close(at_random, torch.full((2, 1, 4), 0.25))
    never = make(EpsilonGreedyMDP, epsilon=0.0).behaviour(q).logits
    torch.testing.assert_close(never.softmax(-1), torch.tensor([[[0.0, 1, 0, 0]], [[0.5, 0, 0.5, 0]]]))


@pytest.mark.parametrize("name", EACH)
def test_who_has_seen_very_much_plans_the_optimum_of_the_true_mdp(name):
    of = family(num_states=4, num_actions=3, horizon=6)
    task = of.sample(20, "meta_test", drawn())
    algo, n = EACH[name](of=of), 1e8
    visits = torch.full_like(task.mean_reward, n)
    transitions = n * task.transition.movedim(-1, -3)
    belief = Belief(algo.experience.prior, transitions, visits, n * task.mean_reward, torch.ones(20))
    wanted = finite_horizon_q(task.transition, task.mean_reward, horizon=6)
    torch.testing.assert_close(algo.plan(belief, drawn()), wanted, rtol=0, atol=5e-3)


# --- What they do ---


def test_greedy_by_hand():
    """Whatever was not tried looks like 0. Action 1 of state 0 paid −1, then action 0 of state 1 paid 4 as the last."""
    algo = EACH["greedy"](of=family(horizon=2))
    first = algo.start(1)
    life = [(0, 0, 0.0, True), (1, 1, -1.0, False), (0, 0, 4.0, True)]
    assert after(first, algo, *life[:1]) == [0.5, 0.5]
    assert after(first, algo, *life[:2]) == [0.5, 0.5]
    # −1 + 4 = 3 by action 1, which leads to state 1; the untried action 0 leads there half of the time: 0 + 4 / 2
    assert after(first, algo, *life) == [0, 1]
    # at the last step −1 is worse than 0
    assert after(first, algo, *life, (0, 1, 7.0, False)) == [1, 0]
    assert after(first, algo, *life, (1, 1, 7.0, False)) == [1, 0]


def test_the_last_transition_of_an_episode_is_no_experience_and_its_reward_is():
    """One step an episode: nothing is ever known of transitions."""
    algo = EACH["greedy"](of=family(horizon=1))
    first = algo.start(1)
    assert after(first, algo, (0, 0, 0.0, True), (0, 1, 2.0, True)) == [0, 1]
    agent = first
    for percept in [(0, 0, 0.0, True), (0, 1, 2.0, True)]:
        _, agent = step(agent, algo, told(*([[part]] for part in percept)))
    assert agent.memory["transitions"].sum() == 0 and agent.memory["total_reward"].sum() == 2


def test_the_plan_of_an_episode_stands_until_it_ends():
    algo = make(PSRL)
    _, agent = step(algo.start(1), algo, told([[0]], [[0]], [[0.0]], [[True]]), drawn(1))
    plan = agent.memory["q"]
    for t in (1, 2):
        percept = told([[1]], [[0]], [[9.0]], [[False]])
        distribution, agent = step(agent, algo, percept, drawn(t + 1))
        assert agent.memory["q"] is plan
        assert distribution.logits.argmax(-1).item() == plan[0, 0, t, 1].argmax()
    _, agent = step(agent, algo, told([[0]], [[0]], [[9.0]], [[True]]), drawn(4))
    assert (agent.memory["q"] != plan).all()


@pytest.mark.parametrize("name", ["greedy", "beb", "ucrl2"])
def test_slots_that_begin_episodes_at_different_times_plan_as_if_alone(name):
    """Episodes end at random, before the horizon, in 3 tasks of 2 slots each; these agents draw nothing."""
    algo = EACH[name]()
    generator = drawn(5)
    together, alone = algo.start(3), [[algo.start(1) for _ in range(2)] for _ in range(3)]
    ended, lived, begins = torch.ones(3, 2, dtype=torch.bool), torch.zeros(3, 2), set()
    action, reward = torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3, 2)
    for _ in range(30):
        state = torch.randint(S, (3, 2), generator=generator)
        percept = Percept(one_hot(state, S).float(), action, reward, ended)
        begins.add(int(ended.sum()))
        distribution, together = step(together, algo, percept)
        for m in range(3):
            for b in range(2):
                mine = Percept(*(part[m : m + 1, b : b + 1] for part in percept))
                own, alone[m][b] = step(alone[m][b], algo, mine)
                assert torch.equal(own.logits[0, 0], distribution.logits[m, b])
                torch.testing.assert_close(alone[m][b].memory["q"][0, 0], together.memory["q"][m, b])
        lived = torch.where(ended, 0, lived) + 1
        action = torch.randint(A, (3, 2), generator=generator)
        reward = torch.randn(3, 2, generator=generator)
        ended = (torch.rand(3, 2, generator=generator) < 0.3) | (lived == H)
    assert {0, 6} < begins, "none, some and all"


@pytest.mark.parametrize("name", EACH)
def test_drawing_modifies_nothing_it_is_given(name):
    algo = EACH[name]()
    agent = algo.start(2)
    for ended in ([[True, True]] * 2, [[True, False], [False, False]], [[False, False]] * 2):
        percept = told([[0, 1]] * 2, [[1, 0]] * 2, [[0.5, 1.0]] * 2, ended)
        before = {name: x.clone() for name, x in agent.memory.items()}
        _, later = step(agent, algo, percept)
        assert all(torch.equal(x, agent.memory[name]) for name, x in before.items())
        agent = later


# --- As a user chooses them ---


@functools.cache
def earned(algo, env):
    """In 60 episodes, on average over 40 tasks."""
    config = suited(f"algo={algo}", f"env={env}", "logger=files")[0].config
    of, agent = build_agent(config, Streams(0, torch.device("cpu")))
    generator = drawn(8)
    tasks = TaskVectorEnv(of, of.sample(40, "meta_test", generator), episodes_per_task=1, generator=generator)
    rollouts = live(agent, tasks, generator, adaptation_steps=59).rollouts
    assert all(x.isfinite().all() for x in rollouts[-1].memory.values())
    return sum(rollout.reward.sum().item() for rollout in rollouts) / 40


@pytest.mark.parametrize("env", ["random_mdp", "gridworld", "bandit", "bandit_gaussian"])
@pytest.mark.parametrize("algo", OPTIONS)
def test_every_agent_earns_more_than_chance_in_every_tabular_family(algo, env):
    assert earned(algo, env) > earned("random", env)
