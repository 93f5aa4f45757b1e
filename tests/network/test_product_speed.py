"""The choice by measured rates: the faster library where it is clearly faster."""

import pytest
import torch

from metarl_run.network import product_speed
from metarl_run.network.product import CLASSES, COMPILED, IN_USE, LEVEL, MKL, ONEDNN
from metarl_run.network.product_speed import choice_by, measured, slower_classes

KINDS = [name for name in CLASSES if name != COMPILED]


def rates(mkl, onednn, **others):
    return {name: {"mkl": mkl, "onednn": onednn} for name in KINDS} | others


@pytest.mark.parametrize("onednn", [60.0, 100.0, 107.0, 129.9])
def test_libraries_that_are_level_always_give_the_same_choice(onednn):
    """100 against 107 was measured on Zen 4; the least that counts as faster is 1.3 times."""
    assert choice_by(rates(100.0, 78.0)) == choice_by(rates(100.0, 128.0)) == LEVEL
    assert {name: choice_by(rates(100.0, onednn))[name] for name in KINDS} == dict.fromkeys(KINDS, "mkl")


def test_a_library_that_is_faster_for_a_class_is_taken_for_it():
    assert choice_by(rates(107.0, 231.0)) == ONEDNN
    some = rates(100.0, 110.0) | {"per task, medium": {"mkl": 100.0, "onednn": 130.0}}
    assert choice_by(some) == {**LEVEL, "per task, medium": "onednn"}
    assert choice_by(rates(131.0, 100.0)) == MKL  # in compiled programs oneDNN is the usual one


def test_a_choice_that_is_slow_here_is_told_by_its_classes():
    found = rates(100.0, 110.0) | {"plain, large": {"mkl": 100.0, "onednn": 200.0}}
    assert slower_classes(MKL, found) == ["plain, large"]
    assert slower_classes({**LEVEL, "plain, large": "onednn"}, found) == []
    assert slower_classes(ONEDNN, rates(140.0, 100.0)) == KINDS


def test_every_class_is_measured_and_nothing_is_left_behind(monkeypatch):
    monkeypatch.setattr(product_speed, "NO_FASTER", 0.0)
    torch.set_num_threads(1)
    before = IN_USE.choice
    choice, gflops = measured()
    assert {*choice} == {*CLASSES} and [*gflops] == KINDS
    assert all(0 < rate < 1e5 for of in gflops.values() for rate in of.values())
    assert IN_USE.choice == before and torch.get_num_threads() == 1


@pytest.mark.parametrize(("onednn", "classes"), [(1.2, KINDS), (1.1, KINDS[:2]), (0.5, KINDS[:2])])
def test_where_onednn_is_no_faster_in_plain_products_no_others_are_measured(onednn, classes, monkeypatch):
    monkeypatch.setattr(product_speed, "best", lambda *factors: {"mkl": 1.0, "onednn": 1.0 / onednn})
    choice, gflops = measured()
    assert [*gflops] == classes
    assert choice == (MKL if onednn == 0.5 else LEVEL)


@pytest.mark.parametrize("again", [100.0, 200.0])
def test_another_choice_than_the_usual_one_needs_two_measurements(again, monkeypatch):
    once = [rates(100.0, 200.0), rates(100.0, again)]
    monkeypatch.setattr(product_speed, "rates", lambda: once.pop(0))
    assert measured().choice == (LEVEL if again == 100.0 else ONEDNN)
    assert not once


def test_without_a_second_library_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(product_speed, "AVAILABLE", False)
    monkeypatch.setattr(product_speed, "rates", None)
    assert measured() == (MKL, {})
