"""Components that have moved are found under the names that old run folders and users' YAML give them."""

import contextlib
import importlib

import pytest

from metarl_run.config import renamed
from metarl_run.config.renamed import RENAMED, with_current_targets, with_former_targets

OLD = "metarl_run.algo.trust_region.TrustRegion"
CONFIG = {"algo": {"_target_": "metarl_run.algo.maml.MAML", "meta_optimizer": [{"_target_": OLD, "name": OLD}]}}


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_every_new_name_exists_and_no_old_one_does(old, new):
    module, _, name = new.rpartition(".")
    assert isinstance(getattr(importlib.import_module(module), name), type)
    module, _, name = old.rpartition(".")
    with contextlib.suppress(ModuleNotFoundError):
        assert not hasattr(importlib.import_module(module), name)


def test_targets_are_renamed_at_any_depth_and_nothing_else_is():
    found = with_current_targets(CONFIG, warn=False)
    assert found["algo"]["_target_"] == "metarl_run.algo.maml.MAML"
    assert found["algo"]["meta_optimizer"] == [{"_target_": RENAMED[OLD], "name": OLD}]
    assert with_former_targets(found) == CONFIG


def test_one_warning_for_each_name(capsys, monkeypatch):
    monkeypatch.setattr(renamed, "_warned", set())
    for _ in range(2):
        with_current_targets(CONFIG)
    assert capsys.readouterr().err == f"warning: {OLD} is now {RENAMED[OLD]}; the old name still works\n"
