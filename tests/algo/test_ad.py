"""Algorithm Distillation: the loss by hand, and windows of one task that span several episodes."""

import math

import pytest
import torch
from context_lab import Recorded, bandit, learner_of, not_lived, rollout_of

from metarl_run.algo.ad import AD
from metarl_run.algo.in_context.base import Histories


def test_the_loss_is_smoothed_cross_entropy_to_the_learner_s_actions():
    algo = learner_of(AD, bandit(), label_smoothing=0.2)
    rollout = rollout_of([[1], [0]], [[0], [0]], alive=[[True], [False]])
    logits = torch.tensor([[0.25, 0.75], [0.5, 0.5]]).log().unsqueeze(1)
    loss, _ = algo.loss({"policy": logits}, Histories(rollout, None, torch.tensor([0])))
    assert loss.item() == pytest.approx(-(0.9 * math.log(0.75) + 0.1 * math.log(0.25)))


def test_windows_never_cross_tasks():
    """Task k's learner pulls arm k throughout; a sequence model sees one task in each window, and imitates it."""
    T, tasks = 12, 2
    action = torch.arange(tasks).expand(T, -1)
    algo = learner_of(
        AD,
        bandit(),
        Recorded(rollout_of(action, torch.zeros(T, tasks))),
        label_smoothing=0.0,
        window=6,
        sequences=32,
        lr=3e-2,
    )
    drawn = algo.draw_histories(torch.Generator().manual_seed(0))
    assert drawn.rollout.reward.shape == (6, 32) and int(drawn.rollout.ended.sum()) == 6 * 32  # six episodes in each
    assert torch.equal(drawn.rollout.action, drawn.task.expand(6, -1))
    for _ in range(60):
        algo.meta_update(not_lived)
    output = algo.network.sequence(algo.meta_params, algo.tokens.tokens(drawn.rollout))
    π = algo.policy(output).log_probs().exp()
    assert (π[1:].gather(-1, drawn.rollout.action[1:].unsqueeze(-1)) > 0.9).all()
    assert (π[0, :, 0] - 0.5).abs().max() < 0.2  # nothing tells at the beginning
