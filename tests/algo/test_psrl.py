"""PSRL: planning in one posterior sample."""

import torch
from planning_lab import H, drawn, make, nothing_seen

from metarl_run.algo.psrl import PSRL
from metarl_run.maths.planning import finite_horizon_q


def test_psrl_plans_the_optimum_of_one_posterior_sample():
    algo = make(PSRL)
    belief = nothing_seen(algo, tasks=50)
    transition, reward = belief.sample(drawn(3))
    assert torch.equal(algo.plan(belief, drawn(3)), finite_horizon_q(transition, reward, horizon=H))
