"""Meta-Q: the network's symmetries, the Q-learner's steps, and what the network learns from."""

import pytest
import torch
from torch.nn.functional import one_hot

from metarl_run.algo.bayes.tabular_posterior import Belief, Prior
from metarl_run.algo.meta_optimizer.adam import Adam
from metarl_run.algo.meta_q import MetaQ
from metarl_run.algo.q.equivariant_q import EquivariantQ, Seen
from metarl_run.algo.q.hindsight import hindsight_q
from metarl_run.algo.q_learner import QLearner
from metarl_run.algo.random import Random
from metarl_run.config.compose import compose_points
from metarl_run.env.random_mdp import RandomMDP
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.errors import ConfigError
from metarl_run.lifetime import live
from metarl_run.maths.planning import finite_horizon_q
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams
from metarl_run.types import Percept

N, S, A, H = 6, 4, 3, 5


def streams(seed=0):
    return Streams(seed, torch.device("cpu"))


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def family(**changes):
    tasks = {"mean_reward": ["normal", 1, 1], "concentration": 1.0}
    usual = {"horizon": H, "num_states": S, "num_actions": A, "reward_deviation": 1.0}
    return RandomMDP(**usual | changes, meta_train=tasks, meta_test=tasks)


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


def lived(algo, of=None, tasks=4, slots=3, episodes=3, seed=0):
    of = of or family()
    g = drawn(seed)
    env = TaskVectorEnv(of, of.sample(tasks, "meta_train", g), episodes_per_task=slots, generator=g)
    return live(algo, env, g, adaptation_steps=episodes - 1)


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


# --- The network ---


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


# --- The agent ---


def test_a_step_of_q_learning_by_hand():
    """H = 2, S = A = 2: from (s, a) = (0, 1) with reward 3 to state 1, with α = 1/4."""
    algo = make(family(horizon=2, num_states=2, num_actions=2))
    q = torch.tensor([[[1.0, 2.0], [5.0, 4.0]], [[0.5, 1.0], [2.0, 6.0]]])[None, None]  # [1, 1, t, s, a]
    place = torch.tensor([[1]])
    after = algo.table.moved(q, place, torch.tensor([[3.0]]), torch.tensor([[1]]), torch.tensor([[[0.25, 0.25]]]))
    wanted = q.clone()
    wanted[0, 0, 0, 0, 1] = 2 + 0.25 * (3 + 6 - 2)
    wanted[0, 0, 1, 0, 1] = 1 + 0.25 * (3 - 1)
    torch.testing.assert_close(after, wanted)


def percepts_of(rollout):
    percepts = rollout.percepts()
    return [Percept(*(part[:, t] for part in percepts)) for t in range(rollout.reward.shape[1])]


def behaviour(algo, percepts):
    """The probabilities of every step, and the memory after the last."""
    agent, told = algo.start(len(percepts[0].last_reward)), []
    for percept in percepts:
        distribution, memory = algo.act(agent, percept)
        told.append(distribution.logits.detach().softmax(-1))
        agent = agent._replace(memory=memory)
    return torch.stack(told, 1), agent.memory


def test_an_agent_whose_states_and_actions_change_places_acts_alike():
    algo = make()
    percepts = percepts_of(lived(algo).rollouts[0])
    g = drawn(8)
    states, actions = torch.randperm(S, generator=g), torch.randperm(A, generator=g)
    there = actions.argsort()
    renamed = [p._replace(observation=p.observation[..., states], last_action=there[p.last_action]) for p in percepts]
    straight, changed = behaviour(algo, percepts)[0], behaviour(algo, renamed)[0]
    assert straight.std(-1).amax() > 0.1
    torch.testing.assert_close(changed, straight[..., actions], rtol=1e-3, atol=1e-3)


def test_counts_and_rates_of_a_lifetime():
    """What is remembered at the end, against counting in a loop; Q-learning has step 1 / (n + w)."""
    algo = make()
    rollout = lived(algo, tasks=2, slots=2).rollouts[0]
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
                    break  # what came of the last step is never told
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


def test_the_q_learner_against_q_learning_in_a_loop():
    of, w, γ = family(), 1.5, 0.7
    algo = QLearner(
        family=of,
        observation_space=of.observation_space,
        action_space=of.action_space,
        weight=w,
        discount=γ,
        temperature=0.3,
    )
    rollout = lived(algo, of, tasks=2, slots=2).rollouts[0]
    told = behaviour(algo, percepts_of(rollout))[0]
    state = rollout.observation.argmax(-1)
    for m in range(2):
        for b in range(2):
            q, n = torch.zeros(H + 1, S, A), torch.zeros(S, A)
            for t in range(rollout.reward.shape[1]):
                s, a, r = state[m, t, b], rollout.action[m, t, b], rollout.reward[m, t, b]
                torch.testing.assert_close(told[m, t, b], (q[t % H, s] / 0.3).softmax(-1))
                n[s, a] += 1
                rows = range(H) if (t + 1) % H else [H - 1]
                V = q.amax(-1)[:, state[m, t + 1, b]]
                for row in rows:
                    q[row, s, a] += (r + γ * V[row + 1] - q[row, s, a]) / (n[s, a] + w)


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
    small[1].meta_update(lambda k: lived(small[1], small[0], episodes=k + 1))
    large[1].load_meta_params(small[1].state()["meta_params"])
    for name, θ in large[1].meta_params.items():
        assert torch.equal(θ, small[1].meta_params[name])
    rollout = lived(large[1], large[0]).rollouts[0]
    assert rollout.reward.isfinite().all() and rollout.action.unique().tolist() == [0, 1, 2, 3]


def test_a_family_without_tables_is_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"meta_q requires .*tabular.*cartpole_family"):
        compose_points(["logger=files", "algo=meta_q", "env=cartpole_family"])


# --- Learning ---


def test_hindsight_is_the_exact_optimum_when_counts_are_plentiful():
    of, g = family(), drawn(1)
    tasks = of.sample(3, "meta_train", g)
    env = TaskVectorEnv(of, tasks, episodes_per_task=20000, generator=g)
    algo = Random(action_space=of.action_space)
    rollout = live(algo, env, g, adaptation_steps=0).rollouts[0]
    q, known = hindsight_q(rollout, num_actions=A, horizon=H)
    exact = finite_horizon_q(tasks.transition, tasks.mean_reward, horizon=H)
    assert known.all()
    torch.testing.assert_close(q, exact, rtol=0, atol=0.15)
    assert exact.std() > 1


def test_hindsight_knows_only_what_was_tried_and_values_the_best_of_that():
    algo, of = make(), family()
    rollout = lived(algo, of, tasks=5, slots=2, episodes=1).rollouts[0]
    q, known = hindsight_q(rollout, num_actions=A, horizon=H)
    assert 0 < known.float().mean() < 1
    assert q[known].abs().max() < 100
    state = rollout.observation.argmax(-1)
    steps = [(m, t, b) for m in range(5) for t in range(H) for b in range(2)]
    tried = {(m, int(state[m, t, b]), int(rollout.action[m, t, b])): t for m, t, b in reversed(steps)}
    followed = {pair for pair, first in tried.items() if first < H - 1}
    assert followed < tried.keys()
    for t in range(H):
        assert {tuple(index) for index in known[:, t].nonzero().tolist()} == (followed if t < H - 1 else tried.keys())


def test_every_parameter_gets_a_gradient_from_every_task():
    algo = make()
    rollout = lived(algo).rollouts[0]
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
    rollout = lived(algo).rollouts[0]
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
        algo.meta_update(lambda k, seed=seed: lived(algo, of, tasks=20, slots=8, episodes=k + 1, seed=seed))
    spaces = {"observation_space": of.observation_space, "action_space": of.action_space}
    plain = [
        QLearner(family=of, **spaces, weight=w, discount=γ, temperature=τ)
        for w, γ, τ in [(4.0, 0.5, 0.2), (1.0, 1.0, 0.5), (1.0, 0.5, 0.5)]
    ]
    earned, *others = (float(lived(x, of, 300, 2, 5, 99).rollouts[0].reward.sum(1).mean()) for x in (algo, *plain))
    assert earned > max(others) + 1.0
