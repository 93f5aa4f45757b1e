"""Deceptive bandits: the sure arm, the others, and what the paper's reference agents earn."""

import pytest
import torch

from metarl_run.env.standalone import make_family


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_first_arm_pays_the_same_in_every_task_and_the_others_vary():
    family = make_family("bandit_deceptive", num_arms=3)
    task = family.sample(2000, "meta_train", generator())
    mean = task.mean_reward[:, 0]
    assert (mean[:, 0] == 0.5).all()
    assert mean[:, 1:].mean().item() == pytest.approx(0, abs=0.06) and mean[:, 1:].std().item() == pytest.approx(
        1, abs=0.05
    )
    for arm, std in ((0, 0.0), (2, 0.5)):
        action = torch.full((2000, 4), arm)
        state = family.reset(task, 4, generator())
        _, reward, ended = family.step(task, state, action, family.noise(2000, 4, generator()))
        error = reward - mean[:, arm, None]
        assert ended.all() and error.std().item() == pytest.approx(std, abs=0.02)
        assert error.mean().item() == pytest.approx(0, abs=0.03)


def test_constant_means_leave_the_first_arm_alone():
    family = make_family("bandit_deceptive", num_arms=3, sure_reward=2, meta_train={"mean": -1.0})
    assert family.sample(2, "meta_train", generator()).mean_reward.tolist() == [[[2.0, -1.0, -1.0]]] * 2
