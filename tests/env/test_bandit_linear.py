"""Linear bandits: features that all tasks share, means on a plane."""

import torch

from metarl_run.env.standalone import make_family


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_means_are_linear_in_shared_features():
    family = make_family("bandit_linear")
    train, test = (
        family.sample(500, split, generator(i)).mean_reward[:, 0] for i, split in enumerate(("meta_train", "meta_test"))
    )
    assert torch.linalg.matrix_rank(torch.cat([train, test]), atol=1e-4) == 2
    θ = torch.linalg.lstsq(family.features, train.T).solution
    torch.testing.assert_close((family.features @ θ).T, train, atol=1e-5, rtol=0)
    torch.testing.assert_close(θ.cov(), torch.eye(2) / 2, atol=0.08, rtol=0)


def test_features_follow_their_seed_alone():
    one, same, other = (make_family("bandit_linear", feature_seed=seed).features for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    many = make_family("bandit_linear", num_arms=4000, dimension=3).features
    torch.testing.assert_close(many.T.cov(), torch.eye(3) / 3, atol=0.03, rtol=0)
