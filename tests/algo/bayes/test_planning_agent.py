"""Classical agents for tabular MDPs: planning with certainty, replanning, and earnings in every tabular family."""

import functools

import pytest
import torch
from planning_lab import EACH, OPTIONS, A, H, S, after, drawn, family, make, make_percept, step
from suited import suited
from torch.nn.functional import one_hot

from metarl_run.algo.bayes.tabular_posterior import Belief
from metarl_run.algo.psrl import PSRL
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.lifetime import live
from metarl_run.maths.planning import finite_horizon_q
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams
from metarl_run.types import Percept


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


def test_the_last_transition_of_an_episode_is_no_experience_and_its_reward_is():
    """One step an episode: nothing is ever known of transitions."""
    algo = EACH["greedy"](of=family(horizon=1))
    first = algo.start(1)
    assert after(first, algo, (0, 0, 0.0, True), (0, 1, 2.0, True)) == [0, 1]
    agent = first
    for percept in [(0, 0, 0.0, True), (0, 1, 2.0, True)]:
        _, agent = step(agent, algo, make_percept(*([[part]] for part in percept)))
    assert agent.memory["transitions"].sum() == 0 and agent.memory["total_reward"].sum() == 2


def test_the_plan_of_an_episode_stands_until_it_ends():
    algo = make(PSRL)
    _, agent = step(algo.start(1), algo, make_percept([[0]], [[0]], [[0.0]], [[True]]), drawn(1))
    plan = agent.memory["q"]
    for t in (1, 2):
        percept = make_percept([[1]], [[0]], [[9.0]], [[False]])
        distribution, agent = step(agent, algo, percept, drawn(t + 1))
        assert agent.memory["q"] is plan
        assert distribution.logits.argmax(-1).item() == plan[0, 0, t, 1].argmax()
    _, agent = step(agent, algo, make_percept([[0]], [[0]], [[9.0]], [[True]]), drawn(4))
    assert (agent.memory["q"] != plan).all()


@pytest.mark.parametrize("name", ["greedy", "beb", "ucrl2"])
def test_envs_that_begin_episodes_at_different_times_plan_as_if_alone(name):
    """Episodes end at random, before the horizon, in 3 tasks of 2 envs each; these agents draw nothing."""
    algo = EACH[name]()
    generator = drawn(5)
    together, alone = algo.start(3), [[algo.start(1) for _ in range(2)] for _ in range(3)]
    ended, elapsed, begins = torch.ones(3, 2, dtype=torch.bool), torch.zeros(3, 2), set()
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
        elapsed = torch.where(ended, 0, elapsed) + 1
        action = torch.randint(A, (3, 2), generator=generator)
        reward = torch.randn(3, 2, generator=generator)
        ended = (torch.rand(3, 2, generator=generator) < 0.3) | (elapsed == H)
    assert {0, 6} < begins, "none, some and all"


@pytest.mark.parametrize("name", EACH)
def test_drawing_modifies_nothing_it_is_given(name):
    algo = EACH[name]()
    agent = algo.start(2)
    for ended in ([[True, True]] * 2, [[True, False], [False, False]], [[False, False]] * 2):
        percept = make_percept([[0, 1]] * 2, [[1, 0]] * 2, [[0.5, 1.0]] * 2, ended)
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
