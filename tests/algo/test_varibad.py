"""VariBAD: the belief, what the decoder makes of it, and who learns from what."""

import io

import gymnasium
import pytest
import torch
from recorded import Recorder
from torch import distributions

from metarl_run.algo.memory.decoder import Decoder
from metarl_run.algo.memory.encoder import surprises
from metarl_run.algo.meta_optimizer.adam import Adam
from metarl_run.algo.meta_optimizer.sgd import SGD
from metarl_run.algo.varibad import VariBAD
from metarl_run.config.compose import compose_points
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.learner.inputs import encoded
from metarl_run.learner.ppo import PPO
from metarl_run.maths.distributions import Categorical, Gaussian
from metarl_run.network.gru import GRU
from metarl_run.rollout import collect
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams
from metarl_run.types import Lifetime, Percept, Rollout

T, N, D, A, L = 5, 4, 2, 3, 2
OBSERVATIONS, ACTIONS = gymnasium.spaces.Box(-1.0, 1.0, (D,)), gymnasium.spaces.Discrete(A)
WITH_MEMORY = ["gru", "lstm", "transformer"]


def streams(seed=0):
    return Streams(seed, torch.device("cpu"))


def learner(**changes):
    usual = {
        "clip": 0.2,
        "epochs": 2,
        "discount": 0.9,
        "discount_steps": False,
        "lifetime_discount": 0.9,
        "gae_lambda": 0.95,
        "value_weight": 0.5,
        "value_scale": 1.0,
        "entropy_weight": 0.01,
        "standardise": True,
        "average": "steps",
        "policy": "auto",
        "initial_deviation": 1.0,
    }
    return PPO(action_space=ACTIONS, **usual | changes)


def make_network(num_inputs, heads, constants):
    network = GRU(num_inputs=num_inputs, heads=heads, hidden=6)
    g = torch.Generator().manual_seed(3)
    return network, {name: 0.5 * torch.randn(θ.shape, generator=g) for name, θ in network.init(g).items()}


def optimizer(lr=0.1):
    return SGD(lr=lr, max_grad_norm=100.0)


def make(**changes):
    """A small agent whose encoder and decoder are far from their first values, where beliefs hardly move."""
    usual = {
        "learner": learner(),
        "make_network": make_network,
        "observation_space": OBSERVATIONS,
        "action_space": ACTIONS,
        "streams": streams(),
        "episodes": 2,
        "latent": L,
        "policy_hidden": [5],
        "policy_activation": "tanh",
        "decoder_hidden": [4, 4],
        "decoder_activation": "relu",
        "state_weight": 0.5,
        "kl_weight": 0.3,
        "belief_steps": 2,
        "belief_lifetimes": 100,
        "belief_times": 100,
        "minibatches": 2,
        "max_kl": 1.0,
        "meta_optimizer": optimizer(),
        "belief_optimizer": optimizer(),
    }
    algo = VariBAD(**usual | changes)
    g = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for θ in algo.elbo.decoder_params.values():
            θ.copy_(0.5 * torch.randn(θ.shape, generator=g))
    return algo


def lifetimes(seed=0):
    """N lifetimes of one or two episodes, `[T, N, …]`, the shortest of 3 steps."""
    g = torch.Generator().manual_seed(seed)
    length = torch.tensor([5, 3, 4, 5])
    time = torch.arange(T).unsqueeze(-1)
    alive = time < length
    terminated = (time == length - 1) | (time == torch.tensor([1, 2, 0, 3]))
    return Rollout(
        observation=torch.randn(T + 1, N, D, generator=g),
        action=torch.randint(A, (T, N), generator=g),
        reward=torch.randn(T, N, generator=g) * alive,
        terminated=terminated & alive,
        truncated=torch.zeros(T, N, dtype=torch.bool),
        alive=alive,
        memory={},
    )


def inputs(rollout):
    return encoded(rollout.percepts(), ACTIONS)


def replay(rollout):
    """`live` on recorded lifetimes, one slot in each of N tasks."""
    stack = Rollout(*(x.transpose(0, 1).unsqueeze(2) for x in rollout[:-1]), memory={})
    policy = Categorical(torch.zeros(*stack.reward.shape, A))
    return lambda adaptation_steps: Lifetime([], [stack], policy=policy)


def errors(algo, m, rollout):
    return algo.elbo.decoder.errors(algo.elbo.decoder_params, m, rollout)


def first_percept(M=3, B=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    return Percept(
        torch.randn(M, B, D, generator=g),
        torch.zeros(M, B, dtype=torch.int64),
        torch.zeros(M, B),
        torch.ones(M, B, dtype=torch.bool),
    )


def configured(*overrides):
    config = compose_points(["experiment=smoke", "algo=varibad", *overrides]).points[0].config
    family, algo = build_agent(config, streams())
    g = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for θ in algo.meta_params.values():
            θ.add_(0.2 * torch.randn(θ.shape, generator=g))
    return family, algo


# --- The belief ---


def test_before_any_data_the_belief_is_the_prior_whatever_the_encoder():
    algo = make()
    for seed in range(2):
        percept = first_percept(seed=seed)
        q, memory = algo.encoder(encoded(percept, ACTIONS), algo.start(3).memory)
        assert torch.equal(q.mean, torch.zeros(3, 2, L))
        assert torch.equal(q.log_deviation.exp(), torch.ones(3, 2, L))
        assert torch.equal(memory["encoder.h"], torch.zeros(3, 1, 6))
    q = algo.encoder.sequence(inputs(lifetimes()))
    assert not q.mean[0].any() and not q.log_deviation[0].any()
    assert (q.mean[1:].abs() > 1e-3).all()


def test_a_lifetime_of_one_step_has_the_prior_alone():
    q = make().encoder.sequence(inputs(lifetimes())[:1])
    assert torch.equal(q.mean, torch.zeros(1, N, L)) and torch.equal(q.log_deviation, torch.zeros(1, N, L))


@pytest.mark.parametrize("network", WITH_MEMORY)
@pytest.mark.parametrize("env", ["cartpole_family", "random_mdp"])
def test_the_update_recomputes_the_beliefs_and_policies_that_acted(env, network):
    family, algo = configured(f"env={env}", f"network={network}", "env.horizon=12")
    beliefs, policies, encoder = [], [], algo.encoder.__call__

    def recording(agent, percept):
        beliefs.append(encoder(encoded(percept, family.action_space), agent.memory)[0])
        distribution, memory = algo.act(agent, percept)
        policies.append(distribution.logits)
        return distribution, memory

    g = torch.Generator().manual_seed(0)
    vector = TaskVectorEnv(family, family.sample(3, "meta_train", g), episodes_per_task=2, generator=g)
    rollout = collect(vector, recording, algo.start(3), g, episodes=3)
    steps = rollout.reward.shape[1]
    lived = rollout.merged()
    x = encoded(lived.percepts(), family.action_space)
    q = algo.encoder.sequence(x)
    alive = lived.alive
    assert steps > 1 and alive[-1].any()
    acted = Gaussian(*(torch.stack(list(part)[:steps]).flatten(1, 2) for part in zip(*beliefs, strict=True)))
    for recomputed, recorded in zip(q, acted, strict=True):
        torch.testing.assert_close(recomputed[alive], recorded[alive], rtol=1e-5, atol=1e-5)
    y = torch.cat([lived.observation[:-1], *q], -1)
    logits = algo.policy(algo.policy_params, y, {})[0]["policy"]
    torch.testing.assert_close(logits[alive], torch.stack(policies[:steps]).flatten(1, 2)[alive], rtol=1e-5, atol=1e-5)


def test_a_belief_depends_on_its_own_lifetime_alone():
    encoder, x = make().encoder, inputs(lifetimes())
    order = torch.tensor([2, 0, 3, 1])
    whole, some = encoder.sequence(x), encoder.sequence(x[:, order])
    for one, other in zip(whole, some, strict=True):
        torch.testing.assert_close(one[:, order], other)
    disturbed = x.clone()
    disturbed[:, 1:] += 1.0
    for one, other in zip(whole, encoder.sequence(disturbed), strict=True):
        torch.testing.assert_close(one[:, 0], other[:, 0])


def test_a_belief_does_not_know_what_comes():
    encoder, x = make().encoder, inputs(lifetimes())
    later = x.clone()
    later[3:] += 1.0
    for one, other in zip(encoder.sequence(x), encoder.sequence(later), strict=True):
        torch.testing.assert_close(one[:3], other[:3])
        assert not torch.isclose(one[3:], other[3:]).any()


# --- The ELBO ---


def test_a_surprise_is_the_divergence_from_the_belief_before_and_both_ends_have_a_gradient():
    g = torch.Generator().manual_seed(0)
    mean, log_deviation = (torch.randn(T, N, L, generator=g, dtype=torch.float64).requires_grad_() for _ in range(2))
    before, now = (distributions.Normal(mean[at], log_deviation[at].exp()) for at in (slice(-1), slice(1, None)))
    expected = distributions.kl_divergence(now, before).sum(-1)
    ours = surprises(Gaussian(mean, log_deviation))
    assert torch.equal(ours[0], torch.zeros(N, dtype=torch.float64))
    torch.testing.assert_close(ours[1:], expected)
    for t in range(1, T):
        gradients = torch.autograd.grad(ours[t].sum(), (mean, log_deviation), retain_graph=True)
        theirs = torch.autograd.grad(expected[t - 1].sum(), (mean, log_deviation), retain_graph=True)
        for one, other in zip(gradients, theirs, strict=True):
            torch.testing.assert_close(one, other)
            assert one.abs().amax((1, 2)).gt(0).tolist() == [s in (t - 1, t) for s in range(T)]


def test_errors_of_a_decoder_computed_by_hand():
    """One linear layer: r̂ = m + 2 s + 3 [a = 1] + 4 s′ + 5 end and ŝ = m − s; the first step ends an episode."""
    box, two = gymnasium.spaces.Box(-9.0, 9.0, (1,)), gymnasium.spaces.Discrete(2)
    decoder = Decoder(box, two, latent=1, states=True, hidden=[], activation="relu")
    params = {
        "reward.0.weight": torch.tensor([[1.0], [2.0], [0.0], [3.0], [4.0], [5.0]]),
        "reward.0.bias": torch.zeros(1, 1),
        "state.0.weight": torch.tensor([[1.0], [-1.0], [0.0], [0.0]]),
        "state.0.bias": torch.zeros(1, 1),
    }
    rollout = Rollout(
        observation=torch.tensor([1.0, 7.0, 2.0, 9.0]).view(4, 1, 1),
        action=torch.tensor([[1], [0], [1]]),
        reward=torch.tensor([[10.0], [20.0], [0.0]]),
        terminated=torch.tensor([[True], [False], [False]]),
        truncated=torch.tensor([[False], [True], [False]]),
        alive=torch.tensor([[True], [True], [False]]),
        memory={},
    )
    # m = 1: r̂ = 1 + 2·1 + 3 + 5 = 11 and 1 + 2·7 + 5 = 20; m = 0: 10 and 19. Both steps end: no state to predict.
    m = torch.tensor([1.0, 0.0]).view(2, 1, 1)
    reward_error, state_error = decoder.errors(params, m, rollout)
    assert reward_error.tolist() == [[0.5], [0.5]]
    assert state_error.tolist() == [[0.0], [0.0]]
    # The second step goes on: r̂ = 1 + 2·7 + 4·2 = 23 and 22, ŝ = 1 − 7 and 0 − 7 where 2 came.
    rollout = rollout._replace(truncated=torch.zeros(3, 1, dtype=torch.bool))
    reward_error, state_error = decoder.errors(params, m, rollout)
    assert reward_error.tolist() == [[0.5 + 4.5], [0.0 + 2.0]]
    assert state_error.tolist() == [[32.0], [40.5]]


def test_a_decoder_is_its_networks_at_every_pair_of_description_and_step():
    decoder, g = make().elbo.decoder, torch.Generator().manual_seed(0)
    for name, network in decoder.networks.items():
        params = {key: torch.randn(θ.shape, generator=g) for key, θ in network.init(g).items()}
        features = network.widths[name][0] - L
        m, known = torch.randn(3, N, L, generator=g), torch.randn(T, N, features, generator=g)
        ours = decoder.predicted(name, params, m, known)
        pairs = torch.cat([m.unsqueeze(1).expand(3, T, N, L), known.expand(3, T, N, features)], -1)
        torch.testing.assert_close(ours, network(params, pairs, {})[0][name])


@pytest.mark.parametrize("belief_times", [100, 3])
def test_the_elbo_is_that_of_its_definition(belief_times):
    """One belief and one step at a time, with the densities of torch.distributions; of some beliefs or of all."""
    algo, rollout = make(belief_times=belief_times), lifetimes()
    x = inputs(rollout)
    noise = torch.Generator()
    noise.set_state(algo.noise.get_state())
    loss, told = algo.elbo.loss(x, rollout)
    times = torch.randperm(T, generator=noise)[:belief_times].tolist()
    ε = dict(zip(times, torch.randn(len(times), N, L, generator=noise), strict=True))
    q = algo.encoder.sequence(x)
    normal = distributions.Normal(q.mean, q.log_deviation.exp())

    def predicted(name, m, *known):
        network = algo.elbo.decoder.networks[name]
        return network(algo.elbo.decoder_params, torch.cat([m, *known]).unsqueeze(0), {})[0][name][0]

    elbos = []
    for n in range(N):
        lived = range(int(rollout.alive[:, n].sum()))
        for t in sorted({*lived} & {*times}):
            m = normal.mean[t, n] + normal.stddev[t, n] * ε[t][n]
            log_likelihood = 0.0
            for s in lived:
                action = torch.eye(A)[rollout.action[s, n]]
                before, after, end = rollout.observation[s, n], rollout.observation[s + 1, n], rollout.ended[s, n]
                arrived = (torch.zeros(D), torch.ones(1)) if end else (after, torch.zeros(1))
                r̂ = predicted("reward", m, before, action, *arrived)[0]
                log_likelihood += distributions.Normal(r̂, 1.0).log_prob(rollout.reward[s, n])
                log_likelihood += 0.5 * torch.log(torch.tensor(2 * torch.pi))
                if not end:
                    ŝ = predicted("state", m, before, action)
                    log_likelihood -= 0.5 * 0.5 * ((ŝ - after) ** 2).sum()
            previous = distributions.Normal(normal.mean[t - 1, n], normal.stddev[t - 1, n]) if t else None
            prior = distributions.Normal(torch.zeros(L), torch.ones(L))
            here = distributions.Normal(normal.mean[t, n], normal.stddev[t, n])
            elbos.append(log_likelihood - 0.3 * distributions.kl_divergence(here, previous or prior).sum())
    torch.testing.assert_close(-loss, torch.stack(elbos).mean())
    torch.testing.assert_close(told["elbo"], -loss.detach())


def test_beliefs_are_judged_by_rewards_yet_to_come():
    algo, rollout = make(), lifetimes()
    reward = rollout.reward.clone()
    reward[4, 0] += 1.0
    m = torch.zeros(1, N, L)
    one, other = (errors(algo, m, lived)[0] for lived in (rollout, rollout._replace(reward=reward)))
    assert (one != other).tolist() == [[True, False, False, False]]


def test_what_follows_an_episode_is_not_what_its_last_step_led_to():
    algo, rollout = make(), lifetimes()
    assert rollout.ended[1, 0]
    observation = rollout.observation.clone()
    observation[2, 0] += 1.0  # where episode 2 starts
    m = torch.zeros(1, N, L)
    x = [lived.observation for lived in (rollout, rollout._replace(observation=observation))]
    assert not torch.equal(*x)
    cut = {"alive": rollout.alive & (torch.arange(T).unsqueeze(-1) < 2)}
    one, other = (errors(algo, m, rollout._replace(observation=seen, **cut)) for seen in x)
    for before, after in zip(one, other, strict=True):
        assert torch.equal(before, after)


def test_fewer_times_and_lifetimes_per_step_cover_others_in_the_next():
    algo = make(belief_lifetimes=2, belief_steps=2)
    seen = []
    algo.elbo.improve = lambda x, lived: seen.append(lived.reward) or {}
    rollout = lifetimes()
    algo.meta_update(replay(rollout))
    assert [part.shape[1] for part in seen] == [2, 2]
    torch.testing.assert_close(torch.cat(seen, 1).sort(1)[0], rollout.reward.sort(1)[0])


# --- Who learns from what ---


def gradients(scalar, algo):
    found = torch.autograd.grad(scalar, list(algo.meta_params.values()), allow_unused=True)
    return dict(zip(algo.meta_params, found, strict=True))


def test_the_elbo_reaches_every_parameter_of_encoder_and_decoder_from_every_lifetime_and_none_of_the_policy():
    algo, rollout = make(), lifetimes()
    for n in range(N):
        part = slice(n, n + 1)
        loss, _ = algo.elbo.loss(inputs(rollout)[:, part], rollout.envs(part))
        for name, g in gradients(loss, algo).items():
            assert (g is None) == name.startswith("policy."), name
            assert g is None or g.abs().max() > 0, name


def test_the_loss_of_the_policy_reaches_the_policy_alone():
    algo, rollout = make(), lifetimes()
    outputs = []
    algo.outer.improve = lambda output, lived, policy: outputs.append(output(slice(None))) or {}
    algo.meta_update(replay(rollout))
    for head in outputs[0].values():
        reached = {name for name, g in gradients(head.sum(), algo).items() if g is not None}
        assert reached and all(name.startswith("policy.") for name in reached)


def test_each_optimiser_moves_its_own_parameters():
    rollout = lifetimes()
    for resting in ("meta_optimizer", "belief_optimizer"):
        algo = make(**{resting: Recorder()})
        before = {name: θ.detach().clone() for name, θ in algo.meta_params.items()}
        algo.meta_update(replay(rollout))
        for name, θ in algo.meta_params.items():
            rests = name.startswith("policy.") == (resting == "meta_optimizer")
            assert torch.equal(θ, before[name]) == rests, name


def test_the_policy_learns_from_the_beliefs_that_acted_before_these_improve():
    algo, rollout = make(), lifetimes()
    x = inputs(rollout)
    q = algo.encoder.sequence(x)
    expected = algo.policy(algo.policy_params, torch.cat([rollout.observation[:-1], *q], -1), {})[0]["policy"].clone()
    outputs = []
    algo.outer.improve = lambda output, lived, policy: outputs.append(output(slice(None))["policy"]) or {}
    algo.meta_update(replay(rollout))
    torch.testing.assert_close(outputs[0], expected)
    assert not torch.allclose(algo.encoder.sequence(x).mean, q.mean)


def test_without_a_weight_states_are_not_decoded():
    algo = make(state_weight=0.0)
    assert not any(name.startswith("decoder.state") for name in algo.meta_params)
    assert errors(algo, torch.zeros(1, N, L), lifetimes())[1].tolist() == [[0.0] * N]


def test_training_goes_on_from_a_saved_state_with_the_same_noise():
    algos = [make(belief_optimizer=Adam(lr=0.01, decay=0.0, max_grad_norm=1.0)) for _ in range(2)]
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
    algo = make(state_weight=0.0, kl_weight=0.01, belief_optimizer=Adam(lr=0.01, decay=0.0, max_grad_norm=10.0))
    x = inputs(rollout)
    for _ in range(200):
        algo.elbo.improve(x, rollout)
    with torch.no_grad():
        q = algo.encoder.sequence(x)
        squared = 2 * errors(algo, q.mean, rollout)[0] / T
    at_mean = squared.mean(-1)  # by the t of the belief
    assert at_mean[0] > 0.9  # about the variance of the pay, 1
    assert (at_mean[1:] < 0.05).all()
