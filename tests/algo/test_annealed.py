"""Agents whose histories make data: exploration that decreases, by hand."""

import math

import gymnasium
import pytest
import torch
from suited import composed

from metarl_run.algo.annealed_oracle import AnnealedOracle
from metarl_run.algo.annealed_q_learner import AnnealedQLearner
from metarl_run.algo.dirichlet import Dirichlet
from metarl_run.algo.q.annealing import annealed, epsilon_greedy
from metarl_run.env.random_mdp import RandomMDP, RandomMDPTask
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams
from metarl_run.types import AgentState, Percept

DISCRETE = gymnasium.spaces.Discrete(2)


def percept(state: int, action: int, reward: float, ended: bool) -> Percept:
    return Percept(
        torch.eye(3)[state].view(1, 1, 3), torch.tensor([[action]]), torch.tensor([[reward]]), torch.tensor([[ended]])
    )


def test_epsilon_falls_linearly_and_stays() -> None:
    ε = annealed(0.8, 0.2, torch.tensor([[0, 1, 2, 3, 9]]), 4)
    torch.testing.assert_close(ε, torch.tensor([[0.8, 0.6, 0.4, 0.2, 0.2]]))
    assert annealed(0.8, 0.2, torch.tensor([[0]]), 1).tolist() == [[pytest.approx(0.8)]]


def test_the_best_actions_share_what_is_not_random() -> None:
    π = epsilon_greedy(torch.tensor([[[True, False, True, False]]]), torch.tensor([[0.4]]))
    torch.testing.assert_close(π.logits.exp(), torch.tensor([[[0.4, 0.1, 0.4, 0.1]]]))
    never = epsilon_greedy(torch.tensor([[[True, False]]]), torch.tensor([[0.0]]))
    assert never.logits.tolist() == [[[0.0, -math.inf]]]


def test_q_learning_by_hand() -> None:
    """α = ½, γ = ½; from state 0 by action 1 to state 2, paid 4; from there by action 0 to the end, paid 2."""
    algo = AnnealedQLearner(
        observation_space=gymnasium.spaces.Box(0.0, 1.0, (3,)),
        action_space=DISCRETE,
        step_size=0.5,
        discount=0.5,
        first_epsilon=0.5,
        last_epsilon=0.0,
        episodes=2,
    )
    agent = algo.start(1)

    def step(*given: float) -> tuple[list[float], list[float]]:
        nonlocal agent
        state, action, reward, ended = given
        π, memory = algo.act(agent, percept(int(state), int(action), reward, bool(ended)))
        agent = AgentState({}, memory)
        return π.logits.exp().flatten().tolist(), memory["q"].flatten().tolist()

    assert step(0, 0, 0.0, True) == ([0.5, 0.5], [0.0] * 6)
    assert step(2, 1, 4.0, False) == ([0.5, 0.5], [0.0, 2.0, 0.0, 0.0, 0.0, 0.0])
    policy, q = step(0, 0, 2.0, True)  # the second episode: ε = 0
    assert q == [0.0, 2.0, 0.0, 0.0, 1.0, 0.0] and policy == [0.0, 1.0]
    _, q = step(2, 1, 0.0, False)
    assert q[1] == 2.0 + 0.5 * (0.0 + 0.5 * 1.0 - 2.0)


def test_the_oracle_ends_with_optimal_actions() -> None:
    of = RandomMDP(
        horizon=2,
        num_states=3,
        num_actions=2,
        reward_deviation=0.0,
        meta_train={"mean_reward": 0.0, "concentration": 1.0},
        meta_test={"mean_reward": 0.0, "concentration": 1.0},
    )
    task = RandomMDPTask(
        transition=torch.full((1, 3, 2, 3), 1 / 3), mean_reward=torch.tensor([[[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]])
    )
    algo = AnnealedOracle(family=of, first_epsilon=1.0, last_epsilon=0.0, episodes=2)
    agent = algo.begin(task)
    π, memory = algo.act(agent, percept(0, 0, 0.0, True))
    assert π.logits.exp().tolist() == [[[0.5, 0.5]]]
    for state, best in enumerate([1, 0, 1]):
        π, _ = algo.act(AgentState({}, memory), percept(state, 0, 0.0, True))
        assert π.logits.exp().argmax(-1).tolist() == [[best]] and π.logits.amax() == 0.0


def test_a_lifetime_has_one_random_policy() -> None:
    algo = Dirichlet(action_space=gymnasium.spaces.Discrete(4))
    generator, many = torch.Generator().manual_seed(0), 20_000
    seen = Percept(torch.ones(many, 1, 1), *(torch.zeros(many, 1),) * 2, torch.ones(many, 1, dtype=torch.bool))
    agent = algo.draw(algo.start(many), seen, generator)
    assert algo.draw(agent, seen, generator) is agent
    π = algo.act(agent, seen)[0].logits.exp()
    torch.testing.assert_close(π.sum(-1), torch.ones(many, 1))
    assert (π.amax(-1) > 1 - 1e-6).float().mean() == pytest.approx(1 / 11, abs=0.01)  # w = 1
    # E[π²] = E[(1 − w)²] E[p²] + 2 E[(1 − w) w] / A² + E[w²] / A, with E[p²] = 2 / (A (A + 1)), E[w²] = .35, E[w] = .5
    assert π.square().mean() == pytest.approx(0.35 * 0.1 + 2 * 0.15 / 16 + 0.35 / 4, abs=0.002)


def test_options_are_of_these_classes() -> None:
    for name, kind in (("annealed_oracle", AnnealedOracle), ("annealed_q_learner", AnnealedQLearner)):
        config = composed(f"algo={name}", "env=random_mdp").config
        assert type(build_agent(config, Streams(0, torch.device("cpu")))[1]) is kind
