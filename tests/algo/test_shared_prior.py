"""The shared prior: its regularised rewards, its distillation, and the gradient that moves it, in float64."""

import gymnasium
import pytest
import torch
from exact_lab import ExactCritic, Lab, random_mdp
from recorded import ALPHA, ROLLOUTS, A, B, D, M, Recorder, T, replay
from torch.distributions import Categorical, Independent, Normal, kl_divergence

from metarl_run.algo.gradient.objective import MetaObjective
from metarl_run.algo.meta_optimizer.sgd import SGD
from metarl_run.algo.scratch import Scratch
from metarl_run.algo.shared_prior import SharedPrior
from metarl_run.learner.actor_critic import ActorCritic
from metarl_run.network.constants import WithConstants
from metarl_run.network.mlp import MLP
from metarl_run.network.table import Table
from metarl_run.types import AgentState, Rollout

C_KL, C_H = 0.3, 0.2
BOX = gymnasium.spaces.Box(-1, 1, (2,))


def learner_of(action_space=None, **changes):
    usual = {
        "action_space": action_space or gymnasium.spaces.Discrete(A),
        "surrogate": "score",
        "discount": 0.9,
        "discount_steps": False,
        "lifetime_discount": 0.0,
        "gae_lambda": 0.8,
        "value_weight": 0.7,
        "value_scale": 2.0,
        "entropy_weight": 0.0,
        "standardise": True,
        "average": "steps",
        "policy": "auto",
        "initial_deviation": 1.0,
    }
    return ActorCritic(**usual | changes)


def random_params(network, seed):
    g = torch.Generator().manual_seed(seed)
    return {name: torch.randn(θ.shape, generator=g).double() for name, θ in network.init(g).items()}


def make(action_space=None, seed=9, **changes):
    learner = changes.pop("learner", None) or learner_of(action_space)
    space = action_space or gymnasium.spaces.Discrete(A)
    network = MLP(num_inputs=D, heads=learner.heads(space), hidden=[5], activation="tanh")
    if constants := learner.constants(space):
        network = WithConstants(network=network, constants=constants)
    usual = {
        "learner": learner,
        "network": network,
        "meta_params": random_params(network, seed),
        "adaptation_steps": 2,
        "inner_lr": ALPHA,
        "kl_weight": C_KL,
        "entropy_weight": C_H,
        "distil_into": "path",
        "meta_optimizer": Recorder(),
    }
    return SharedPrior(**usual | changes)


def random_agents(algo, seed):
    """M agents that are nowhere near θ."""
    singles = [random_params(algo.network, 100 * seed + task) for task in range(M)]
    return AgentState({name: torch.stack([one[name] for one in singles]) for name in singles[0]}, {})


def distribution(algo, output):
    """The policy of torch's own distributions."""
    if algo.learner.kind == "categorical":
        return Categorical(logits=output["policy"][:, :-1])
    return Independent(Normal(output["policy"][:, :-1], output["log_deviation"][:, :-1].exp()), 1)


def rollout_of(space):
    """A recorded rollout, with actions of this space."""
    if space is None:
        return ROLLOUTS[0]
    g = torch.Generator().manual_seed(3)
    return ROLLOUTS[0]._replace(action=torch.randn(M, T, B, *BOX.shape, generator=g, dtype=torch.float64))


SPACES = pytest.mark.parametrize("space", [None, BOX], ids=["categorical", "gaussian"])


# --- The upper level regularises the lower ones ---


@SPACES
def test_the_rewards_are_distrals(space):
    """r + (α / β) log π₀ − (1 / β) log π with α = c_KL / (c_KL + c_Ent), β = 1 / (c_KL + c_Ent)."""
    algo, rollout = make(space), rollout_of(space)
    output = algo.output(random_agents(algo, 1).params, rollout)
    π, π0 = distribution(algo, output), distribution(algo, algo.output(algo.start(M).params, rollout))
    α, β = C_KL / (C_KL + C_H), 1 / (C_KL + C_H)
    expected = rollout.reward + α / β * π0.log_prob(rollout.action) - 1 / β * π.log_prob(rollout.action)
    found = algo.regularised(output, rollout)
    torch.testing.assert_close(found.reward, expected * rollout.alive)
    assert not found.reward.requires_grad
    pairs = zip(found.of_steps, rollout.of_steps, strict=True)
    assert [torch.equal(x, y) for x, y in pairs] == [True, True, False, True, True, True]


def test_without_weights_a_lower_level_is_the_learner_alone():
    algo = make(kl_weight=0.0, entropy_weight=0.0)
    alone = Scratch(
        learner=algo.learner,
        network=algo.network,
        meta_params=random_params(algo.network, 9),
        rule="sgd",
        inner_lr=ALPHA,
    )
    for agent in (algo.start(M), random_agents(algo, 1)):
        with torch.no_grad():
            one, other = (each.adapt(agent, ROLLOUTS[0]).params for each in (algo, alone))
        assert all(torch.equal(one[name], other[name]) for name in one)


def lab_of(**mdp):
    lab = Lab(random_mdp(4, **mdp))
    exact = {"discount": lab.mdp.discount, "discount_steps": True, "standardise": False, "average": "episodes"}
    learner = learner_of(
        gymnasium.spaces.Discrete(lab.mdp.num_actions), gae_lambda=1.0, value_weight=0.0, value_scale=1.0, **exact
    )

    def algo(**weights):
        prior = lab.params(lab.random_params(0).detach().clone())
        return make(learner=learner, network=ExactCritic(lab), meta_params=prior, **weights)

    return lab, algo


def expected_step(lab, algo, φ):
    """−E[∇L(φ; τ)] over every trajectory τ of the policy φ: where adaptation goes on average."""
    experience = lab.trajectories
    params = lab.params(φ.detach().requires_grad_())
    p = lab.probability(params, experience).detach()
    stack = {name: θ.expand(len(p), *θ.shape) for name, θ in params.items()}
    losses, _ = algo.loss(stack, experience.rollout)
    return torch.cat([g.flatten() for g in torch.autograd.grad(-(p * losses).sum(), list(params.values()))])


@pytest.mark.parametrize("weights", [(0.0, 0.0), (C_KL, 0.0), (0.0, C_H), (C_KL, C_H), (50.0, 0.0)])
def test_lower_levels_follow_the_gradient_of_distrals_objective(weights):
    """J of the paper's Eq. 1, enumerated; the policy enters through what it visits and through its log-probability."""
    lab, algo = lab_of()
    c_kl, c_h = weights
    algo = algo(kl_weight=c_kl, entropy_weight=c_h)
    φ = lab.random_params(1).detach().requires_grad_()
    experience, params = lab.trajectories, lab.params(φ)
    rollout = experience.rollout

    def log_prob(params):
        table = lab.log_policy(params, rollout.observation[:, :-1])
        return table.gather(-1, rollout.action.unsqueeze(-1)).squeeze(-1)

    log_π, log_π0 = log_prob(params), log_prob(algo.initial).detach()
    gain = rollout.reward - c_kl * (log_π - log_π0) - c_h * log_π
    γ = lab.mdp.discount ** torch.arange(lab.mdp.horizon, dtype=torch.float64)[:, None]
    J = (lab.probability(params, experience) * (γ * gain * rollout.alive).sum((-2, -1))).sum()
    (truth,) = torch.autograd.grad(J, φ)
    torch.testing.assert_close(expected_step(lab, algo, φ), truth, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("c_kl", "c_h"), [(2.0, 0.0), (0.5, 0.5), (1e4, 0.0)])
def test_in_the_end_a_lower_level_is_the_prior_times_a_boltzmann_policy(c_kl, c_h):
    """π ∝ π₀^α exp(β Q), the paper's Eq. 2 to 4; the prior itself if nothing else counts."""
    lab, algo = lab_of(num_states=1, num_actions=3, horizon=1)
    algo = algo(kl_weight=c_kl, entropy_weight=c_h)
    φ = lab.random_params(1).detach()
    for _ in range(300):
        φ = φ + expected_step(lab, algo, φ) / (c_kl + c_h)
    one = torch.ones(1, 1, dtype=torch.float64)
    log_π, log_π0 = lab.log_policy(lab.params(φ), one), lab.log_policy(algo.initial, one)
    α, β = c_kl / (c_kl + c_h), 1 / (c_kl + c_h)
    torch.testing.assert_close(log_π, (α * log_π0 + β * lab.mdp.reward).log_softmax(-1), rtol=1e-6, atol=1e-6)
    assert ((log_π - log_π0).abs().max() < 1e-3) == (c_kl == 1e4)


# --- The lower levels are distilled into the upper one ---


@SPACES
def test_the_distance_is_the_kl_and_the_squared_error_of_the_steps_taken(space):
    algo, rollout = make(space), rollout_of(space)
    expert, params = algo.output(random_agents(algo, 1).params, rollout), random_agents(algo, 2).params
    output = algo.output(params, rollout)
    returns = torch.randn(M, T, B, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    kls = kl_divergence(distribution(algo, expert), distribution(algo, output))
    errors = (2.0 * output["value"][:, :-1].squeeze(-1) - returns) ** 2 / 2.0**2
    for found, each in zip(algo.distance(expert, returns, params, rollout), (kls, errors), strict=True):
        for task in range(M):
            torch.testing.assert_close(found[task], each[task][rollout.alive[task]].mean())


def test_the_prior_of_two_policies_is_their_mean_by_visits():
    """Task 0 visits state 0 three times in four, task 1 once in four: the gradient is zero only at that mixture."""
    S, experts = 2, torch.tensor([[[0.8, 0.2], [0.1, 0.9]], [[0.3, 0.7], [0.6, 0.4]]], dtype=torch.float64)
    visits = torch.tensor([[0, 0, 0, 1], [1, 1, 0, 1]])
    share = torch.stack([(visits == s).double().mean(1) for s in range(S)], 1)  # of task, state
    action_space = gymnasium.spaces.Discrete(2)
    learner = learner_of(action_space)
    network = Table(num_inputs=S, heads=learner.heads(action_space), initial_value=0.0)
    one_hot = torch.nn.functional.one_hot(visits, S).double()
    steps = torch.ones(2, 1, 4, dtype=torch.bool)
    rollout = Rollout(
        observation=torch.stack([one_hot, one_hot], 1),  # one step in each of four envs
        action=torch.tensor([[[0, 1, 1, 0]], [[1, 1, 0, 0]]]),
        reward=torch.arange(8.0, dtype=torch.float64).view(2, 1, 4),
        terminated=steps,
        truncated=~steps,
        alive=steps,
        memory={},
    )
    mixture = (share[..., None] * experts).sum(0) / share.sum(0)[:, None]
    by_state = torch.nn.functional.one_hot(visits, S).double()
    mean_reward = torch.einsum("mbs,mb->s", by_state, rollout.reward[:, 0]) / by_state.sum((0, 1))
    settled = {"policy": mixture.log(), "value": mean_reward[:, None] / learner.value_scale}
    lower = AgentState({"policy": experts.log(), "value": torch.zeros(2, S, 1, dtype=torch.float64)}, {})

    def gradients(meta_params):
        algo = make(
            learner=learner,
            network=network,
            meta_params={name: θ.clone() for name, θ in meta_params.items()},
            kl_weight=0.0,
            entropy_weight=0.0,
            distil_into="prior",
        )
        losses, _ = algo.distillation([algo.start(2), lower], [rollout])
        return dict(zip(meta_params, torch.autograd.grad(losses.mean(), list(algo.meta_params.values())), strict=True))

    assert all(g.abs().max() < 1e-12 for g in gradients(settled).values())
    for name, row in ((n, s) for n in settled for s in range(S)):
        moved = {n: θ.clone() for n, θ in settled.items()}
        moved[name][row, 0] += 0.1
        assert gradients(moved)[name][row].abs().max() > 1e-3


@pytest.mark.parametrize("distil_into", ["prior", "path"])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_meta_gradient_is_the_mean_of_those_at_the_lower_levels_on_the_way(distil_into, steps):
    """Written out for one task and one step at a time, each φₖ a leaf: dφₖ / dθ is the identity."""
    algo = make(adaptation_steps=steps, distil_into=distil_into)
    metrics = algo.meta_update(replay(algo))
    agents, rollouts = replay(algo)(steps).agents, ROLLOUTS
    ways = range(steps) if distil_into == "path" else [0]
    expert = algo.output({name: φ.detach() for name, φ in agents[-1].params.items()}, rollouts[steps])
    returns, _ = algo.learner.returns_and_baseline(expert, algo.regularised(expert, rollouts[steps]))
    total, loss = {name: torch.zeros_like(θ) for name, θ in algo.meta_params.items()}, 0.0
    for k in ways:
        for task in range(M):
            φ = {name: x[task : task + 1].detach().requires_grad_() for name, x in agents[k].params.items()}
            one = rollouts[steps].tasks(slice(task, task + 1))
            here = {head: value[task : task + 1] for head, value in expert.items()}
            kl, error = algo.distance(here, returns[task : task + 1].detach(), φ, one)
            value = (kl + 0.7 * error).sum() / (M * len(ways))
            loss += value.item()
            for name, g in zip(φ, torch.autograd.grad(value, list(φ.values())), strict=True):
                total[name] += g[0]
    assert metrics["loss"].item() == pytest.approx(loss)
    for name, g in algo.meta_optimizer.gradients.items():
        torch.testing.assert_close(g, total[name], rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("distil_into", ["prior", "path"])
def test_every_task_moves_every_meta_parameter(distil_into):
    algo = make(distil_into=distil_into)
    objective = MetaObjective(algo, algo.distillation, replay(algo)(2))
    assert all((g.flatten(1).abs().amax(1) > 0).all() for g in objective.gradients_of_tasks())


def test_distillation_brings_the_prior_to_the_policies_it_is_distilled_from():
    """Plain descent on what one lifetime recorded."""
    algo = make(distil_into="prior", meta_optimizer=SGD(lr=0.3, max_grad_norm=10.0), inner_lr=3.0)
    metrics = [algo.meta_optimizer.improve(MetaObjective(algo, fixed(algo), replay(algo)(2))) for _ in range(60)]
    assert metrics[-1]["loss"] < metrics[0]["loss"] / 2


def fixed(algo):
    """The distillation of the same lower policies whatever θ is."""
    lower = algo.adapt(algo.start(M), ROLLOUTS[0])
    lower = AgentState({name: φ.detach().clone() for name, φ in lower.params.items()}, {})
    return lambda agents, rollouts, **named: algo.distillation([agents[0], lower], rollouts, **named)
