"""Names of options as people write them."""

import pytest

from metarl_run.folders import CONFIG_DIR
from metarl_run.report.names import display_name, title


@pytest.mark.parametrize("group", ["algo", "env"])
def test_every_option_has_a_name_of_its_own(group: str) -> None:
    options = [path.stem for path in (CONFIG_DIR / group).glob("*.yaml")]
    names = {option: display_name(group, option) for option in options}
    assert len({*names.values()}) == len(options) > 20
    assert not [option for option, name in names.items() if name == option]


def test_names_are_those_of_the_papers() -> None:
    assert [display_name("algo", option) for option in ("maml", "rl2", "e_maml")] == ["MAML", "RL²", "E-MAML"]
    assert title("varibad", "half_cheetah_vel_pearl") == "VariBAD on Half-cheetah velocity (PEARL)"


@pytest.mark.parametrize("option", ["mine", "../env/bandit", "", "a" * 10_000, "meta_optimizer"])
def test_what_is_no_option_keeps_its_name(option: str) -> None:
    assert display_name("algo", option) == option
