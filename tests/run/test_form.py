"""Comparison of a state with the form that it must have."""

import math

import pytest
import torch

from metarl_run.algo.base import Later
from metarl_run.run.form import mismatch, outline

STATE = {"w": torch.zeros(2, 3), "memory": {"steps": [torch.zeros(()), torch.zeros(1)]}, "count": 1, "open": {}}
FORM = outline(STATE)


def test_a_state_has_its_own_form():
    assert mismatch(STATE, FORM) is None
    assert FORM["w"].is_meta


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"w": torch.zeros(3, 2)}, r"w: must be a tensor \[2, 3\] of float32, got a tensor \[3, 2\] of float32"),
        ({"w": torch.zeros(2, 3).double()}, "w: .* of float64"),
        ({"w": torch.zeros(())}, "w: must be"),
        ({"w": [[0.0] * 3] * 2}, "w: must be a tensor .*, got a list"),
        ({"w": None}, "w: .* got null"),
        ({"memory": {}}, "memory.steps: is missing"),
        ({"memory": {"steps": [torch.zeros(())]}}, "memory.steps: must have 2 entries, got 1"),
        ({"memory": {"steps": [torch.zeros(()), torch.zeros(2)]}}, r"memory.steps\[1\]: must be"),
        ({"memory": {"steps": (torch.zeros(()), torch.zeros(1))}}, "memory.steps: must be a list, got a tuple"),
        ({"memory": [1]}, "memory: must be a mapping, got a list"),
        ({"count": "1"}, "count: must be an integer, got a string"),
        ({"count": True}, "count: must be an integer, got a bool"),
        ({"count": 1.0}, "count: must be an integer, got a float"),
        ({"count": 10**30}, "count: must be a finite number of usual size"),
        ({"other": 1}, "other: is unknown"),
        ({"open": []}, "open: must be a mapping, got a list"),
        ({"open": {"x": [math.nan]}}, "open: must hold finite numbers"),
        ({"open": {"x": 10**30}}, "open: must hold finite numbers"),
    ],
)
def test_the_first_difference_is_named(change, told):
    import re

    assert re.match(told, mismatch({**STATE, **change}, FORM) or "")


def test_an_empty_container_stands_for_any_of_its_kind_however_often_it_holds_a_list():
    bomb = []
    for _ in range(100):
        bomb = [bomb, bomb]
    assert mismatch({**STATE, "open": {1: {"a": torch.zeros(9)}, "b": bomb}}, FORM) is None


def test_a_tensor_may_come_later():
    form = {"kept": Later(torch.zeros(2, device="meta")), "seen": 0}
    assert mismatch({"seen": 1}, form) is None
    assert mismatch({"seen": 1, "kept": torch.zeros(2)}, form) is None
    assert mismatch({"seen": 1, "kept": torch.zeros(3)}, form)
    assert mismatch({"kept": torch.zeros(2)}, form) == "seen: is missing"
