"""OPSRL: the largest values among several posterior samples."""

import torch
from planning_lab import H, drawn, family, make, nothing_seen

from metarl_run.algo.opsrl import OPSRL
from metarl_run.algo.psrl import PSRL
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.lifetime import live
from metarl_run.maths.planning import finite_horizon_q


def test_opsrl_takes_the_largest_value_of_several_samples():
    algo = make(OPSRL, num_samples=4)
    belief, generator = nothing_seen(algo, tasks=50), drawn(3)
    each = [finite_horizon_q(*belief.sample(generator), horizon=H) for _ in range(4)]
    assert torch.equal(algo.plan(belief, drawn(3)), torch.stack(each).amax(0))
    assert (algo.plan(belief, drawn(3)) > make(PSRL).plan(belief, drawn(3))).float().mean() > 0.7


def test_opsrl_with_one_sample_acts_as_psrl():
    rollouts = []
    for algo in (make(PSRL), make(OPSRL, num_samples=1)):
        of = family()
        env = TaskVectorEnv(of, of.sample(6, "meta_test", drawn(1)), episodes_per_task=2, generator=drawn(2))
        rollouts.append(live(algo, env, drawn(3), adaptation_steps=9).rollouts[0])
    assert torch.equal(rollouts[0].action, rollouts[1].action) and torch.equal(rollouts[0].reward, rollouts[1].reward)
