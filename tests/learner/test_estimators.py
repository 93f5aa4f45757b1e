"""Gradients and Hessians of every surrogate against the truth, by enumeration."""

import importlib.util
import json
from pathlib import Path
from statistics import median

import pytest
import torch
from exact_lab import MDP, Estimator, Lab, random_mdp
from torch.autograd.functional import hessian, jacobian

from metarl_run.maths.planning import policy_value
from metarl_run.maths.returns import discount_weights
from metarl_run.network.mlp import MLP
from metarl_run.network.table import Table
from metarl_run.types import Rollout

ALL = ("score", "ratio", "dice", "loaded_dice")
UNBIASED = ("dice", "loaded_dice")
SMALL = {"num_states": 2, "horizon": 2}
EXACT = 1e-10


def error(estimate, truth):
    return ((estimate - truth).norm() / truth.norm()).item()


def cosine(x, y):
    return ((x * y).sum() / (x.norm() * y.norm())).item()


def gradient_error(lab, θ, *chosen, **options):
    return error(Estimator(lab, *chosen, **options).gradients(θ).mean, jacobian(lab.expected_return, θ))


def hessian_error(lab, θ, *chosen, **options):
    return error(Estimator(lab, *chosen, **options).hessians(θ).mean, hessian(lab.expected_return, θ))


def tiny_mlp():
    return MLP(num_inputs=3, heads={"policy": 2}, hidden=[2], activation="tanh")


LABS = {
    "discounted": lambda seed: Lab(random_mdp(seed)),
    "undiscounted": lambda seed: Lab(random_mdp(seed, discount=1.0)),
    "ending": lambda seed: Lab(random_mdp(seed, ends=True)),
    "mlp": lambda seed: Lab(random_mdp(seed), tiny_mlp()),
    "mlp_ending": lambda seed: Lab(random_mdp(seed, ends=True), tiny_mlp()),
}

# --- The laboratory itself ---


@pytest.mark.parametrize("kind", LABS)
@pytest.mark.parametrize("seed", range(3))
def test_the_listed_trajectories_are_all_there_are(kind, seed):
    lab = LABS[kind](seed)
    p = lab.probability(lab.params(lab.random_params(seed)), lab.trajectories)
    assert p.sum().item() == pytest.approx(1, abs=1e-12)
    assert len(p) == (86 if "ending" in kind else 72)  # 2·3·2·3·2, and 2 + 12 that end before the last step
    rollout = lab.trajectories.rollout
    assert len({str(x) for x in zip(*(f.tolist() for f in rollout.of_steps), strict=True)}) == len(p)


@pytest.mark.parametrize("kind", LABS)
def test_the_exact_return_and_its_derivatives_are_those_of_dynamic_programming(kind):
    lab = LABS[kind](0)
    θ, γ = lab.random_params(0), lab.mdp.discount

    def planned(θ):
        π = lab.log_policy(lab.params(θ), torch.eye(3, dtype=torch.float64)).exp()
        return policy_value(γ * lab.mdp.transition, lab.mdp.reward, π, horizon=3)[0]

    for other in (planned, lambda θ: lab.values(lab.params(θ))[0, 0]):
        for derivative in (lambda f, θ: f(θ), jacobian, hessian):
            torch.testing.assert_close(derivative(lab.expected_return, θ), derivative(other, θ), rtol=1e-12, atol=1e-12)


def test_the_exact_return_by_hand():
    """State 0: action 0 (π = ¾) stays and pays 1, action 1 pays 2 and goes to state 1, where nothing pays."""
    transition = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]], dtype=torch.float64)
    lab = Lab(MDP(transition, torch.tensor([[1.0, 2.0], [0.0, 0.0]], dtype=torch.float64), horizon=2, discount=0.5))
    θ = torch.tensor([3.0, 1.0, 5.0, 5.0], dtype=torch.float64).log()
    p, q = 0.75, 0.25
    step = p * 1 + q * 2
    assert lab.expected_return(θ).item() == pytest.approx(step + 0.5 * p * step)
    slope = (1 - 2) + 0.5 * (step + p * (1 - 2))  # dJ/dp
    expected = [p * q * slope, -p * q * slope, 0, 0]  # dp/dθ = p (1 − p)
    assert jacobian(lab.expected_return, θ).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("surrogate", ALL)
def test_expected_derivatives_are_derivatives_of_the_expectation_and_float64_throughout(surrogate):
    lab = LABS["ending"](0)
    θ, estimator = lab.random_params(0), Estimator(lab, surrogate, baseline="value")
    gradient, curvature = estimator.derivatives(θ)
    torch.testing.assert_close(gradient.mean, jacobian(estimator.expected_gain, θ), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(curvature.mean, hessian(estimator.expected_gain, θ), rtol=1e-12, atol=1e-12)
    assert estimator.algo.loss(lab.params(θ), estimator.experience.rollout)[0].dtype == torch.float64


# --- The Hessian through sampling ---


@pytest.mark.parametrize("kind", LABS)
@pytest.mark.parametrize("baseline", ["none", "value"])
@pytest.mark.parametrize("surrogate", ALL)
def test_every_gradient_is_exact(surrogate, baseline, kind):
    for seed in range(2):
        lab = LABS[kind](seed)
        assert gradient_error(lab, lab.random_params(seed), surrogate, baseline=baseline) < EXACT


@pytest.mark.parametrize("kind", LABS)
@pytest.mark.parametrize("baseline", ["none", "value"])
@pytest.mark.parametrize("surrogate", UNBIASED)
def test_the_hessians_of_dice_and_loaded_dice_are_exact(surrogate, baseline, kind):
    for seed in range(2):
        lab = LABS[kind](seed)
        assert hessian_error(lab, lab.random_params(seed), surrogate, baseline=baseline) < EXACT


def test_scores_second_derivative_of_a_softmax_table_is_zero_with_the_value_as_baseline():
    """∇² log π of a softmax of its own logits does not depend on the action, and E[A] = 0: silently first order."""
    for kind in ("discounted", "undiscounted", "ending"):
        lab = LABS[kind](0)
        θ = lab.random_params(0)
        assert Estimator(lab, "score", baseline="value").hessians(θ).mean.abs().max() < 1e-14
        assert hessian(lab.expected_return, θ).abs().max() > 0.01


def without_products_of_scores_of_different_steps(lab, θ, surrogate):
    """The Hessian that the docstrings promise, from state distributions dₜ in place of trajectories.

    Σₜ γᵗ E[∇² log π A]  for score,  Σₜ γᵗ E[(∇² log π + ∇log π ∇log πᵀ) A] = Σₜ γᵗ Σₛ dₜ(s) Σₐ ∇²π(a | s) A  for ratio
    """
    mdp, S = lab.mdp, lab.mdp.num_states

    def policy(θ):
        return lab.log_policy(lab.params(θ), torch.eye(S, dtype=torch.float64)).exp()

    π, V = policy(θ), lab.values(lab.params(θ))
    d, total = torch.eye(S, dtype=torch.float64)[0], 0
    for t in range(mdp.horizon):
        A = mdp.reward + mdp.discount * mdp.transition @ V[t + 1] - V[t, :, None]
        weight = mdp.discount**t * d[:, None] * A
        if surrogate == "score":
            total = total + hessian(lambda θ, w=weight: (w * π * policy(θ).log()).sum(), θ)
        else:
            total = total + hessian(lambda θ, w=weight: (w * policy(θ)).sum(), θ)
        d = torch.einsum("s,sa,san->n", d, π, mdp.transition)
    return total


@pytest.mark.parametrize("kind", LABS)
@pytest.mark.parametrize("surrogate", ["score", "ratio"])
def test_the_second_derivatives_of_score_and_ratio_are_those_documented(surrogate, kind):
    lab = LABS[kind](1)
    θ = lab.random_params(1)
    estimate = Estimator(lab, surrogate, baseline="value").hessians(θ).mean
    documented = without_products_of_scores_of_different_steps(lab, θ, surrogate)
    torch.testing.assert_close(estimate, documented, rtol=1e-10, atol=1e-13)


def test_of_a_network_scores_second_derivative_is_not_zero_and_still_wrong():
    for seed in range(3):
        lab = LABS["mlp"](seed)
        θ = lab.random_params(seed)
        assert Estimator(lab, "score", baseline="value").hessians(θ).mean.norm() > 1e-3
        assert hessian_error(lab, θ, "score", baseline="value") > 0.2


def test_ratio_is_exact_for_episodes_of_one_step_and_score_is_not():
    for seed in range(3):
        lab = Lab(random_mdp(seed, horizon=1))
        θ = lab.random_params(seed)
        assert hessian_error(lab, θ, "ratio", baseline="value") < EXACT
        assert hessian_error(lab, θ, "score", baseline="value") > 0.9


def test_hessian_errors_on_20_random_mdps():
    """Figures that the docstrings quote: medians of ‖E[estimate] − truth‖ / ‖truth‖."""
    errors = {key: [] for key in [("score", "value"), ("score", "none"), ("ratio", "value"), ("loaded_dice", "value")]}
    for seed in range(20):
        lab = Lab(random_mdp(seed))
        for (surrogate, baseline), found in errors.items():
            found.append(hessian_error(lab, lab.random_params(seed), surrogate, baseline=baseline))
    assert median(errors["score", "value"]) == pytest.approx(1, abs=1e-9)
    assert median(errors["score", "none"]) == pytest.approx(1.6, abs=0.05)
    assert median(errors["ratio", "value"]) == pytest.approx(0.27, abs=0.005)
    assert max(errors["loaded_dice", "value"]) < EXACT


# --- Baselines ---


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("episodes", [2, 3])
@pytest.mark.parametrize("surrogate", UNBIASED)
def test_the_mean_of_the_other_episodes_biases_nothing(surrogate, episodes, ends):
    lab = Lab(random_mdp(0, **SMALL, ends=ends))
    options = {"baseline": "others", "episodes": episodes}
    assert gradient_error(lab, lab.random_params(0), surrogate, **options) < EXACT
    assert hessian_error(lab, lab.random_params(0), surrogate, **options) < EXACT


def test_two_episodes_of_the_large_mdp_with_each_other_as_baseline():
    lab = Lab(random_mdp(0))
    for surrogate in UNBIASED:
        estimator = Estimator(lab, surrogate, baseline="others", episodes=2)
        assert len(estimator.experience.dynamics) == 72**2
        gradient, curvature = estimator.derivatives(lab.random_params(0))
        assert error(gradient.mean, jacobian(lab.expected_return, lab.random_params(0))) < EXACT
        assert error(curvature.mean, hessian(lab.expected_return, lab.random_params(0))) < EXACT


@pytest.mark.parametrize("episodes", [2, 3])
def test_the_mean_of_all_episodes_shrinks_by_one_in_b(episodes):
    """The gradient of every surrogate, and the Hessian of loaded_dice too; that of dice is bent besides."""
    lab = Lab(random_mdp(0, **SMALL))
    θ, shrunk = lab.random_params(0), 1 - 1 / episodes
    truth = hessian(lab.expected_return, θ)
    for surrogate in ALL:
        estimator = Estimator(lab, surrogate, baseline="time", episodes=episodes)
        gradient, curvature = (sampled.mean for sampled in estimator.derivatives(θ))
        assert error(gradient / shrunk, jacobian(lab.expected_return, θ)) < EXACT
        if surrogate == "loaded_dice":
            assert error(curvature / shrunk, truth) < EXACT
        else:
            assert cosine(curvature, truth) < 0.999


def test_where_episodes_end_the_mean_of_all_shrinks_late_steps_more():
    lab = Lab(random_mdp(4, **SMALL, ends=True))
    θ = lab.random_params(4)
    gradient = Estimator(lab, "loaded_dice", baseline="time", episodes=2).gradients(θ).mean
    assert cosine(gradient, jacobian(lab.expected_return, θ)) < 0.98


@pytest.mark.parametrize("surrogate", UNBIASED)
def test_generalised_advantages_of_an_exact_critic_bias_nothing_at_any_lambda(surrogate):
    for gae_lambda in (0.0, 0.5):
        lab = LABS["ending"](0)
        options = {"baseline": "value", "learner": {"gae_lambda": gae_lambda}}
        assert gradient_error(lab, lab.random_params(0), surrogate, **options) < EXACT
        assert hessian_error(lab, lab.random_params(0), surrogate, **options) < EXACT


def test_a_baseline_lowers_the_variance_of_every_derivative_of_loaded_dice_and_of_dices_gradient_alone():
    ratios = {key: [] for key in [("dice", 0), ("dice", 1), ("loaded_dice", 0), ("loaded_dice", 1)]}
    for seed in range(10):
        lab = Lab(random_mdp(seed))
        θ = lab.random_params(seed)
        for surrogate in UNBIASED:
            plain, better = (Estimator(lab, surrogate, baseline=b).derivatives(θ) for b in ("none", "value"))
            for order in (0, 1):
                ratios[surrogate, order].append((better[order].variance.sum() / plain[order].variance.sum()).item())
    assert ratios["dice", 0] == pytest.approx(ratios["loaded_dice", 0])
    assert median(ratios["loaded_dice", 0]) < 0.8
    assert median(ratios["loaded_dice", 1]) < 0.8 < median(ratios["dice", 1])


def test_variances_are_those_of_draws():
    """200 000 trajectories drawn by their probability: mean and variance within 5 standard errors."""
    lab = Lab(random_mdp(0))
    gradient = Estimator(lab, "dice").gradients(lab.random_params(0))
    drawn = torch.multinomial(gradient.probability, 200_000, True, generator=torch.Generator().manual_seed(0))
    x = gradient.value[drawn]
    assert ((x.mean(0) - gradient.mean).abs() < 5 * (gradient.variance / len(x)).sqrt() + 1e-12).all()
    torch.testing.assert_close(x.var(0), gradient.variance, rtol=0.03, atol=1e-12)


# --- What else biases ---


def test_a_mean_over_steps_is_the_mean_over_episodes_unless_their_lengths_vary():
    same, varying = LABS["discounted"](2), LABS["ending"](2)
    for lab in (same, varying):
        θ = lab.random_params(2)
        estimator = Estimator(lab, "loaded_dice", learner={"average": "steps"})
        gradient, truth = estimator.gradients(θ).mean, jacobian(lab.expected_return, θ)
        if lab is same:
            assert error(3 * gradient, truth) < EXACT
        else:
            assert cosine(gradient, truth) < 0.97


def test_without_weights_on_later_steps_the_gradient_is_not_that_of_the_discounted_return():
    lab = LABS["discounted"](0)
    assert gradient_error(lab, lab.random_params(0), "score", learner={"discount_steps": False}) > 0.01
    lab = LABS["undiscounted"](0)
    assert gradient_error(lab, lab.random_params(0), "score", learner={"discount_steps": False}) < EXACT


# --- DiCE's sum along the episode ---


def drawn_episodes(num, seed=0, **mdp):
    """A lab and `num` of its episodes, in parallel envs of one task."""
    lab = Lab(random_mdp(0, **mdp))
    chosen = torch.randint(len(lab.trajectories.dynamics), (num,), generator=torch.Generator().manual_seed(seed))
    fields = (torch.cat(field[chosen].unsqueeze(1).unbind(0), 2) for field in lab.trajectories.rollout.of_steps)
    return lab, Rollout(*fields, memory={})


def loss_derivatives(estimator, θ, rollout):
    """L, ∇L, ∇²L of a rollout of one task."""

    def loss(θ):
        return estimator.algo.loss(estimator.lab.params(θ), rollout)[0].sum()

    return loss(θ), jacobian(loss, θ), hessian(loss, θ)


def envs(rollout, index):
    return Rollout(*(field[:, :, index] for field in rollout.of_steps), memory={})


@pytest.mark.parametrize("num", [1, 20])
@pytest.mark.parametrize("surrogate", UNBIASED)
def test_the_hessian_of_many_episodes_is_the_mean_of_theirs_in_any_order(surrogate, num):
    lab, rollout = drawn_episodes(num, ends=True)
    θ, estimator = lab.random_params(0), Estimator(lab, surrogate)
    together = loss_derivatives(estimator, θ, rollout)
    singles = zip(*(loss_derivatives(estimator, θ, envs(rollout, [b])) for b in range(num)), strict=True)
    shuffled = envs(rollout, torch.randperm(num, generator=torch.Generator().manual_seed(1)))
    for whole, parts, other in zip(together, singles, loss_derivatives(estimator, θ, shuffled), strict=True):
        torch.testing.assert_close(whole, torch.stack(parts).mean(0), rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(whole, other, rtol=1e-12, atol=1e-13)


def one_after_another(rollout):
    """The same episodes in one env, without the gaps after those that ended early."""
    kept = rollout.alive[0].T.flatten()  # [B · T], episode by episode

    def line(x):  # [1, T, B, ...] → [1, alive steps, 1, ...]
        return x[0].transpose(0, 1).flatten(0, 1)[kept][None, :, None]

    observation = line(rollout.observation[:, :-1])
    last = torch.zeros_like(observation[:, :1])
    return Rollout(torch.cat([observation, last], 1), *(line(field) for field in rollout.of_steps[1:]), memory={})


@pytest.mark.parametrize("average", ["episodes", "steps"])
@pytest.mark.parametrize("surrogate", ALL)
def test_episodes_one_after_another_are_the_same_as_side_by_side(surrogate, average):
    lab, parallel = drawn_episodes(20, ends=True)
    serial = one_after_another(parallel)
    assert serial.alive.all() and serial.ended.sum() == 20 and serial.reward.shape[1] < 60
    θ, estimator = lab.random_params(0), Estimator(lab, surrogate, learner={"average": average})
    sides = (loss_derivatives(estimator, θ, rollout) for rollout in (parallel, serial))
    for one, other in zip(*sides, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


def test_a_sum_that_runs_across_episodes_would_be_seen():
    lab, parallel = drawn_episodes(20)
    serial = one_after_another(parallel)
    θ, estimator = lab.random_params(0), Estimator(lab, "dice")
    learner = estimator.algo.learner

    def loss(θ, ended):
        output = estimator.algo.output(lab.params(θ), serial)
        log_prob = learner.log_prob(output, serial)
        returns, baseline = learner.returns_and_baseline(output, serial)
        weights = discount_weights(serial.ended, discount=0.9, dtype=torch.float64)
        return -(weights * learner.surrogate(log_prob, log_prob.detach(), returns, baseline, ended)).sum() / 20

    right, wrong = (hessian(lambda θ, e=e: loss(θ, e), θ) for e in (serial.ended, torch.zeros_like(serial.ended)))
    torch.testing.assert_close(right, loss_derivatives(estimator, θ, parallel)[2], rtol=1e-12, atol=1e-13)
    assert error(wrong, right) > 0.35


# --- Normalisation, and surrogates that are functions ---


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("baseline", ["none", "time", "others", "value"])
@pytest.mark.parametrize("surrogate", ALL)
def test_the_surrogate_evaluated_twice_on_the_same_data_is_the_same_number(surrogate, baseline, standardise):
    lab, rollout = drawn_episodes(5, ends=True)
    _, others = drawn_episodes(5, seed=1, ends=True)
    params = lab.params(lab.random_params(0))
    algo = Estimator(lab, surrogate, baseline=baseline, learner={"standardise": standardise}).algo
    behaviour = algo.learner.behaviour(algo.output(lab.params(lab.random_params(1)), rollout))
    first = algo.loss(params, rollout, behaviour)[0]
    algo.loss(lab.params(lab.random_params(2)), others)  # nothing of it is kept
    assert torch.equal(algo.loss(params, rollout, behaviour)[0], first)


def test_with_normalised_advantages_a_step_does_not_depend_on_the_unit_of_the_reward():
    """With it off the inner step grows with the reward, as the truth's does."""
    lab, rollout = drawn_episodes(5)
    θ, large = lab.random_params(0), rollout._replace(reward=10 * rollout.reward)
    for standardise, growth in ((True, 1), (False, 10)):
        estimator = Estimator(lab, "loaded_dice", baseline="time", learner={"standardise": standardise})
        small_step, large_step = (loss_derivatives(estimator, θ, r)[1] for r in (rollout, large))
        torch.testing.assert_close(large_step, growth * small_step, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("baseline", ["none", "time"])
def test_normalised_advantages_bias_the_gradients_direction(baseline):
    lab = Lab(random_mdp(0, **SMALL))
    θ = lab.random_params(0)
    truth = jacobian(lab.expected_return, θ)
    off, on = (
        Estimator(lab, "loaded_dice", baseline=baseline, episodes=2, learner={"standardise": s}).gradients(θ).mean
        for s in (False, True)
    )
    assert cosine(off, truth) == pytest.approx(1, abs=1e-12)
    assert cosine(on, truth) < 0.99


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("surrogate", ALL)
def test_a_learned_baseline_is_a_constant_of_the_surrogate(surrogate, standardise):
    network = Table(num_inputs=2, heads={"policy": 2, "value": 1}, initial_value=0.0)
    lab = Lab(random_mdp(0, **SMALL, ends=True), network)
    estimator = Estimator(lab, surrogate, baseline="critic", learner={"standardise": standardise})
    gradient, curvature = (sampled.value for sampled in estimator.derivatives(lab.random_params(0)))
    assert (gradient[:, 4:] == 0).all() and (curvature[:, 4:] == 0).all()
    assert gradient[:, :4].abs().max() > 0.1


# --- The command ---


@pytest.fixture
def command():
    path = Path(__file__).parents[2] / "scripts" / "studies" / "estimators.py"
    spec = importlib.util.spec_from_file_location("estimators_command", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_prints_a_table_and_writes_its_rows(command, tmp_path, capsys):
    file = tmp_path / "new" / "rows.json"
    assert command.main(["--mdps", "1", "--seed", "3", "--json", str(file)]) == 0
    rows = json.loads(file.read_text())
    printed = capsys.readouterr().out
    assert all(row[name] in printed for row in rows for name in ("policy", "estimator", "quantity"))
    errors = {(row["policy"], row["estimator"], row["quantity"]): row["relative_error"] for row in rows}
    moved = {(row["policy"], row["estimator"], row["quantity"]): row["from_fomaml_median"] for row in rows}
    assert len(errors) == len(rows)
    for policy in ("table", "mlp", "mlp_initial"):
        for surrogate in ALL:
            assert errors[policy, surrogate, "gradient"] < EXACT
        for surrogate in UNBIASED:
            assert errors[policy, surrogate, "hessian"] < EXACT and errors[policy, surrogate, "meta_gradient"] < EXACT
        for surrogate in ("score", "ratio"):
            assert errors[policy, surrogate, "hessian"] > 0.01 and errors[policy, surrogate, "meta_gradient"] > 0.001
        for surrogate in ALL:  # MAML as it runs is biased whatever the surrogate; E-MAML is not
            for quantity in ("sampled_meta_gradient", "sampled_meta_gradient_2"):
                assert errors[policy, f"maml_{surrogate}", quantity] > 1e-3
        assert errors[policy, "e_maml", "sampled_meta_gradient"] < EXACT
    assert moved["table", "score", "meta_gradient"] < EXACT
    assert min(moved[policy, "score", "meta_gradient"] for policy in ("mlp", "mlp_initial")) > 0.01
    two = [row["variance_median"] for row in rows if row["quantity"] == "sampled_meta_gradient_2"]
    others = [row["variance_median"] for row in rows if row["quantity"] != "sampled_meta_gradient_2"]
    assert set(two) == {None} and min(others) > 0 and {row["mdps"] for row in rows} == {1}


@pytest.mark.parametrize("arguments", [["--mdps", "0"], ["--mdps", "many"], ["--seed", "-1"], ["--json", "/"], ["--x"]])
def test_the_command_refuses_what_it_cannot_do(command, arguments, capsys):
    with pytest.raises(SystemExit) as left:
        command.main(arguments)
    assert left.value.code == 2
    assert "error:" in capsys.readouterr().err
