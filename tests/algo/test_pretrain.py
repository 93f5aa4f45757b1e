"""Pretraining: the gradient of the joint objective."""

import pytest
from derivatives import along, directions, finite_difference
from recorded import meta_gradient

from metarl_run.algo.pretrain import Pretrain


def test_pretrains_gradient_is_the_derivative_of_the_joint_objective():
    gradient = meta_gradient(Pretrain)
    for direction in directions():
        assert along(gradient, direction) == pytest.approx(finite_difference(direction, 0), rel=1e-6, abs=1e-8)
