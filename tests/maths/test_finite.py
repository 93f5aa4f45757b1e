"""Finiteness: of every entry, not of their sum."""

import math

import pytest
import torch

from metarl_run.maths.finite import all_finite, first_not_finite


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_entry_that_is_not_finite(bad):
    x = torch.zeros(3, 4)
    x[1, 2] = bad
    assert not all_finite(x)
    assert not all_finite(torch.zeros(2), x, torch.zeros((), dtype=torch.int64))
    assert first_not_finite(x) == ((1, 2), pytest.approx(bad, nan_ok=True))
    assert first_not_finite(x, torch.tensor([True, False, True])) is None


def test_opposite_infinities_do_not_cancel():
    assert not all_finite(torch.tensor([math.inf, -math.inf]))


def test_finite_entries_whose_sum_overflows():
    assert all_finite(torch.full((4,), 3e38))
    assert all_finite(torch.full((4,), 3e38), torch.full((4,), 3e38))
    assert all_finite(torch.zeros(0))
    assert all_finite()
