"""Search spaces in Hydra's grammar, by hand."""

import pytest

from metarl_run.config.loader import loader_of, parsed_flags, parsed_overrides, prepared
from metarl_run.config.search_space import Choices, Numbers, search_space
from metarl_run.errors import ConfigError


def space(*texts):
    with prepared():
        return search_space(parsed_overrides(texts), loader_of(parsed_flags([])[0]))


@pytest.mark.parametrize(
    "text, wanted, shown",
    [
        ("a=interval(1,5)", Numbers("a", 1.0, 5.0), "interval(1,5)"),
        ("a=tag(log,interval(0.01,1))", Numbers("a", 0.01, 1.0, log=True), "tag(log,interval(0.01,1))"),
        ("a=int(interval(16,128))", Numbers("a", 16, 128, 1, whole=True), "int(interval(16,128))"),
        ("a=tag(log,int(interval(1,64)))", Numbers("a", 1, 64, 1, True, True), "tag(log,int(interval(1,64)))"),
        ("a=range(10,50,10)", Numbers("a", 10, 40, 10, whole=True), "range(10,40,10), its end included"),
        ("a=range(0,1,0.25)", Numbers("a", 0.0, 0.75, 0.25), "range(0,0.75,0.25), its end included"),
        ("a=range(5,0,-1)", Numbers("a", 1, 5, 1, whole=True), "int(interval(1,5))"),
        ("+a=x,y", Choices("+a", ("x", "y")), "choice(x,y)"),
        ("a=choice(1,[2,3],1)", Choices("a", ("1", "[2,3]")), "choice(1,[2,3])"),
        ("algo=glob(rl2*)", Choices("algo", ("rl2",)), "choice(rl2)"),
    ],
)
def test_a_dimension(text, wanted, shown):
    (found,) = space("seed=3", text)
    assert (found, str(found)) == (wanted, shown)


def test_values_are_rounded_within_the_interval():
    real, whole = Numbers("a", 0.01, 0.99996), Numbers("a", 1, 9, 2, whole=True)
    assert [real.override(x) for x in (0.0123456, 1e-2, 0.99996)] == ["a=0.01235", "a=0.01", "a=0.99996"]
    assert whole.override(3.0) == "a=3"
    assert real.ends == ["a=0.01", "a=0.99996"]
    assert Choices("env", ("bandit", "random_mdp")).ends == ["env=bandit", "env=random_mdp"]


@pytest.mark.parametrize(
    "text, where, reason",
    [
        ("a=3", "hydra/sweeper", "needs a key to search, got no interval"),
        ("a=interval(5,1)", "a", "must be an interval between two numbers that grow, got 5.0 and 1.0"),
        ("a=interval(1,inf)", "a", "must be an interval between two numbers that grow"),
        ("a=tag(log,interval(0,1))", "a", "must be an interval above 0 to be searched in its logarithm, got 0.0"),
        ("a=tag(ln,interval(1,2))", "a", "must be tagged log or not at all, got ln"),
        ("a=tag(log,range(1,5))", "a", "as an interval alone"),
        ("a=range(5,1)", "a", "must have values to choose from, got none"),
        ("seed=0,1", "seed", "cannot be searched"),
    ],
)
def test_what_is_no_space(text, where, reason):
    with pytest.raises(ConfigError) as told:
        space(text)
    assert told.value.where == where and reason in told.value.reason
