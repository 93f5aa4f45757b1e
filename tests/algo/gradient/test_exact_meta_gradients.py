"""Whole meta-gradients against the truth, by enumeration, and training's code against enumeration."""

from dataclasses import replace
from statistics import median

import pytest
import torch
from exact_lab import Estimator, Lab, random_mdp, tanh_mlp
from recorded import Recorder

from metarl_run.env.random_mdp import RandomMDP, RandomMDPTask
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.lifetime import live
from metarl_run.network.mlp import MLP
from metarl_run.network.table import Table

UNBIASED = ("dice", "loaded_dice")
SMALL = {"num_states": 2, "horizon": 2}
EXACT = 1e-10
DEFAULT = {"discount_steps": False, "standardise": True, "average": "steps"}  # as in conf/learner/reinforce.yaml


def error(estimate, truth):
    return ((estimate - truth).norm() / truth.norm()).item()


def cosine(x, y):
    return ((x * y).sum() / (x.norm() * y.norm())).item()


def table(seed, **mdp):
    return Lab(random_mdp(seed, **mdp))


def mlp(seed, **mdp):
    return Lab(random_mdp(seed, **mdp), MLP(num_inputs=3, heads={"policy": 2}, hidden=[2], activation="tanh"))


def finite_differences(f, θ, ε=1e-5):
    steps = ε * torch.eye(len(θ), dtype=torch.float64)
    ends = [[f((θ + sign * step).requires_grad_()).item() for sign in (1, -1)] for step in steps]
    return torch.tensor([(up - down) / (2 * ε) for up, down in ends], dtype=torch.float64)


# --- Infinitely many episodes to adapt to: the Hessian through K steps ---


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_exact_meta_gradient_is_what_finite_differences_say(steps):
    lab = table(0)
    θ, J = lab.random_params(0), lab.expected_return

    def adapted_return(θ):
        return J(lab.adapted(θ, J, steps=steps))

    exact = lab.meta_gradient(θ, J, steps=steps)
    torch.testing.assert_close(exact, finite_differences(adapted_return, θ), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", [table, mlp])
@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("surrogate", UNBIASED)
def test_the_meta_gradients_of_dice_and_loaded_dice_are_exact(surrogate, steps, ends, kind):
    for seed, baseline in ((0, "none"), (1, "value")):
        lab = kind(seed, ends=ends)
        θ = lab.random_params(seed)
        estimate = lab.meta_gradient(θ, Estimator(lab, surrogate, baseline=baseline).expected_gain, steps=steps)
        assert error(estimate, lab.meta_gradient(θ, lab.expected_return, steps=steps)) < EXACT


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_maml_with_score_is_first_order_maml_for_a_softmax_table(steps):
    for seed in range(3):
        lab = table(seed)
        θ, gain = lab.random_params(seed), Estimator(lab, "score", baseline="value").expected_gain
        second, first = (lab.meta_gradient(θ, gain, steps=steps, first_order=f) for f in (False, True))
        torch.testing.assert_close(second, first, rtol=1e-12, atol=1e-13)
        truth = lab.meta_gradient(θ, lab.expected_return, steps=steps)
        assert error(lab.meta_gradient(θ, lab.expected_return, steps=steps, first_order=True), truth) > 0.01
        torch.testing.assert_close(first, lab.meta_gradient(θ, lab.expected_return, steps=steps, first_order=True))


def test_for_a_network_it_is_neither_that_nor_exact():
    for seed in range(3):
        lab = mlp(seed)
        θ, gain = lab.random_params(seed), Estimator(lab, "score", baseline="value").expected_gain
        second, first = (lab.meta_gradient(θ, gain, first_order=f) for f in (False, True))
        assert error(second, first) > 1e-3
        assert error(second, lab.meta_gradient(θ, lab.expected_return)) > 1e-2


def test_meta_gradient_errors_on_20_random_mdps():
    """Figures that the docstrings quote: medians, one step of size ½."""
    errors = {key: [] for key in [("score", "value"), ("score", "none"), ("ratio", "value"), ("loaded_dice", "value")]}
    for seed in range(20):
        lab = table(seed)
        θ = lab.random_params(seed)
        truth = lab.meta_gradient(θ, lab.expected_return)
        for (surrogate, baseline), found in errors.items():
            estimate = lab.meta_gradient(θ, Estimator(lab, surrogate, baseline=baseline).expected_gain)
            found.append(error(estimate, truth))
    assert median(errors["score", "value"]) == pytest.approx(0.1, abs=0.002)
    assert median(errors["score", "none"]) == pytest.approx(0.15, abs=0.005)
    assert median(errors["ratio", "value"]) == pytest.approx(0.03, abs=0.001)
    assert max(errors["loaded_dice", "value"]) < EXACT


@pytest.mark.parametrize(
    ("start", "score", "first_order", "apart"), [("random", 0.49, 0.53, 0.11), ("initial", 0.080, 0.29, 0.23)]
)
def test_for_a_network_score_is_apart_from_first_order_maml_by_this_much(start, score, first_order, apart):
    """Figures that the docstrings quote: medians over 20 random MDPs, 8 tanh units, one step of size ½."""
    found = {"score": [], "first_order": [], "apart": []}
    for seed in range(20):
        lab = Lab(random_mdp(seed), tanh_mlp([8]))
        θ = lab.random_params(seed) if start == "random" else lab.initial_params(seed)
        truth, gain = lab.meta_gradient(θ, lab.expected_return), Estimator(lab, "score", baseline="value").expected_gain
        second, first = (lab.meta_gradient(θ, gain, first_order=f) for f in (False, True))
        found["score"].append(error(second, truth))
        found["first_order"].append(error(first, truth))
        found["apart"].append(((second - first).norm() / truth.norm()).item())
    assert median(found["score"]) == pytest.approx(score, rel=0.02)
    assert median(found["first_order"]) == pytest.approx(first_order, rel=0.02)
    assert median(found["apart"]) == pytest.approx(apart, rel=0.04)


def test_ratio_is_exact_for_episodes_of_one_step():
    for seed in range(3):
        lab = table(seed, horizon=1)
        θ = lab.random_params(seed)
        estimate = lab.meta_gradient(θ, Estimator(lab, "ratio").expected_gain, steps=3)
        assert error(estimate, lab.meta_gradient(θ, lab.expected_return, steps=3)) < EXACT


# --- Finitely many episodes to adapt to: the sampling term ---


@pytest.mark.parametrize(
    ("lab", "steps", "episodes"), [(table(0), 1, 1), (table(0, **SMALL), 2, 1), (table(0, **SMALL), 1, 2)]
)
def test_the_true_meta_gradient_of_finitely_many_episodes_is_what_finite_differences_say(lab, steps, episodes):
    θ = lab.random_params(0)
    maml = Estimator(lab, "score", steps=steps, episodes=episodes)
    differences = finite_differences(maml.return_after_adaptation, θ)
    torch.testing.assert_close(maml.true_meta_gradient(θ), differences, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("baseline", ["none", "value"])
@pytest.mark.parametrize("ends", [False, True])
def test_with_the_sampling_term_the_meta_gradient_is_exact(ends, baseline):
    for seed in range(2):
        lab = table(seed, ends=ends)
        θ = lab.random_params(seed)
        truth = Estimator(lab, "score", baseline=baseline).true_meta_gradient(θ)
        e_maml, maml = (Estimator(lab, "score", baseline=baseline, sampling_correction=on) for on in (True, False))
        assert error(e_maml.meta_gradients(θ).mean, truth) < EXACT
        assert error(maml.meta_gradients(θ).mean, truth) > 1e-3


@pytest.mark.parametrize(
    "options", [{"steps": 2}, {"steps": 3}, {"episodes": 2}, {"episodes": 2, "baseline": "others"}]
)
@pytest.mark.parametrize("ends", [False, True])
def test_through_several_steps_and_with_several_episodes(ends, options):
    lab = table(0, num_states=2 if options.get("steps") != 3 or not ends else 1, horizon=2, ends=ends)
    θ = lab.random_params(0)
    truth = Estimator(lab, "score", **options).true_meta_gradient(θ)
    assert error(Estimator(lab, "score", **options, sampling_correction=True).meta_gradients(θ).mean, truth) < EXACT
    assert error(Estimator(lab, "score", **options).meta_gradients(θ).mean, truth) > 1e-3


@pytest.mark.parametrize("surrogate", ["ratio", "dice", "loaded_dice"])
def test_the_sampling_term_is_exact_whatever_the_surrogate(surrogate):
    """Inner steps use score then: another's second derivative would count the term twice."""
    lab = table(0)
    θ = lab.random_params(0)
    truth = Estimator(lab, "score").true_meta_gradient(θ)
    assert error(Estimator(lab, surrogate, sampling_correction=True).meta_gradients(θ).mean, truth) < EXACT


@pytest.mark.parametrize("episodes", [1, 2])
def test_the_sampling_term_holds_the_return_where_each_step_pays_1_and_episodes_end(episodes):
    """With average=steps, as by default, over each task's own steps every return would be 1 and the term nothing.

    Shared constants make the meta-gradient exact, over T = 2 steps of each episode.
    """
    mdp = random_mdp(3, num_states=1, horizon=2, ends=True)
    lab = Lab(replace(mdp, reward=torch.ones_like(mdp.reward)))
    θ = lab.random_params(3)
    options = {"learner": {"average": "steps"}, "episodes": episodes}
    truth = Estimator(lab, "score", **options).true_meta_gradient(θ) / lab.mdp.horizon
    e_maml, maml = (
        Estimator(lab, "score", **options, sampling_correction=on).meta_gradients(θ).mean for on in (True, False)
    )
    assert (e_maml - maml).norm() > 0.02 * truth.norm()
    assert error(e_maml, truth) < EXACT


@pytest.mark.parametrize("baseline", ["time", "others"])
@pytest.mark.parametrize("ends", [False, True])
def test_the_sampling_term_is_exact_with_the_default_learner(ends, baseline):
    """Whatever normalises a task's update; the query gradient beside it has the learner's own biases."""
    for seed in range(2):
        lab = Lab(random_mdp(seed, num_states=2, horizon=2, ends=ends, discount=1.0))
        θ = lab.random_params(seed)
        options = {"learner": DEFAULT | {"discount": 0.99}, "episodes": 2, "baseline": baseline}
        e_maml, maml = (Estimator(lab, "score", **options, sampling_correction=on) for on in (True, False))
        found = e_maml.meta_gradients(θ, of_many=True).mean - maml.meta_gradients(θ, of_many=True).mean
        truth = maml.true_sampling_term(θ)
        σ = (truth @ truth) / (found @ truth) / lab.mdp.horizon
        assert 0.1 < σ < 10  # the one standard deviation of all tasks' advantages
        assert error(found * lab.mdp.horizon * σ, truth) < EXACT
        assert truth.norm() > 1e-4


def test_the_mean_of_other_tasks_as_baseline_of_the_sampling_term_biases_nothing():
    """All pairs of tasks that may make up a meta-batch: the same mean as with one task, and less variance."""
    lab = table(0, **SMALL)
    θ = lab.random_params(0)
    e_maml = Estimator(lab, "score", sampling_correction=True)
    one, two = e_maml.meta_gradients(θ), e_maml.meta_gradients(θ, tasks=2)
    assert len(two.value) == len(one.value) ** 2
    assert error(two.mean, e_maml.true_meta_gradient(θ)) < EXACT
    assert two.variance.sum() < one.variance.sum() / 2 * 1.5


def test_without_the_term_the_meta_gradient_misses_by_this_much():
    """Figures that the docstrings quote: medians over 20 random MDPs, one step of size ½, one episode to adapt to."""
    errors, cosines = [], []
    for seed in range(20):
        lab = table(seed)
        θ, maml = lab.random_params(seed), Estimator(lab, "score", baseline="value")
        estimate, truth = maml.meta_gradients(θ).mean, maml.true_meta_gradient(θ)
        errors.append(error(estimate, truth))
        cosines.append(cosine(estimate, truth))
    assert median(errors) == pytest.approx(0.093, abs=0.001)
    assert median(cosines) == pytest.approx(0.999, abs=0.0003)


@pytest.mark.parametrize("surrogate", ["score", "ratio", "dice", "loaded_dice"])
@pytest.mark.parametrize("first_order", [False, True])
def test_the_mean_without_listed_queries_is_that_of_all_lifetimes(surrogate, first_order):
    for lab in (table(0), Lab(random_mdp(0), tanh_mlp([2]))):
        maml = Estimator(lab, surrogate, baseline="value", first_order=first_order)
        θ = lab.random_params(0)
        torch.testing.assert_close(maml.expected_meta_gradient(θ), maml.meta_gradients(θ).mean, rtol=1e-9, atol=1e-12)


def test_the_network_of_plain_operations_is_the_packages_own():
    plain, own = Lab(random_mdp(0), tanh_mlp([2])), mlp(0)
    θ = own.random_params(0)
    one, other = (Estimator(lab, "loaded_dice", baseline="value").hessians(θ).value for lab in (plain, own))
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_more_episodes_to_adapt_to_bring_dice_nearer_and_leave_score_where_it_is():
    for seed in (3, 4, 5):
        lab = table(seed, num_states=1, horizon=1)
        θ = lab.random_params(seed)
        errors = {"score": [], "dice": []}
        for episodes in (1, 2, 6):
            truth = Estimator(lab, "score", episodes=episodes).true_meta_gradient(θ)
            for surrogate, found in errors.items():
                found.append(error(Estimator(lab, surrogate, episodes=episodes).meta_gradients(θ).mean, truth))
        assert errors["dice"][0] > 1.5 * errors["dice"][1] > 3 * errors["dice"][2]
        assert min(errors["score"]) > 0.75 * max(errors["score"]) > 0.04


# --- The code that trains, on drawn tasks in float32, against enumeration ---

BATCHES, TASKS = 25, 800


def trained(lab, θ, *, seed=0, **options):
    """Meta-gradients, negated, of meta-updates on batches of tasks that all are the lab's MDP: `[BATCHES, P]`."""
    S, A = lab.mdp.num_states, lab.mdp.num_actions
    unused = {"mean_reward": 0.0, "concentration": 1.0}  # no task is drawn from them
    family = RandomMDP(
        horizon=lab.mdp.horizon,
        num_states=S,
        num_actions=A,
        reward_deviation=0.0,
        meta_train=unused,
        meta_test=unused,
    )
    task = RandomMDPTask(
        transition=lab.mdp.transition.float().expand(TASKS, S, A, S).contiguous(),
        mean_reward=lab.mdp.reward.float().expand(TASKS, S, A).contiguous(),
    )
    recorder = Recorder()
    maml = Estimator(lab, **options, meta_params=lab.params(θ.float().clone()), meta_optimizer=recorder).algo
    dynamics, actions = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1)
    gradients = []
    for _ in range(BATCHES):
        env = TaskVectorEnv(family, task, episodes_per_task=options.get("episodes", 1), generator=dynamics)
        maml.meta_update(lambda steps, env=env: live(maml, env, actions, adaptation_steps=steps))
        gradients.append(-torch.cat([g.flatten() for g in recorder.gradients.values()]))
    assert gradients[0].dtype == torch.float32
    return torch.stack(gradients).double()


def standard_errors_off(batches, expected):
    """The largest distance of the mean from `expected` over parameters, in standard errors."""
    return ((batches.mean(0) - expected).abs() / (batches.std(0) / BATCHES**0.5)).max().item()


KINDS = {
    "score": {"surrogate": "score"},
    "e_maml": {"surrogate": "score", "sampling_correction": True},
    "ratio": {"surrogate": "ratio"},
    "dice": {"surrogate": "dice"},
}


def test_training_follows_the_expectation_of_its_own_estimator_and_of_no_other():
    """One episode to adapt to and one to learn from, in an MDP where the estimators differ much."""
    lab = table(13)
    θ = lab.random_params(13)
    exact = {kind: Estimator(lab, **options).meta_gradients(θ) for kind, options in KINDS.items()}
    for kind, options in KINDS.items():
        batches = trained(lab, θ, **options)
        for other, sampled in exact.items():
            off = standard_errors_off(batches, sampled.mean)
            assert off < 4.5 if other == kind else off > 6, (kind, other, off)
        if kind != "e_maml":  # its baseline makes the tasks of a batch dependent
            ratio = batches.var(0).sum() * TASKS / exact[kind].variance.sum()
            assert ratio.item() == pytest.approx(1, abs=0.6)


WITH_VALUES = Table(num_inputs=2, heads={"policy": 2, "value": 1}, initial_value=0.0)


@pytest.mark.parametrize(
    "options",
    [
        {"surrogate": "loaded_dice", "baseline": "others", "episodes": 2},
        {"surrogate": "dice", "baseline": "time", "episodes": 2},
        {"surrogate": "score", "baseline": "others", "episodes": 2, "sampling_correction": True},
        {"surrogate": "score", "baseline": "time", "episodes": 2, "learner": DEFAULT},
        {"surrogate": "score", "baseline": "time", "episodes": 2, "learner": DEFAULT, "first_order": True},
        {"surrogate": "loaded_dice", "steps": 2},
        {"surrogate": "score", "steps": 2, "sampling_correction": True},
        {"surrogate": "loaded_dice", "baseline": "critic", "learner": {"value_weight": 0.5, "entropy_weight": 0.1}},
    ],
    ids=lambda options: "-".join(str(value) for value in options.values() if not isinstance(value, dict)),
)
def test_training_follows_the_expectation_of_what_is_configured(options):
    critic = options.get("baseline") == "critic"
    lab = Lab(random_mdp(1, **SMALL), WITH_VALUES if critic else None)
    θ = lab.random_params(1)
    batches = trained(lab, θ, **options)
    expected = Estimator(lab, **options).meta_gradients(θ, of_many=not options.get("sampling_correction")).mean
    assert standard_errors_off(batches, expected) < 4.5
    plain = Estimator(lab, "score", baseline="critic" if critic else "none", steps=options.get("steps", 1))
    assert standard_errors_off(batches, plain.meta_gradients(θ).mean) > 6
