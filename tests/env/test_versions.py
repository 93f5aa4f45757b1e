"""The version of a family names its definition; `versions.json` beside this file holds numbers of a few steps of each.

Whoever changes what a given task shows, pays or ends raises `version` of its class, and writes the numbers anew:
`PYTHONPATH=tests python tests/env/test_versions.py`. To draw other tasks is a change of the same kind.
"""

import json
import math
from pathlib import Path

import gymnasium
import mujoco
import pytest
import torch
from conftest import OUTSIDE

from metarl_run.env.standalone import make_family
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.folders import CONFIG_DIR

FILE = Path(__file__).with_name("versions.json")
OPTIONS = sorted({path.stem for path in (CONFIG_DIR / "env").glob("*.yaml")} - OUTSIDE)
STEPS, M, B = 12, 3, 2
AGAIN = "write the numbers anew: PYTHONPATH=tests python tests/env/test_versions.py"
TOLERANCE = {False: 1e-5, True: 1e-4}
"""Relative or absolute, by `simulated`: processors differ in last bits, which contacts amplify."""


def numbers_of(family):
    """One for the tasks, and three for each step: of observations, rewards and ends in all envs."""
    generator = torch.Generator().manual_seed(0)
    task = family.sample(M, "meta_train", generator)
    env = TaskVectorEnv(family, task, episodes_per_task=B, generator=generator)
    told = [mixed(*task.tensors().values()), mixed(env.start(2))]
    for _ in range(STEPS):
        match family.action_space:
            case gymnasium.spaces.Discrete(n=n):
                action = torch.randint(int(n), (M, B), generator=generator)
            case box:
                low, high = (torch.as_tensor(bound).clamp(-2, 2) for bound in (box.low, box.high))
                action = low + (high - low) * torch.rand(M, B, *box.shape, generator=generator)
        step = env.advance(action)
        told += [mixed(step.observation), mixed(step.reward), mixed(step.terminated)]
    return told


def mixed(*tensors):
    """A mean of all entries with weights of their own, so that none can be exchanged for another."""
    x = torch.cat([tensor.double().flatten() for tensor in tensors])
    weights = torch.linspace(1, 2, len(x), dtype=torch.float64)
    return float(f"{(x * weights).mean().item():.8g}")


def recorded():
    return json.loads(FILE.read_text()) if FILE.exists() else {}


@pytest.mark.parametrize("option", OPTIONS)
def test_a_family_that_changed_has_another_version(option):
    family = make_family(option)
    wanted, tolerance = recorded()[option], TOLERANCE[family.simulated]
    assert family.version == wanted["version"], AGAIN
    for mine, then in zip(numbers_of(family), wanted["numbers"], strict=True):
        same = math.isclose(mine, then, rel_tol=tolerance, abs_tol=tolerance)
        assert same, f"{option} is not what it was: raise {type(family).__name__}.version, then {AGAIN}"


def test_the_software_that_steps_a_family_is_part_of_its_version():
    assert make_family("navigation").full_version == "1"
    assert make_family("half_cheetah_vel").full_version == f"1 (mujoco {mujoco.__version__})"
    here = make_family("gymnasium").full_version
    assert here == f"1 (gymnasium {gymnasium.__version__})"
    theirs = make_family("gymnasium", id="HalfCheetah-v5").full_version
    assert theirs == f"1 (gymnasium {gymnasium.__version__}, mujoco {mujoco.__version__})"


def write():
    """Numbers of the options that are new or have another version; those of the others stay as they are."""
    before, now = recorded(), {}
    for option in OPTIONS:
        family = make_family(option)
        known = before.get(option)
        same = known is not None and known["version"] == family.version
        now[option] = known if same else {"version": family.version, "numbers": numbers_of(family)}
    lines = [f"{json.dumps(option)}: {json.dumps(entry)}" for option, entry in now.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    write()
