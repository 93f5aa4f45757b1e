"""Meta-Q: its actions, its counts, and the data that the network learns from."""

import pytest
import torch
from q_lab import A, H, S, behaviour, collected, drawn, family, percepts_of, streams
from torch.nn.functional import one_hot

from metarl_run.algo.meta_optimizer.adam import Adam
from metarl_run.algo.meta_q import MetaQ
from metarl_run.algo.q.equivariant_q import Seen
from metarl_run.algo.q.hindsight import hindsight_q
from metarl_run.algo.q_learner import QLearner
from metarl_run.config.compose import compose_points
from metarl_run.errors import ConfigError
from metarl_run.run.agent import build_agent
from metarl_run.types import Percept


def make(of=None, perturbed=True, **changes):
    """An agent whose parameters are far from their first values, where the correction hardly matters."""
    of = of or family()
    usual = {"episodes": 3, "temperature": 0.5, "hidden": [8], "activation": "tanh", "epochs": 1, "minibatches": 2}
    algo = MetaQ(
        family=of,
        observation_space=of.observation_space,
        action_space=of.action_space,
        streams=streams(),
        meta_optimizer=changes.pop("meta_optimizer", None) or Adam(lr=0.01, decay=0.0, max_grad_norm=10.0),
        **usual | changes,
    )
    if perturbed:
        g = drawn(3)
        with torch.no_grad():
            for θ in algo.meta_params.values():
                θ.add_(0.3 * torch.randn(θ.shape, generator=g))
    return algo


# --- Acting ---


def test_an_agent_whose_states_and_actions_change_places_acts_alike():
    algo = make()
    percepts = percepts_of(collected(algo).rollouts[0])
    g = drawn(8)
    states, actions = torch.randperm(S, generator=g), torch.randperm(A, generator=g)
    there = actions.argsort()
    renamed = [p._replace(observation=p.observation[..., states], last_action=there[p.last_action]) for p in percepts]
    straight, changed = behaviour(algo, percepts)[0], behaviour(algo, renamed)[0]
    assert straight.std(-1).amax() > 0.1
    torch.testing.assert_close(changed, straight[..., actions], rtol=1e-3, atol=1e-3)


def test_counts_and_rates_of_a_lifetime():
    """The final memory against counting in a loop; Q-learning has step 1 / (n + w)."""
    algo = make()
    rollout = collected(algo, tasks=2, envs=2).rollouts[0]
    memory = behaviour(algo, percepts_of(rollout))[1]
    state = rollout.observation.argmax(-1)
    for m in range(2):
        for b in range(2):
            transitions, visits = torch.zeros(S, A, S), torch.zeros(S, A)
            total, starts = torch.zeros(S, A), torch.zeros(S)
            T = rollout.reward.shape[1]
            for t in range(T):
                s, a = state[m, t, b], rollout.action[m, t, b]
                starts[s] += t % H == 0
                if t == T - 1:
                    break  # the outcome of the last step is never observed
                visits[s, a] += 1
                total[s, a] += rollout.reward[m, t, b]
                if (t + 1) % H:
                    transitions[s, a, state[m, t + 1, b]] += 1
            for name, wanted in {
                "transitions": transitions,
                "visits": visits,
                "total_reward": total,
                "starts": starts,
            }.items():
                torch.testing.assert_close(memory[name][m, b], wanted)


def test_a_good_reward_makes_its_action_likelier_within_the_episode():
    algo = make(perturbed=False)
    agent = algo.start(1)
    here = one_hot(torch.tensor([[0]]), S).float()
    first, memory = algo.act(agent, Percept(here, torch.tensor([[0]]), torch.zeros(1, 1), torch.ones(1, 1).bool()))
    for reward, compare in ((5.0, torch.gt), (-5.0, torch.lt)):
        percept = Percept(here, torch.tensor([[1]]), torch.full((1, 1), reward), torch.zeros(1, 1).bool())
        then, _ = algo.act(agent._replace(memory=memory), percept)
        assert compare(then.logits.softmax(-1)[0, 0, 1], first.logits.softmax(-1)[0, 0, 1])


def test_what_was_learned_on_small_tasks_serves_larger_ones():
    small, large = (
        build_agent(
            compose_points(
                ["experiment=smoke", "algo=meta_q", "env=random_mdp", f"env.num_states={s}", f"env.num_actions={a}"]
            )
            .points[0]
            .config,
            streams(seed),
        )
        for seed, (s, a) in enumerate([(10, 5), (15, 4)])
    )
    small[1].meta_update(lambda k: collected(small[1], small[0], episodes=k + 1))
    large[1].load_meta_params(small[1].state()["meta_params"])
    for name, θ in large[1].meta_params.items():
        assert torch.equal(θ, small[1].meta_params[name])
    rollout = collected(large[1], large[0]).rollouts[0]
    assert rollout.reward.isfinite().all() and rollout.action.unique().tolist() == [0, 1, 2, 3]


def test_a_family_without_tables_is_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"meta_q requires .*tabular.*cartpole_family"):
        compose_points(["logger=files", "algo=meta_q", "env=cartpole_family"])


# --- Learning ---


def test_every_parameter_gets_a_gradient_from_every_task():
    algo = make()
    rollout = collected(algo).rollouts[0]
    x, asked = algo.replay(rollout)
    target, known = hindsight_q(rollout, num_actions=A, horizon=H)
    for m in range(4):
        one = slice(m, m + 1)
        loss = algo.loss(Seen(*(part[one] for part in x)), asked[one], target[one], known[one])
        for name, gradient in zip(
            algo.meta_params, torch.autograd.grad(loss, list(algo.meta_params.values())), strict=True
        ):
            assert gradient.abs().max() > 0, (m, name)


def test_what_is_learned_from_is_what_was_remembered():
    """The tables of a replay are those that the agents had before each episode."""
    algo = make()
    rollout = collected(algo).rollouts[0]
    x, asked = algo.replay(rollout)
    assert asked.all()
    assert x.visits.shape == (4, 3, 3, S, A)
    assert x.visits.sum((-1, -2)).tolist() == [[[0.0, H, 2 * H]] * 3] * 4
    assert not x.q[:, :, 0].any()
    agent = algo.start(4)
    for percept in percepts_of(rollout)[: H + 1]:
        before = algo.observe(agent.memory, percept)
        agent = agent._replace(memory=algo.act(agent, percept)[1])
    torch.testing.assert_close(x.q[:, :, 1], before["q"].detach())


def test_a_network_trained_for_seconds_beats_q_learning_from_zeros():
    """On fresh tasks, from its own lifetimes; Q-learning has the best of some settings."""
    of = family()
    algo = make(of, perturbed=False, temperature=0.1, meta_optimizer=Adam(lr=0.03, decay=0.0, max_grad_norm=10.0))
    for seed in range(8):
        algo.meta_update(lambda k, seed=seed: collected(algo, of, tasks=20, envs=8, episodes=k + 1, seed=seed))
    spaces = {"observation_space": of.observation_space, "action_space": of.action_space}
    plain = [
        QLearner(family=of, **spaces, weight=w, discount=γ, temperature=τ)
        for w, γ, τ in [(4.0, 0.5, 0.2), (1.0, 1.0, 0.5), (1.0, 0.5, 0.5)]
    ]
    earned, *others = (float(collected(x, of, 300, 2, 5, 99).rollouts[0].reward.sum(1).mean()) for x in (algo, *plain))
    assert earned > max(others) + 1.0
