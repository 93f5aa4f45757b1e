"""Action values in hindsight: exact with plentiful counts, and unknown where nothing was tried."""

import torch
from q_lab import A, H, collected, drawn, family

from metarl_run.algo.q.hindsight import hindsight_q
from metarl_run.algo.random import Random
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.lifetime import live
from metarl_run.maths.planning import finite_horizon_q


def test_hindsight_is_the_exact_optimum_when_counts_are_plentiful():
    of, g = family(), drawn(1)
    tasks = of.sample(3, "meta_train", g)
    env = TaskVectorEnv(of, tasks, episodes_per_task=20000, generator=g)
    algo = Random(action_space=of.action_space)
    rollout = live(algo, env, g, adaptation_steps=0).rollouts[0]
    q, known = hindsight_q(rollout, num_actions=A, horizon=H)
    exact = finite_horizon_q(tasks.transition, tasks.mean_reward, horizon=H)
    assert known.all()
    torch.testing.assert_close(q, exact, rtol=0, atol=0.15)
    assert exact.std() > 1


def test_hindsight_knows_only_what_was_tried_and_values_the_best_of_that():
    of = family()
    algo = Random(action_space=of.action_space)
    rollout = collected(algo, of, tasks=5, envs=2, episodes=1).rollouts[0]
    q, known = hindsight_q(rollout, num_actions=A, horizon=H)
    assert 0 < known.float().mean() < 1
    assert q[known].abs().max() < 100
    state = rollout.observation.argmax(-1)
    steps = [(m, t, b) for m in range(5) for t in range(H) for b in range(2)]
    tried = {(m, int(state[m, t, b]), int(rollout.action[m, t, b])): t for m, t, b in reversed(steps)}
    followed = {pair for pair, first in tried.items() if first < H - 1}
    assert followed < tried.keys()
    for t in range(H):
        assert {tuple(index) for index in known[:, t].nonzero().tolist()} == (followed if t < H - 1 else tried.keys())
