"""VariBAD: the beliefs that it acts on, and the parameters that each loss reaches."""

import io

import pytest
import torch
from belief_lab import (
    A,
    D,
    L,
    N,
    T,
    errors,
    inputs,
    lifetimes,
    make,
    streams,
)
from recorded import Recorder

from metarl_run.algo.meta_optimizer.adam import Adam
from metarl_run.algo.varibad import VariBAD
from metarl_run.config.compose import compose_points
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.maths.distributions import Categorical, Gaussian
from metarl_run.rollout import collect
from metarl_run.run.agent import build_agent
from metarl_run.types import Lifetime, Rollout

WITH_MEMORY = ["gru", "lstm", "transformer"]


def replay(rollout):
    """`live` on recorded lifetimes, one env in each of N tasks."""
    stack = Rollout(*(x.transpose(0, 1).unsqueeze(2) for x in rollout.of_steps), memory={})
    policy = Categorical(torch.zeros(*stack.reward.shape, A))
    return lambda adaptation_steps: Lifetime([], [stack], policy=policy)


def configured(*overrides):
    config = compose_points(["experiment=smoke", "algo=varibad", *overrides]).points[0].config
    family, algo = build_agent(config, streams())
    g = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for θ in algo.meta_params.values():
            θ.add_(0.2 * torch.randn(θ.shape, generator=g))
    return family, algo


READ = ["algo.encoding=transition", "algo.policy_read=observation", "algo.decoder_read=observation"]
AGENTS = [
    *((env, [f"network={network}"]) for env in ("cartpole_family", "random_mdp") for network in WITH_MEMORY),
    ("random_mdp", ["network=min_gru", *READ]),
]


@pytest.mark.parametrize(("env", "overrides"), AGENTS, ids=str)
def test_the_update_recomputes_the_beliefs_and_policies_that_acted(env, overrides):
    family, algo = configured(f"env={env}", "env.horizon=12", *overrides)
    beliefs, policies = [], []
    infer = algo.encoder

    def inferring(x, memory):
        belief, memory = infer(x, memory)
        beliefs.append(belief)
        return belief, memory

    def recording(agent, percept):
        algo.encoder = inferring
        distribution, memory = algo.act(agent, percept)
        algo.encoder = infer
        policies.append(distribution.logits)
        return distribution, memory

    g = torch.Generator().manual_seed(0)
    vector = TaskVectorEnv(family, family.sample(3, "meta_train", g), episodes_per_task=2, generator=g)
    rollout = collect(vector, recording, algo.start(3), g, episodes=3)
    steps = rollout.reward.shape[1]
    merged = rollout.merged()
    q = algo.encoder.sequence(algo.senses(merged))
    alive = merged.alive
    assert steps > 1 and alive[-1].any()
    acted = Gaussian(*(torch.stack(list(part)[:steps]).flatten(1, 2) for part in zip(*beliefs, strict=True)))
    for recomputed, recorded in zip(q, acted, strict=True):
        torch.testing.assert_close(recomputed[alive], recorded[alive], rtol=1e-5, atol=1e-5)
    y = torch.cat([merged.observation[:-1], *q], -1)
    logits = algo.policy(algo.policy_params, y, {})[0]["policy"]
    torch.testing.assert_close(logits[alive], torch.stack(policies[:steps]).flatten(1, 2)[alive], rtol=1e-5, atol=1e-5)


def test_fewer_times_and_lifetimes_per_step_cover_others_in_the_next():
    algo = make(VariBAD, belief_lifetimes=2, belief_steps=2)
    seen = []
    algo.elbo.improve = lambda x, rollout: seen.append(rollout.reward) or {}
    rollout = lifetimes()
    algo.meta_update(replay(rollout))
    assert [part.shape[1] for part in seen] == [2, 2]
    torch.testing.assert_close(torch.cat(seen, 1).sort(1)[0], rollout.reward.sort(1)[0])


def gradients(scalar, algo):
    found = torch.autograd.grad(scalar, list(algo.meta_params.values()), allow_unused=True)
    return dict(zip(algo.meta_params, found, strict=True))


def test_the_elbo_reaches_every_parameter_of_encoder_and_decoder_from_every_lifetime_and_none_of_the_policy():
    algo, rollout = make(VariBAD), lifetimes()
    for n in range(N):
        part = slice(n, n + 1)
        loss, _ = algo.elbo.loss(inputs(rollout)[:, part], rollout.envs(part))
        for name, g in gradients(loss, algo).items():
            assert (g is None) == name.startswith("policy."), name
            assert g is None or g.abs().max() > 0, name


def test_the_loss_of_the_policy_reaches_the_policy_alone():
    algo, rollout = make(VariBAD), lifetimes()
    outputs = []
    algo.outer.improve = lambda output, rollout, policy: outputs.append(output(slice(None))) or {}
    algo.meta_update(replay(rollout))
    for head in outputs[0].values():
        reached = {name for name, g in gradients(head.sum(), algo).items() if g is not None}
        assert reached and all(name.startswith("policy.") for name in reached)


def test_each_optimiser_moves_its_own_parameters():
    rollout = lifetimes()
    for resting in ("meta_optimizer", "belief_optimizer"):
        algo = make(VariBAD, **{resting: Recorder()})
        before = {name: θ.detach().clone() for name, θ in algo.meta_params.items()}
        algo.meta_update(replay(rollout))
        for name, θ in algo.meta_params.items():
            rests = name.startswith("policy.") == (resting == "meta_optimizer")
            assert torch.equal(θ, before[name]) == rests, name


def test_the_policy_learns_from_the_beliefs_that_acted_before_these_improve():
    algo, rollout = make(VariBAD), lifetimes()
    x = inputs(rollout)
    q = algo.encoder.sequence(x)
    expected = algo.policy(algo.policy_params, torch.cat([rollout.observation[:-1], *q], -1), {})[0]["policy"].clone()
    outputs = []
    algo.outer.improve = lambda output, rollout, policy: outputs.append(output(slice(None))["policy"]) or {}
    algo.meta_update(replay(rollout))
    torch.testing.assert_close(outputs[0], expected)
    assert not torch.allclose(algo.encoder.sequence(x).mean, q.mean)


def test_without_a_weight_states_are_not_decoded():
    algo = make(VariBAD, state_weight=0.0)
    assert not any(name.startswith("decoder.state") for name in algo.meta_params)
    assert errors(algo, torch.zeros(1, N, L), lifetimes())[1].tolist() == [[0.0] * N]


def test_training_goes_on_from_a_saved_state_with_the_same_noise():
    annealed = {"final_lr": 0.01, "final_entropy_weight": 0.5, "final_discount": 0.5, "meta_iterations": 4}
    algos = [make(VariBAD, belief_optimizer=Adam(lr=0.01, decay=0.0, max_grad_norm=1.0), **annealed) for _ in range(2)]
    one, other = algos
    for _ in range(2):
        one.meta_update(replay(lifetimes()))
    file = io.BytesIO()
    torch.save(one.state(), file)
    file.seek(0)
    other.load_state(torch.load(file, weights_only=True))
    for algo in algos:
        algo.meta_update(replay(lifetimes(1)))
    for name, θ in one.meta_params.items():
        assert torch.equal(θ, other.meta_params[name]), name
    assert torch.equal(one.noise.get_state(), other.noise.get_state())
    assert one.outer.learner.discount == pytest.approx(0.9 - 0.4 * 2 / 3)


def test_trained_beliefs_predict_what_a_task_pays_and_before_any_data_only_the_mean():
    """Every step of a task pays the same, −1 or 1: nothing is known of it at first, everything after a step."""
    g = torch.Generator().manual_seed(0)
    N = 64
    pay = torch.where(torch.arange(N) % 2 == 0, 1.0, -1.0)
    rollout = Rollout(
        observation=torch.randn(T + 1, N, D, generator=g),
        action=torch.randint(A, (T, N), generator=g),
        reward=pay.expand(T, N).clone(),
        terminated=torch.zeros(T, N, dtype=torch.bool),
        truncated=torch.zeros(T, N, dtype=torch.bool),
        alive=torch.ones(T, N, dtype=torch.bool),
        memory={},
    )
    algo = make(
        VariBAD, state_weight=0.0, kl_weight=0.01, belief_optimizer=Adam(lr=0.01, decay=0.0, max_grad_norm=10.0)
    )
    x = inputs(rollout)
    for _ in range(200):
        algo.elbo.improve(x, rollout)
    with torch.no_grad():
        q = algo.encoder.sequence(x)
        squared = 2 * errors(algo, q.mean, rollout)[0] / T
    at_mean = squared.mean(-1)  # by the t of the belief
    assert at_mean[0] > 0.9  # about the variance of the pay, 1
    assert (at_mean[1:] < 0.05).all()


PAIRS = 4


def two_state_lifetimes(algo, family, N, g):
    """Two episodes in each of N tasks, of an agent whose actions are as good as random."""
    vector = TaskVectorEnv(family, family.sample(N, "meta_train", g), episodes_per_task=1, generator=g)
    return collect(vector, algo.act, algo.start(N), g, episodes=2).merged()


def exact_means(rollout):
    """Posterior mean of the reward of every pair before each step: prior N(1, 1), rewards with variance 1."""
    pair = torch.nn.functional.one_hot(rollout.observation[:-1].argmax(-1) * 2 + rollout.action, PAIRS).float()
    count, total = ((x.cumsum(0) - x) for x in (pair, pair * rollout.reward.unsqueeze(-1)))
    return (1 + total) / (1 + count)


def test_beliefs_in_two_state_mdps_hold_the_exact_posterior_means():
    """Trained by the ELBO alone, on rewards; the exact means are never shown. Before any data both are the prior's."""
    two = ["env.num_states=2", "env.num_actions=2", "env.horizon=10"]
    options = ["network=min_gru", "network.hidden=32", "algo.latent=8", "algo.belief_optimizer.lr=1e-2", *READ]
    (point,) = compose_points(["env=random_mdp", "algo=varibad", *two, *options]).points
    family, algo = build_agent(point.config, streams())
    g = torch.Generator().manual_seed(0)
    for _ in range(15):
        many = two_state_lifetimes(algo, family, 640, g)
        for first in range(10):
            part = many.envs(slice(first, None, 10))
            algo.elbo.improve(algo.senses(part), part)
    fresh = two_state_lifetimes(algo, family, 300, g)
    with torch.no_grad():
        q = algo.encoder.sequence(algo.senses(fresh))
        found = algo.elbo.decoder.rewards(algo.elbo.decoder_params, q.mean).flatten(-2)
    exact = exact_means(fresh)
    error, variance = ((x**2).mean((1, 2)) for x in (found - exact, exact - 1))
    assert variance[0] == 0 and error[0] < 0.06
    assert error[1:].mean() < 0.2 * variance[1:].mean()
    assert error[-1] < 0.2 * variance[-1]
    others = ((found - exact.roll(1, 1)) ** 2).mean((1, 2))
    assert others[-1] > variance[-1]  # another task's posterior is worse than none


def test_the_policy_changes_with_the_belief_if_it_reads_it():
    """A policy whose only weight is that of one mean: π(0) = σ(w μ) of two actions, by hand."""
    algo, rollout = make(VariBAD), lifetimes()
    for θ in algo.policy_params.values():
        θ.data.zero_()
    g = torch.Generator()
    found = algo.examine(rollout, g.manual_seed(0))
    assert found["policy_change_belief_shuffled"] == [0.0]
    with torch.no_grad():
        q = algo.encoder.sequence(algo.senses(rollout))
        error = errors(algo, q.mean, rollout)[0] / rollout.alive.sum(0)
    ended = rollout.ended.long()
    episode = ended.cumsum(0) - ended
    wanted = [float(error[rollout.alive & (episode == k)].mean()) for k in range(2)]
    assert found["belief_reward_error"] == pytest.approx(wanted)

    algo.policy_params["policy.0.weight"].data[D, 0] = 1.0  # the first mean
    algo.policy_params["policy.1.weight"].data[0, 0] = 1.0
    p = torch.cat([q.mean[..., :1].tanh(), torch.zeros(T, N, A - 1)], -1).softmax(-1)
    order = torch.randperm(N, generator=g.manual_seed(0))
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    change = 0.5 * (p - p[:, other]).abs().sum(-1)
    late = rollout.alive & (torch.arange(T).unsqueeze(1) >= T // 2)
    found = algo.examine(rollout, g.manual_seed(0))
    assert found["policy_change_belief_shuffled"] == pytest.approx([float(change[late].mean())])
    assert change[late].mean() > 0.01 and (other != torch.arange(N)).all()


def test_encoder_and_decoder_start_away_from_the_saddle_where_neither_depends_on_the_other():
    """Their heads are as large as other layers, in ±√(6 / (in + out)); those of policies are 100 times smaller."""
    for overrides in ([], READ):
        config = compose_points(["env=random_mdp", "algo=varibad", *overrides]).points[0].config
        _, algo = build_agent(config, streams())
        heads = ["encoder.mean.weight", "encoder.log_deviation.weight"]
        heads += ["decoder.reward.weight" if overrides else "decoder.reward.2.weight"]
        for head in heads:
            θ = algo.meta_params[head]
            assert 0.5 < θ.abs().max() / (6 / sum(θ.shape)) ** 0.5 <= 1, head
        assert algo.meta_params["policy.policy.weight" if overrides else "policy.policy.2.weight"].abs().max() < 0.01
