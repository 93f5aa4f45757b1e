"""Action distributions against torch, scipy and quadrature, and sampling against the probabilities."""

import math

import gymnasium
import numpy as np
import pytest
import scipy
import torch

from metarl_run.maths.distributions import Categorical, Distribution, Gaussian, Uniform, empty_actions, sampling_noise

SPACE = gymnasium.spaces.Discrete(4)
N = 200_000
CPU = torch.device("cpu")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normals(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=seeded(seed))


def gaussian(*shape, seed=0):
    return Gaussian(normals(*shape, seed=seed), 0.5 * normals(*shape, seed=seed + 100))


def uniform(*shape, seed=0):
    low = normals(*shape, seed=seed)
    return Uniform(low, low + normals(*shape, seed=seed + 100).abs() + 0.1)


def box(*shape):
    return gymnasium.spaces.Box(-1, 1, shape)


def scipy_of(one: Gaussian):
    """The same distribution of one place, as scipy has it."""
    return scipy.stats.multivariate_normal(one.mean.numpy(), np.diag((2 * one.log_deviation).exp().numpy()))


def density(distribution, *x):
    return distribution.log_prob(torch.tensor(x, dtype=torch.float64)).exp().item()


# --- Categorical ---


def test_log_prob_and_entropy_agree_with_torch():
    logits = torch.randn(5, 3, 4, generator=seeded())
    action = torch.randint(4, (5, 3), generator=seeded(1))
    ours, reference = Categorical(logits), torch.distributions.Categorical(logits=logits)
    torch.testing.assert_close(ours.log_prob(action), reference.log_prob(action))
    torch.testing.assert_close(ours.entropy(), reference.entropy())


def test_samples_follow_the_probabilities():
    logits = torch.tensor([0.0, 1.0, -1.0, -torch.inf])
    noise = sampling_noise(SPACE, (N,), seeded())
    counts = Categorical(logits).sample(noise).bincount(minlength=4) / N
    torch.testing.assert_close(counts, logits.softmax(-1), atol=4 * (0.25 / N) ** 0.5, rtol=0)
    assert counts[3] == 0


def test_the_divergence_of_categoricals_is_scipys_relative_entropy():
    one, other = normals(5, 3, 4), normals(5, 3, 4, seed=1)
    expected = scipy.stats.entropy(one.softmax(-1).numpy(), other.softmax(-1).numpy(), axis=-1)
    np.testing.assert_allclose(Categorical(one).kl(Categorical(other)).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("p", "q", "expected"),
    [
        ([0.5, 0.5, 0.0], [0.25, 0.5, 0.25], 0.5 * math.log(2)),
        ([0.5, 0.5, 0.0], [0.25, 0.75, 0.0], 0.5 * math.log(2) + 0.5 * math.log(2 / 3)),
        ([0.0, 1.0, 0.0], [0.25, 0.5, 0.25], math.log(2)),
        ([0.0, 1.0, 0.0], [0.0, 1.0, 0.0], 0.0),
        ([0.25, 0.5, 0.25], [0.5, 0.5, 0.0], math.inf),
    ],
)
def test_what_cannot_happen_adds_nothing_to_a_divergence(p, q, expected):
    one, other = (Categorical(torch.tensor(x, dtype=torch.float64).log()) for x in (p, q))
    assert one.kl(other).item() == pytest.approx(expected, abs=1e-15)
    assert one.entropy().item() == pytest.approx(scipy.stats.entropy(p), abs=1e-15)


def test_what_cannot_happen_puts_no_nan_into_gradients():
    p, q = torch.tensor([0.5, 0.5, 0.0]).log().requires_grad_(), torch.tensor([0.25, 0.75, 0.0]).log().requires_grad_()
    total = Categorical(p).kl(Categorical(q)) + Categorical(p).entropy()
    gradients = torch.autograd.grad(total, [p, q])
    # ∂KL/∂qᵢ = other(i) − π(i); ∂KL/∂pᵢ = π(i) (log π(i)/other(i) − KL), and H is flat where π is uniform.
    torch.testing.assert_close(gradients[1], torch.tensor([-0.25, 0.25, 0.0]))
    torch.testing.assert_close(gradients[0], torch.tensor([0.25, -0.25, 0.0]) * math.log(3))


# --- Gaussian ---


@pytest.mark.parametrize("d", [1, 2, 3, 7])
def test_log_prob_is_the_joint_density_of_scipy_not_a_mean_over_dimensions(d):
    one, action = gaussian(5, 3, d), normals(5, 3, d, seed=9)
    for index in np.ndindex(5, 3):
        reference = scipy_of(Gaussian(one.mean[index], one.log_deviation[index]))
        assert one.log_prob(action)[index].item() == pytest.approx(reference.logpdf(action[index].numpy()), rel=1e-12)
        assert one.entropy()[index].item() == pytest.approx(reference.entropy(), rel=1e-12)


def test_the_ratio_of_two_gaussians_is_the_product_over_dimensions():
    """By hand: unit deviations, means 0 and m, action a: log ratio = Σ aᵢ mᵢ − ½ mᵢ²."""
    zero = torch.zeros(2, dtype=torch.float64)
    action, mean = torch.tensor([1.0, 0.5], dtype=torch.float64), torch.tensor([0.5, 1.0], dtype=torch.float64)
    ratio = (Gaussian(mean, zero).log_prob(action) - Gaussian(zero, zero).log_prob(action)).exp()
    assert ratio.item() == pytest.approx(math.exp(0.5 - 0.125 + 0.5 - 0.5))


def test_densities_integrate_to_one():
    line, plane = gaussian(1, seed=3), gaussian(2, seed=4)
    assert scipy.integrate.quad(lambda x: density(line, x), -20, 20, points=[line.mean.item()])[0] == pytest.approx(1)
    reach = [(m - 10 * s, m + 10 * s) for m, s in zip(plane.mean, plane.log_deviation.exp(), strict=True)]
    x, y = (torch.linspace(*map(float, ends), 401, dtype=torch.float64) for ends in reach)
    values = plane.log_prob(torch.cartesian_prod(x, y)).exp().view(401, 401)
    assert torch.trapezoid(torch.trapezoid(values, y), x).item() == pytest.approx(1, abs=1e-9)


def test_the_divergence_of_gaussians_is_that_of_quadrature():
    one, other = gaussian(4, 1), gaussian(4, 1, seed=1)
    for i, kl in enumerate(one.kl(other)):
        p, q = (scipy.stats.norm(g.mean[i].item(), g.log_deviation[i].exp().item()) for g in (one, other))
        expected, _ = scipy.integrate.quad(
            lambda x, p=p, q=q: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), -12, 12, limit=200
        )
        assert kl.item() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("d", [1, 3])
def test_the_divergence_of_gaussians_is_that_of_full_covariance_matrices(d):
    """KL = ½ [tr(Σ₂⁻¹ Σ₁) + (μ₂ − μ₁)ᵀ Σ₂⁻¹ (μ₂ − μ₁) − d + log det Σ₂ / det Σ₁]."""
    one, other = gaussian(5, d), gaussian(5, d, seed=1)
    for i, kl in enumerate(one.kl(other)):
        m1, m2 = one.mean[i].numpy(), other.mean[i].numpy()
        S1, S2 = (np.diag((2 * g.log_deviation[i]).exp().numpy()) for g in (one, other))
        inverse = np.linalg.inv(S2)
        spread = np.trace(inverse @ S1) - d + np.log(np.linalg.det(S2) / np.linalg.det(S1))
        assert kl.item() == pytest.approx(0.5 * (spread + (m2 - m1) @ inverse @ (m2 - m1)), rel=1e-12)


def test_the_divergence_from_itself_is_zero_and_flat_and_its_curvature_is_the_fisher_information():
    """For (μ, log σ) of one Gaussian: the Fisher information is diag(1/σ², 2)."""
    parameters = torch.tensor([0.3, -0.7], dtype=torch.float64)

    def kl(p):
        return Gaussian(parameters[:1], parameters[1:]).kl(Gaussian(p[:1], p[1:]))

    assert kl(parameters) == 0
    assert not torch.autograd.functional.jacobian(kl, parameters).any()
    expected = torch.diag(torch.tensor([math.exp(1.4), 2.0], dtype=torch.float64))
    torch.testing.assert_close(torch.autograd.functional.hessian(kl, parameters), expected)


def test_samples_of_a_gaussian_have_its_moments():
    one = Gaussian(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0]).log())
    x = one.sample(sampling_noise(box(2), (N,), seeded())).double()
    for i, (mean, deviation) in enumerate([(1.0, 0.5), (-2.0, 3.0)]):
        assert scipy.stats.kstest(x[:, i].numpy(), scipy.stats.norm(mean, deviation).cdf).pvalue > 1e-3
        assert x[:, i].mean().item() == pytest.approx(mean, abs=5 * deviation / N**0.5)
        assert x[:, i].std().item() == pytest.approx(deviation, abs=5 * deviation / (2 * N) ** 0.5)
    assert abs(x.T.corrcoef()[0, 1]) < 5 / N**0.5
    assert -one.log_prob(x).mean().item() == pytest.approx(one.entropy().item(), abs=5 / N**0.5)


# --- Uniform ---


@pytest.mark.parametrize("d", [1, 2, 5])
def test_a_uniform_is_scipys_in_the_box_and_nothing_outside(d):
    one = uniform(5, 3, d)
    reference = scipy.stats.uniform(one.low.numpy(), (one.high - one.low).numpy())
    action = torch.lerp(one.low, one.high, torch.rand(5, 3, d, dtype=torch.float64, generator=seeded(9)))
    np.testing.assert_allclose(one.log_prob(action).numpy(), reference.logpdf(action.numpy()).sum(-1), rtol=1e-12)
    np.testing.assert_allclose(one.entropy().numpy(), reference.entropy().sum(-1), rtol=1e-12)
    for outside in (one.low - 0.01, one.high + 0.01):
        beyond = torch.cat([outside[..., :1], action[..., 1:]], -1)  # one dimension is enough
        assert (one.log_prob(beyond) == -torch.inf).all()
    assert torch.equal(one.log_prob(one.low), one.log_prob(one.high))


def test_a_uniform_integrates_to_one_and_diverges_as_quadrature_says():
    one, wide = (Uniform(*torch.tensor(b, dtype=torch.float64).view(2, 1)) for b in ([-1.0, 2.0], [-3.0, 2.5]))
    assert scipy.integrate.quad(lambda x: density(one, x), -2, 3, points=[-1, 2])[0] == pytest.approx(1)
    expected, _ = scipy.integrate.quad(lambda x: density(one, x) * math.log(density(one, x) / density(wide, x)), -1, 2)
    assert one.kl(wide).item() == pytest.approx(expected)
    assert one.kl(one).item() == 0 and wide.kl(one).item() == math.inf


def test_samples_of_a_uniform_fill_its_box_evenly():
    one = Uniform(torch.tensor([-0.1, 2.0]), torch.tensor([0.1, 5.0]))
    x = one.sample(sampling_noise(box(2), (N,), seeded()))
    assert (one.log_prob(x) > -torch.inf).all()
    for i, (low, width) in enumerate([(-0.1, 0.2), (2.0, 3.0)]):
        assert scipy.stats.kstest(x[:, i].double().numpy(), scipy.stats.uniform(low, width).cdf).pvalue > 1e-3
    assert abs(x.T.corrcoef()[0, 1]) < 5 / N**0.5
    extreme = one.sample(torch.tensor([[-40.0, -40.0], [40.0, 40.0]]))
    assert torch.equal(extreme, torch.stack(one))


# --- All of them ---


@pytest.mark.parametrize("lead", [(), (5,), (2, 3, 4)])
@pytest.mark.parametrize("d", [1, 3])
def test_leading_axes_are_carried_along(lead, d):
    kinds = [
        (SPACE, Categorical(normals(*lead, 4).float()), lead),
        (box(d), Gaussian(normals(*lead, d).float(), torch.zeros(d).expand(*lead, d)), (*lead, d)),
        (box(d), Gaussian(normals(*lead, d).float(), torch.zeros(d)), (*lead, d)),
        (box(d), Uniform(torch.zeros(*lead, d), torch.ones(*lead, d)), (*lead, d)),
    ]
    for space, distribution, action_shape in kinds:
        assert isinstance(distribution, Distribution)
        action = distribution.sample(sampling_noise(space, lead, seeded()))
        room = empty_actions(space, lead, CPU)
        assert (action.shape, action.dtype) == (room.shape, room.dtype) and action.shape == action_shape
        for value in (distribution.log_prob(action), distribution.entropy(), distribution.kl(distribution)):
            assert value.shape == lead


@pytest.mark.parametrize("space", [SPACE, box(2)], ids=str)
def test_noise_comes_from_the_generator_alone(space):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again = (sampling_noise(space, (7,), seeded(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_for_several_numbers_is_standard_normal_in_each():
    noise = sampling_noise(box(3), (N,), seeded())
    for i in range(3):
        assert scipy.stats.kstest(noise[:, i].double().numpy(), scipy.stats.norm.cdf).pvalue > 1e-3
    assert noise.T.corrcoef().fill_diagonal_(0).abs().max() < 5 / N**0.5


@pytest.mark.parametrize(("space", "dtype"), [(SPACE, torch.int64), (box(2), torch.float32)], ids=str)
def test_room_for_actions_is_zero_and_of_their_type(space, dtype):
    room = empty_actions(space, (2, 3), CPU)
    assert room.shape == (2, 3, *space.shape) and room.dtype == dtype and not room.any()


def test_spaces_without_a_distribution_are_refused():
    space = gymnasium.spaces.MultiBinary(2)
    with pytest.raises(ValueError, match="action_space must be Discrete or a Box, got MultiBinary"):
        sampling_noise(space, (1,), torch.Generator())
    with pytest.raises(ValueError, match="action_space must be Discrete or a Box, got MultiBinary"):
        empty_actions(space, (1,), CPU)
