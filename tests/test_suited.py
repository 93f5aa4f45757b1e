"""What the text of `conf/` says of which options suit each other is what composing and validating them says."""

import pytest
from suited import arguments_of, completed, composed, options, suited, suits

from metarl_run.config.validation import validate
from metarl_run.errors import ConfigError

PAIRS = [(group, option) for group in ("algo", "learner", "network") for option in options(group)]


def valid(config, choices):
    try:
        validate(config, choices)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize(("group", "option"), PAIRS, ids=map("=".join, PAIRS))
def test_the_text_of_an_option_tells_what_suits_it(group, option):
    """With each family, by the default network and by a table."""
    point, arguments = suited("experiment=smoke", f"{group}={option}")
    given = completed(**{group: option})
    assert {*arguments_of(group, option)} == {*arguments} - {"experiment=smoke"}
    table = suited("experiment=smoke", "network=table")[0].config["network"]
    for env in options("env"):
        family = suited("experiment=smoke", f"env={env}")[0].config["env"]
        config, others = {**point.config, "env": family}, {**given, "env": env}
        assert suits(**others) == valid(config, point.choices), env
        if group != "network":
            by_table = valid({**config, "network": table}, point.choices)
            assert suits(**{**others, "network": "table"}) == by_table, env


def test_what_is_refused_is_told_apart_from_what_is_not():
    assert suits(env="bandit", algo="ucb1") and not suits(env="cartpole_family", algo="ucb1")
    assert suits(algo="rl2", env="random_mdp") and not suits(algo="rl2", network="mlp", env="random_mdp")
    with pytest.raises(ConfigError, match="requires a Bernoulli bandit"):
        composed("env=cartpole_family", "algo=ucb1")
    with pytest.raises(ConfigError, match="requires a network with memory"):
        composed("algo=rl2", "network=mlp", "env=random_mdp")
