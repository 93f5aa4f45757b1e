"""The metric-based agent: its mixture of policies, its embeddings and its learning."""

import io

import gymnasium
import pytest
import torch
from metric_lab import A, B, D, L, N, T, experience, randn

from metarl_run.algo.meta_optimizer.adam import Adam
from metarl_run.algo.meta_optimizer.sgd import SGD
from metarl_run.algo.metric.task_embedding import fused
from metarl_run.algo.metric_based import MetricBased, stress
from metarl_run.config.compose import compose_points
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.errors import NumericalError
from metarl_run.learner.q_learning import QLearning
from metarl_run.lifetime import live
from metarl_run.network.mlp import MLP
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams
from metarl_run.types import AgentState, Lifetime, Percept

OBSERVATIONS, ACTIONS = gymnasium.spaces.Box(-1.0, 1.0, (D,)), gymnasium.spaces.Discrete(A)


def streams(seed=0):
    return Streams(seed, torch.device("cpu"))


def optimizer(lr=0.1):
    return SGD(lr=lr, max_grad_norm=100.0)


def make(**changes):
    """A small agent whose encoder is far from its initial values, where every embedding is nearly 0."""
    usual = {
        "learner": QLearning(discount=0.9, epsilon=0.1, epochs=2, scale=1.0),
        "network": MLP(num_inputs=D, heads={"q": A}, hidden=[4], activation="tanh"),
        "observation_space": OBSERVATIONS,
        "action_space": ACTIONS,
        "streams": streams(),
        "meta_batch_size": N,
        "embedding": L,
        "hidden": [6],
        "activation": "tanh",
        "temperature": 1.0,
        "tolerance": 0.5,
        "contrast_weight": 1.0,
        "pages": 4,
        "page": 5,
        "embedding_steps": 2,
        "meta_optimizer": optimizer(),
        "embedding_optimizer": optimizer(),
    }
    algo = MetricBased(**usual | changes)
    with torch.no_grad():
        for seed, θ in enumerate([*algo.encoder.values(), *algo.policies.values(), algo.task_embeddings]):
            θ.copy_(0.7 * randn(*θ.shape, seed=seed))
    return algo


def replay():
    """`live` on recorded experience, another one at every call; the agents that were to live it are kept."""
    agents = []

    def live(adaptation_steps, given=None):
        agents.append(given)
        return Lifetime([given], [experience(len(agents))])

    return live, agents


# --- The mixture ---


def percept(M=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    return Percept(
        torch.randn(M, B, D, generator=g),
        torch.randint(A, (M, B), generator=g),
        torch.randn(M, B, generator=g),
        torch.rand(M, B, generator=g) < 0.3,
    )


def test_the_mixture_is_the_explicit_sum_over_stored_policies():
    algo, now = make(), percept()
    w = randn(2, B, N, seed=5).softmax(-1)
    mixed = algo.mixture(w, now.observation)["q"]
    for m in range(2):
        for b in range(B):
            outputs = [
                algo.network({name: φ[i] for name, φ in algo.policies.items()}, now.observation[m, b, None], {})[0]["q"]
                for i in range(N)
            ]
            torch.testing.assert_close(mixed[m, b], sum(w[m, b, i] * outputs[i][0] for i in range(N)))


def test_the_first_action_is_of_the_plain_mean_and_an_agent_with_parameters_is_one_policy():
    algo, now = make(), percept(M=N)
    q = torch.stack(
        [algo.network({n: φ[i] for n, φ in algo.policies.items()}, now.observation, {})[0]["q"] for i in range(N)]
    )
    first, _ = algo.act(algo.start(N), now)
    torch.testing.assert_close(first.logits, algo.learner.policy({"q": q.mean(0)}).logits)
    own, memory = algo.act(AgentState(algo.policies, {}), now)
    alone = algo.learner.policy({"q": torch.stack([q[i, i] for i in range(N)])})
    assert torch.equal(own.logits, alone.logits) and memory == {}


# --- Embeddings ---


def remembered(algo, rollout):
    """The memory after a rollout, step by step, as acting makes it; envs that have finished continue with padding."""
    agent = algo.start(len(rollout.reward))
    percepts = rollout.percepts()
    memories = []
    for t in range(rollout.reward.shape[1]):
        _, memory = algo.act(agent, Percept(*(x[:, t] for x in percepts)))
        agent = agent._replace(memory=memory)
        memories.append(memory)
    last = Percept(rollout.observation[:, -1], rollout.action[:, -1], rollout.reward[:, -1], rollout.ended[:, -1])
    return [*memories, algo.act(agent, last)[1]]


def test_embeddings_while_acting_are_those_of_the_update_at_every_step():
    """Also across the end of an episode, of whose successor nothing is read."""
    algo, rollout = make(), experience()
    after = remembered(algo, rollout)
    weighted, λ = algo.embedding.evidence(algo.encoder, algo.embedding.inputs_of(rollout).flatten(1, 2))
    for t in range(T + 1):
        sums = [x.unflatten(1, (T, B))[:, :t].sum(1) for x in (weighted, λ)]
        torch.testing.assert_close(after[t]["weighted"], sums[0].expand_as(after[t]["weighted"]), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(algo.inferred_embedding(after[t]), fused(*sums), rtol=1e-4, atol=1e-4)


def test_what_comes_after_an_end_is_not_read_and_all_else_is():
    algo, rollout = make(), experience()
    x = algo.embedding.inputs_of(rollout)
    moved = rollout._replace(observation=rollout.observation.clone())
    moved.observation[:, 1:] += rollout.ended.unsqueeze(-1)  # what follows an end is read as the start of no step here
    changed = (algo.embedding.inputs_of(moved) != x).any(-1)
    assert not (changed & rollout.ended).any()
    for name, part in (("reward", rollout.reward + 1), ("action", (rollout.action + 1) % A)):
        other = algo.embedding.inputs_of(rollout._replace(**{name: part}))
        assert (other != x).any(-1).all()


def test_the_order_of_steps_does_not_matter_and_other_tasks_neither():
    algo = make()
    x = randn(N, 9, algo.embedding.num_features, seed=6)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    sums = [fused(*(y.sum(1) for y in algo.embedding.evidence(algo.encoder, z))) for z in (x, x[:, order], x[:2])]
    torch.testing.assert_close(sums[0], sums[1])
    torch.testing.assert_close(sums[0][:2], sums[2])


# --- Learning ---


def test_regret_regression_recovers_a_planted_metric():
    """Given the distances of most pairs of points on a plane, all are found, in more dimensions than needed."""
    planted = randn(12, 2)
    distance = torch.cdist(planted, planted)
    embeddings = randn(12, L, seed=1).requires_grad_()
    evaluated = torch.rand(12, 12, generator=torch.Generator().manual_seed(2)) < 0.8
    rule = Adam(lr=0.05, decay=0.0, max_grad_norm=1e3)
    rule.attach({"points": embeddings})
    for _ in range(800):
        (gradient,) = torch.autograd.grad(stress(embeddings, distance.square(), evaluated), [embeddings])
        rule.step([gradient], lambda: "")
    found = torch.cdist(embeddings.detach(), embeddings.detach())
    torch.testing.assert_close(found, distance, rtol=0, atol=0.05)


def test_stress_by_hand():
    """Embeddings 3 and 1 apart for regrets of 1 and 4: (3 − 1)² and (1 − 2)²; pairs not evaluated do not count."""
    embeddings = torch.tensor([[0.0], [3.0], [4.0]])
    regret = torch.tensor([[0.0, 1, 7], [7, 0, 4], [7, 7, 0]])
    evaluated = torch.tensor([[False, True, False], [False, False, True], [False, False, False]])
    assert stress(embeddings, regret, evaluated).item() == pytest.approx((4 + 1) / 2, abs=1e-3)


def test_gradient_reaches_every_parameter_from_every_stored_task():
    algo = make()
    before = {name: θ.detach().clone() for name, θ in algo.meta_params.items()}
    algo.meta_update(replay()[0])
    for name, φ in algo.policies.items():
        assert (φ != before[f"policy.{name}"]).flatten(1).any(1).all(), name
    for name, θ in algo.encoder.items():
        assert (θ != before[f"encoder.{name}"]).any(), name


def test_policies_learn_in_their_own_tasks_alone():
    """Updates by the learner's own steps: neither other tasks nor the metric enter a policy's loss."""
    algo, (live_here, agents) = make(), replay()
    own = {name: φ.detach().clone().requires_grad_() for name, φ in algo.policies.items()}
    algo.meta_update(live_here)
    φ, behaviour = own, None
    for _ in range(2):
        output, _ = algo.network(φ, experience(1).observation, {})
        gradients = torch.autograd.grad(algo.learner.loss(output, experience(1), behaviour)[0].sum(), list(φ.values()))
        φ = {name: (θ - 0.1 * g).detach().requires_grad_() for (name, θ), g in zip(φ.items(), gradients, strict=True)}
    for name in φ:
        torch.testing.assert_close(algo.policies[name], φ[name])
        for task in range(N):
            assert torch.equal(agents[0].params[name][task], own[name][task])
            assert torch.equal(agents[1].params[name][task], own[name][(task + 1) % N])


def contrast_by_hand(algo, query):
    """KL of the weights from those of the regrets, task by task: embeddings by the rest, located by the query."""
    regret, _ = algo.stored.regret()
    with torch.no_grad():
        weighted, λ = algo.embedding.evidence(algo.encoder, algo.stored.experience)
    asked, rest = query.squeeze(-1) == 1, query.squeeze(-1) == 0
    embeddings = torch.stack([weighted[i][rest[i]].sum(0) / λ[i][rest[i]].sum(0) for i in range(N)])
    total = 0.0
    for j in range(N):
        Λ = λ[j][asked[j]].sum(0)
        std = (1 / Λ + algo.temperature / 2).sqrt()
        log_w = torch.distributions.Normal(embeddings, std).log_prob(weighted[j][asked[j]].sum(0) / Λ).sum(-1)
        p = (-regret[j] / algo.tolerance).softmax(0)
        total += (p * (p.log() - log_w.log_softmax(0))).sum().item() / N
    return total


def with_a_query(monkeypatch, seed=0):
    """An agent with experience, and which of its steps are the query: the first three of each task."""
    algo = make(streams=streams(seed))
    live_here, _ = replay()
    for _ in range(2):
        algo.meta_update(live_here)
    query = torch.zeros(N, algo.stored.experience.shape[1], 1)
    query[:, :3] = 1
    monkeypatch.setattr(algo.stored, "split", lambda: query)
    return algo, query


def test_a_task_is_located_by_its_query_among_embeddings_without_it(monkeypatch):
    algo, query = with_a_query(monkeypatch)
    expected = contrast_by_hand(algo, query)
    assert expected > 0.01
    assert algo.improve_embedding()["contrast"].item() == pytest.approx(expected, rel=1e-4)


def test_the_query_moves_no_embedding(monkeypatch):
    metrics = []
    for shift in (0.0, 3.0):
        algo, query = with_a_query(monkeypatch)
        algo.stored.steps[:, : query.shape[1]] += shift * query
        metrics.append(algo.improve_embedding())
    assert torch.equal(metrics[0]["stress"], metrics[1]["stress"])
    assert not torch.equal(metrics[0]["contrast"], metrics[1]["contrast"])


def test_embeddings_are_of_the_parameters_and_the_experience_after_the_update():
    algo = make()
    algo.meta_update(replay()[0])
    weighted, λ = algo.embedding.evidence(algo.encoder, algo.stored.experience)
    torch.testing.assert_close(algo.task_embeddings, fused(weighted.sum(1), λ.sum(1)).detach())


def test_a_loss_that_is_not_finite_is_refused_before_anything_moves():
    algo = make()
    before = {name: φ.detach().clone() for name, φ in algo.policies.items()}
    bad = experience()._replace(reward=torch.full((N, T, B), torch.inf))
    with pytest.raises(NumericalError, match="must be finite"):
        algo.improve_policies(bad)
    assert all(torch.equal(before[name], φ) for name, φ in algo.policies.items())


def test_a_resumed_agent_goes_on_as_if_never_stopped_with_all_that_is_stored():
    algo, other = make(), make(streams=streams(9))
    live_here, _ = replay()
    for _ in range(3):
        algo.meta_update(live_here)
    file = io.BytesIO()
    torch.save(algo.state(), file)
    file.seek(0)
    other.load_state(torch.load(file, weights_only=True))
    for one in (algo, other):
        one.meta_update(replay()[0])
    for name in ("steps", "earned", "written"):
        torch.testing.assert_close(
            getattr(other.stored, name), getattr(algo.stored, name), rtol=0, atol=0, equal_nan=True
        )
    assert all(torch.equal(θ, other.meta_params[name]) for name, θ in algo.meta_params.items())
    assert torch.equal(algo.stored.generator.get_state(), other.stored.generator.get_state())


def test_meta_parameters_alone_behave_the_same():
    """Those are what a checkpoint hands over to another run."""
    algo, other, now = make(), make(streams=streams(9)), percept()
    algo.meta_update(replay()[0])
    other.load_meta_params({name: θ.detach().clone() for name, θ in algo.meta_params.items()})
    agents = [one.start(2) for one in (algo, other)]
    for _ in range(2):
        steps = [one.act(agent, now) for one, agent in zip((algo, other), agents, strict=True)]
        assert torch.equal(steps[0][0].logits, steps[1][0].logits)
        agents = [agent._replace(memory=memory) for agent, (_, memory) in zip(agents, steps, strict=True)]


# --- End to end ---


def test_the_sign_of_the_force_is_found_within_an_episode():
    """CartPoles that differ in it alone: no single policy balances both kinds; a random one falls after 20 steps."""
    kinds = {"gravity": 9.8, "cart_mass": 1.0, "pole_mass": 0.1, "half_length": 0.5, "force": 10.0}
    point = compose_points(
        [
            *("experiment=smoke", "algo=metric_based", "env.horizon=60", "meta_batch_size=6", "network.hidden=[16]"),
            *(f"env.meta_train.{name}={value}" for name, value in kinds.items()),
        ]
    ).points[0]
    family, algo = build_agent(point.config, streams())
    standing = family.sample(6, "meta_train", torch.Generator().manual_seed(2))
    assert len(standing.force_sign.unique()) == 2
    g = torch.Generator().manual_seed(3)

    def live_here(adaptation_steps, agents):
        env = TaskVectorEnv(family, standing, episodes_per_task=10, generator=g)
        return live(algo, env, g, adaptation_steps=adaptation_steps, agents=agents)

    for _ in range(20):
        algo.meta_update(live_here)
    task = family.sample(20, "meta_test", g)
    env = TaskVectorEnv(family, task, episodes_per_task=5, generator=g)
    with torch.no_grad():
        rollout = live(algo, env, g, adaptation_steps=0).rollouts[0]
    assert rollout.reward.sum(1).mean() > 45
    embeddings = algo.inferred_embedding(rollout.memory).mean(1)
    distance, same = torch.cdist(embeddings, embeddings), task.force_sign.unsqueeze(0) == task.force_sign.unsqueeze(1)
    assert distance[same].max() < distance[~same].min()
