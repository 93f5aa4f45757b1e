"""Step sizes that a family carries, as the algorithms on it take them."""

import pytest

from metarl_run.config.compose import compose_points
from metarl_run.errors import ConfigError
from metarl_run.folders import CONFIG_DIR

FAMILIES = sorted(path.stem for path in (CONFIG_DIR / "env").glob("*.yaml"))


def config(*argv):
    (point,) = compose_points([*argv]).points
    return point.config


TAKING = [("maml", "sgd"), ("scratch", "sgd"), ("scratch_adam", "adam")]


@pytest.mark.parametrize(("env", "algo", "rule"), [(env, *TAKING[i % 3]) for i, env in enumerate(FAMILIES)])
def test_a_family_carries_step_sizes_which_its_constructor_never_sees(env, algo, rule):
    found = config(f"env={env}", f"algo={algo}", f"env.step_sizes.{rule}=0.123")
    assert found["algo"]["inner_lr"] == 0.123
    assert "step_sizes" not in found["env"]
    assert config(f"env={env}", f"algo={algo}")["algo"]["inner_lr"] > 0


def test_families_differ_in_them_and_a_number_that_is_given_replaces_them():
    cartpole, mdp = (config(f"env={env}", "algo=maml")["algo"]["inner_lr"] for env in ("cartpole_family", "random_mdp"))
    assert cartpole != mdp
    assert config("env=random_mdp", "algo=maml", "algo.inner_lr=0.7")["algo"]["inner_lr"] == 0.7


def test_a_family_without_them_gets_cartpoles():
    assert config("~env.step_sizes", "algo=maml") == config("algo=maml")
    assert config("~env.step_sizes", "algo=scratch_adam") == config("algo=scratch_adam")


@pytest.mark.parametrize("bad", ["env.step_sizes.sgd=-1", "+env.step_sizes.adagrad=1", "env.step_sizes=3"])
def test_what_is_no_step_size_is_refused(bad):
    with pytest.raises(ConfigError, match=r"env\.step_sizes"):
        config(bad)
