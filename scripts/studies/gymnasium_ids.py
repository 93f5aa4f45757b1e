"""Run environments by their ids, without code: kill each run, resume it, and compare its files with an undisturbed one.

Each is run for three meta-iterations, undisturbed; again, killed after the first iteration and resumed; and again with
its environments in two worker processes. Rows and parameters must be equal byte for byte. How fast it is stepped with
random actions is measured in this process, all environments one after another.
"""

import argparse
import datetime
import importlib.metadata
import json
import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from black_box import Running, call, differences, iterations_done, record

from metarl_run.config.compose import compose_points
from metarl_run.env.vector import parallel
from metarl_run.maths.distributions import empty_actions
from metarl_run.run.agent import build_agent
from metarl_run.run.folder import versions
from metarl_run.seeding import Streams
from metarl_run.system.json_text import json_text

SIZES = ("experiment=smoke", "threads=1", "meta_iterations=3", "env=gymnasium", "env.horizon=20")
WORKERS = ("env.vector=async", "env.workers=2")
SECONDS = 2.0
"""Of stepping, at least."""


@dataclass(frozen=True)
class Case:
    """An environment and how it is run.

    Attributes:
        name: what it is called in the result.
        package: the distribution that it comes from.
        arguments: of the command.
    """

    name: str
    package: str
    arguments: tuple[str, ...]


CASES = [
    Case("CartPole-v1", "gymnasium", ("algo=fomaml", "env.vary={length:[uniform,0.3,1]}")),
    Case("MountainCar-v0", "gymnasium", ("algo=rl2", "env.vary={force:[uniform,0.0008,0.002]}")),
    Case("Acrobot-v1", "gymnasium", ("algo=fomaml", "env.vary={LINK_LENGTH_1:[uniform,0.5,2]}")),
    Case("Pendulum-v1", "gymnasium", ("algo=rl2", "env.vary={g:[uniform,5,15]}")),
    Case("MountainCarContinuous-v0", "gymnasium", ("algo=fomaml", "env.vary={power:[uniform,0.001,0.003]}")),
    Case("FrozenLake-v1", "gymnasium", ("algo=rl2", "env.vary={success_rate:[uniform,0.3,1]}")),
    Case("LunarLander-v3", "box2d", ("algo=fomaml", "env.vary={gravity:[uniform,-11,-3]}")),
    Case("BipedalWalker-v3", "box2d", ("algo=rl2",)),
    Case("HalfCheetah-v5", "mujoco", ("algo=rl2", "env.vary={forward_reward_weight:[choice,-1,1]}")),
    Case("Hopper-v5", "mujoco", ("algo=fomaml", "env.vary={model.opt.viscosity:[uniform,0,0.5]}")),
    Case(
        "minigrid:MiniGrid-Empty-5x5-v0",
        "minigrid",
        (
            "algo=fomaml",
            "plugins=[minigrid]",
            "env.wrappers=[minigrid.wrappers:ImgObsWrapper]",
            "env.vary={size:[choice,5,6,8]}",
        ),
    ),
    Case(
        "highway_env:highway-fast-v0",
        "highway-env",
        ("algo=rl2", "plugins=[highway_env]", "env.vary={config.lanes_count:[choice,3,4]}"),
    ),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="name of the only environment to run")
    parser.add_argument("--json", type=Path, help="JSON file for the result")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for case in CASES:
        if chosen.only in (None, case.name):
            with tempfile.TemporaryDirectory() as place:
                rows.append(row := examined(case, Path(place)))
            print(json.dumps(row), flush=True)
    result = {
        "date": datetime.date.today().isoformat(),
        "machine": platform.platform(),
        "versions": versions(),
        "sizes": SIZES,
        "environments": rows,
    }
    if chosen.json is not None:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json_text(result))
    return 0 if all(row["resumed_equal"] and row["async_equal"] for row in rows) else 1


def examined(case: Case, place: Path) -> dict[str, Any]:
    """The row of one environment."""
    command = (*SIZES, f"env.id={case.name}", *case.arguments)
    for folder in ("whole", "killed", "async"):
        (place / folder).mkdir()
    done = call(*command, "hydra.run.dir=run", cwd=place / "whole")
    found = {
        "id": case.name,
        "package": f"{case.package} {version_of(case.package)}",
        "arguments": case.arguments,
        "exit_code": done.returncode,
        "error": done.stderr.strip().splitlines()[:2],
        "killed_after_iterations": None,
        "resumed_equal": False,
        "async_equal": False,
        "steps_per_second": None,
    }
    if done.returncode:
        return found
    whole = place / "whole/run"
    found["killed_after_iterations"] = killed_and_resumed(command, place / "killed")
    found["resumed_differences"] = differences(whole, place / "killed/run")
    call(*command, *WORKERS, "hydra.run.dir=run", cwd=place / "async")
    one, two = record(whole), record(place / "async/run")
    compared = [name for name in one if name in ("metrics.csv", "adaptation.csv") or name.endswith("tensors.pt")]
    found["async_differences"] = [name for name in compared if one[name] != two.get(name)]
    found["resumed_equal"], found["async_equal"] = (not found[f"{name}_differences"] for name in ("resumed", "async"))
    return {**found, "steps_per_second": round(stepping(command))}


def killed_and_resumed(command: tuple[str, ...], place: Path) -> int:
    """Kill the command after its first iteration and resume it; the iterations that it had done."""
    running = Running(*command, "hydra.run.dir=run", cwd=place)
    running.wait_until(lambda: iterations_done(place / "run") >= 1)
    running.kill()
    before = iterations_done(place / "run")
    assert not (place / "run/summary.json").exists(), "it was finished before it could be killed"
    trusted = [argument for argument in command if argument.startswith("plugins=")]
    done = call("resume=run", *trusted, cwd=place)
    assert done.returncode == 0, done.stderr
    return before


def stepping(command: tuple[str, ...]) -> float:
    """Steps per second of 16 environments in this process, with random actions; resets are part of it."""
    config = compose_points([*command, "logger=files"]).points[0].config
    streams = Streams(0, torch.device("cpu"))
    family, _ = build_agent(config, streams)
    task = family.sample(4, "meta_train", streams("tasks"))
    env = parallel(family, task, episodes_per_task=4, generator=streams("env"))
    action = empty_actions(family.action_space, (4, 4), streams.device)
    draws, limit = streams("actions"), getattr(family.action_space, "n", 0)
    steps, begun = 0, time.process_time()
    with torch.inference_mode():
        env.start(episodes=2**30)
        while time.process_time() - begun < SECONDS:
            if limit:
                action.random_(int(limit), generator=draws)
            else:
                action.uniform_(-1, 1, generator=draws)
            env.advance(action)
            steps += env.num_envs
    return steps / (time.process_time() - begun)


def version_of(package: str) -> str:
    return importlib.metadata.version({"box2d": "Box2D"}.get(package, package))


if __name__ == "__main__":
    sys.exit(main())
