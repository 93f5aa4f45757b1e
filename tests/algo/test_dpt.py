"""DPT: the loss by hand, and that what is learned from labels alone is the exact posterior."""

import itertools
import math

import pytest
import torch
from context_lab import Recorded, bandit, learner_of, not_lived, rollout_of

from metarl_run.algo.dpt import DPT
from metarl_run.algo.in_context.base import Histories, permuted
from metarl_run.maths.posterior import best_of_bernoulli, experience, total_variation


def test_the_loss_is_the_mean_over_steps_of_the_label_s_surprise():
    algo = learner_of(DPT, bandit())
    rollout = rollout_of([[0], [1], [0]], [[1], [0], [0]], alive=[[True], [True], [False]])
    logits = torch.tensor([[0.25, 0.75], [0.5, 0.5], [1e-9, 1.0]]).log().unsqueeze(1)
    loss, metrics = algo.loss({"policy": logits}, Histories(rollout, torch.tensor([[1], [0], [0]]), torch.tensor([0])))
    assert loss.item() == pytest.approx(-(math.log(0.75) + math.log(0.5)) / 2)
    assert metrics["accuracy"].item() == 1.0  # the last step is padding; of equal actions the first is taken


def test_permuted_actions_keep_what_was_paid_for_the_best_arm():
    g = torch.Generator().manual_seed(0)
    action = torch.randint(3, (20, 50), generator=g)
    label = torch.randint(3, (50,), generator=g).expand(20, -1)
    reward = (action == label).float()
    space = bandit(3).action_space
    renamed, changed, _ = permuted(Histories(rollout_of(action, reward), label, torch.arange(50)), space, g)
    assert torch.equal(renamed.reward, reward) and torch.equal((renamed.action == changed).float(), reward)
    assert 5 < (changed[0] == label[0]).sum() < 30  # a third stays where it was
    assert all(len({*pairs}) <= 3 for pairs in zip(*(x[:, 0].tolist() for x in (action, renamed.action)), strict=False))


def histories(N, T, seed=0):
    """Arms pulled at random, and the best one."""
    g = torch.Generator().manual_seed(seed)
    mean, action = torch.rand(N, 2, generator=g), torch.randint(2, (T, N), generator=g)
    reward = (torch.rand(T, N, generator=g) < mean.T.gather(0, action)).float()
    return Recorded(rollout_of(action, reward), mean.argmax(-1).expand(T, -1))


def test_trained_on_labels_it_acts_by_the_exact_posterior():
    """Every history of up to four pulls of two arms: π is the posterior probability that an arm is best."""
    algo = learner_of(
        DPT,
        bandit(),
        histories(40_000, 5),
        sequences=1000,
        encoding="transition",
        permuted_actions=True,
        hidden=16,
        lr=2e-2,
        final_lr=5e-4,
        meta_iterations=40,
        updates=8,
    )
    for _ in range(40):
        algo.meta_update(not_lived)
    every = torch.tensor(list(itertools.product(range(4), repeat=4))).T
    rollout = rollout_of(*(torch.cat([x, x[:1]]) for x in (every % 2, every // 2)))
    exact = best_of_bernoulli(*experience(rollout.action, rollout.reward, 2))
    output = algo.network.sequence(algo.meta_params, algo.tokens.tokens(rollout))
    away = total_variation(algo.policy(output).log_probs().exp(), exact)
    assert away.mean() < 0.03
