"""Bad configurations, generated from every key of every option by the kind of its value, given to the real command.

Each must end with exit code 2, at most two lines on stderr that begin with `error:` and `hint:`, nothing on stdout, at
most 2 s of CPU, and nothing created, without an import of torch. A hint that can be typed must change what is said.
What was accepted, or failed in another way, is printed and listed in full.

Every twentieth is a process of its own. The others are forks of one that has imported what the command begins with, so
the CPU of these imports, measured at the others, is added to theirs.
"""

import argparse
import json
import os
import platform
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import hints

from metarl_run.cli import train  # noqa: F401  # as the command does before it reads its arguments
from metarl_run.cli.command import main as main_of_the_command
from metarl_run.config.compose import compose_points
from metarl_run.config.plan import flat
from metarl_run.errors import ConfigError, RunError
from metarl_run.folders import CONFIG_DIR

SMALL = ("experiment=smoke",)
MOST_CPU = 2.0  # seconds
LONGEST = 60  # seconds, of what is accepted and runs
ENVS = ("cartpole_family", "random_mdp", "bandit", "pendulum_family")
MAY_BE_ABSENT = ("published.num_tasks",)
"""Keys with a default in the code."""

ALWAYS = [
    "???",
    "${nowhere}",
    "${oc.env:NOWHERE}",
    '"\x1b[31mred"',
    '"a\nb"',
    '"a\x07"',
    "{a: {b: {c: 1}}}",
    "[[[[[]]]]]",
]
"""Bad of every key: missing values, broken interpolations, control characters, nesting."""

BAD: Mapping[type, list[str]] = {
    int: ["two", "2.5", "nan", "inf", "-inf", "null", "true", "-1", "[1]", '"1"', '""', "1e400", "1_0x", "１", "1:2"],
    float: ["x", "nan", "inf", "-inf", "null", "true", "[]", '"0.5"', '""', "1e400", "1e39", "0,5", "½", "5%", "1e"],
    bool: ["yes", "1", "0", "null", "nan", "[true]", '"true"', "TRUEE", '""', "{a: true}"],
    str: ["nonsense", "3", "null", "true", "[a]", "nan", '""', "ä", "🦊", "a/b", "x" * 400],
    list: ["x", "3", "null", "true", "[nan]", "[null]", "[inf]", '[""]', "{}", '"[1]"', "[[1]]", "[x,[]]"],
    type(None): ["[1]", "{a: 1}", "nan", "[null]"],
}
"""By the type of the value in the composed configuration."""

FREE_WORDS = {"output_root", "panel", "checkpoint", "resume", "budget", "published.source", "logger.wandb.project"}
"""Keys of which any word, or null, is a value: only the values bad of every key are given to them."""

HYDRA = (
    """
hydra.verbose={a:b}|hydra.verbose=3|hydra.launcher.n_jobs=0|hydra.run.dir=|hydra.output_subdir=../../x|hydra.output_subdir=/x
hydra.searchpath=[pkg://no.such]|hydra.searchpath=[file:///no/such]|hydra.searchpath=3|hydra.callbacks={a:{_target_:os.system}}
hydra.launcher._target_=os.system|hydra.sweeper._target_=os.system|hydra.job_logging.handlers.x={class:os.system}
hydra.nonsense=1|+hydra.run.x={_target_:os.system}|hydra/launcher=nonsense|hydra/sweeper=nonsense|hydra/launcher=ray
hydra/job_logging=nonsense|hydra/sweeper=nevergrad|hydra.sweep.subdir=../x|hydra.run.dir=[a]|hydra.job.chdir=maybe
""".replace("\n", "|")
    .strip("|")
    .split("|")
)

ISSUE = [
    *(["output_root=/proc/x"], ["--resolve"], ["-m", "seed=range(0,1,0)"], ["-m", "seed=range(0,100000000)"]),
    *(["plugins=3"], ["plugins=['']"], ["output_root="], ["checkpoint="], ["algo=rl2", "algo.minibatches=100"]),
    *(["-m", "hydra.sweep.subdir=same", "seed=1,2"], ["-m", "hydra.sweeper.max_batch_size=0", "seed=1,2"]),
    ["sweep=[{panel: a, given: [], runs: ['algo=\"maml']}]"],
    *(
        ["meta_batch_size=1000000000000"],
        ["network.hidden=[1000000000000]"],
        ["env=bandit", "env.num_arms=100000000000"],
    ),
    *(["threads=1000000"], ["meta_test.num_tasks=100000000000000000000"], ["meta_test.num_tasks=1000000000000"]),
    *(["env=gridworld", "env.goal_reward=-1"], ["env=gridworld", "env.meta_train.goals=[25]"]),
    *(["env=gridworld", "env.meta_test.goals=[]"], ["env=gridworld", "env.meta_test.goals=none"]),
    *(["env=bandit", "env.meta_train.mean=[uniform,0,2]"], ["env=bandit", "env.meta_test.mean=[normal,0,1]"]),
    *(["algo=model_based", "algo.continuous.planner.elites=33"], ["algo=model_based", "algo.continuous.discount=1"]),
    *(["algo=rl2", "network=transformer", "network.hidden=63"], ["algo=meta_gradient", "algo.step_size_bounds=[0,1]"]),
    *(
        ["env.meta_train={gravity: 1}", "env.meta_train.gravity=2"],
        ["meta_test={num_tasks: 1}", "meta_test.num_tasks=2"],
    ),
    *(["seed=1", "seed=2"], ["algo=maml", "algo=reptile"], ["seed=1", "++seed=1"], ["checkpoint=a", "resume=b"]),
    *(["network=table"], ["algo=oracle"], ["learner.policy=gaussian"], ["algo=rl2", "meta_batch_chunk=1"]),
    *(["-m", "seed=1,2", "algo.inner_lr=0.1,-1"], ["seed=1,2"], ["-m", "seed=interval(0,1)"], ["budget=paper"]),
    *(
        ["=3"],
        ["seed"],
        ["==="],
        [""],
        [" "],
        ["--frobnicate"],
        ["-x"],
        ["seed=[1"],
        ["seed={a"],
        ['seed="'],
        ["seed='"],
    ),
    *(
        ["seed=(1"],
        ["seed=$"],
        ["seed=${"],
        ["seed=1 2"],
        ["+seed=1"],
        ["~seed"],
        ["~algo"],
        ["~env.horizon"],
        ["ключ=1"],
    ),
    *(
        ["seed=" + "9" * 5000],
        ["a" * 5000 + "=1"],
        ["seed=" + "[" * 300 + "]" * 300],
        ["a.b.c.d=1"],
        ["algo.=1"],
        [".=1"],
    ),
    *(["\u202eseed=1"], ["seed=1\u200b"], ["seed\u200b=1"], ["--config-name=nonsense"], ["--config-dir=nowhere"]),
    *(["--config-path=relative"], ["--experimental-rerun=x"], ["-p", "nonsense"], ["--multirun", "seed=choice()"]),
    *(
        ["logger.x={_target_:os.system}"],
        ["+logger.x={_target_:os.system}"],
        ["+logger.x=3"],
        ["logger=[files,nonsense]"],
    ),
]
"""Those of the issue that asked for this loop, and others that are about more than one value."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the selection (default: 0)")
    parser.add_argument("--count", type=int, default=2000, help="configurations (default: 2000)")
    parser.add_argument("--json", type=Path, help="file for the result")
    parser.add_argument("--minutes", type=float, default=600, help="begin no further one after so long (default: 600)")
    chosen = parser.parse_args()
    commands = selection(random.Random(chosen.seed), chosen.count)
    begun, found = time.monotonic(), []
    with tempfile.TemporaryDirectory() as place:
        for number, command in enumerate(commands):
            if time.monotonic() - begun > 60 * chosen.minutes:
                break
            found.append(given(command, Path(place), forked=number % 20 != 0))
            if found[-1]["wrong"]:
                print(json.dumps(found[-1]), flush=True)
            if number % 100 == 99:
                print(f"{number + 1} of {len(commands)}", file=sys.stderr, flush=True)
    refused = {
        forked: [one["cpu_seconds"] for one in found if one["forked"] is forked and not one["wrong"]]
        for forked in (True, False)
    }
    imports = statistics.median(refused[False]) - statistics.median(refused[True] or refused[False])
    for one in found:
        one["cpu_seconds"] = round(one["cpu_seconds"] + imports * one["forked"], 2)
        if one["cpu_seconds"] > MOST_CPU:
            one["wrong"].append("CPU")
    cpu, failures = (
        [one["cpu_seconds"] for one in found if one["exit_code"] == 2],
        [one for one in found if one["wrong"]],
    )
    print(f"{len(found) - len(failures)} of {len(found)} refused cleanly, at most {max(cpu):.2f} s of CPU")
    result = {
        "seed": chosen.seed,
        "count": len(found),
        "refused_cleanly": len(found) - len(failures),
        "cpu_seconds": {"largest": max(cpu), "median": statistics.median(cpu), "of_it_imports": round(imports, 2)},
        "failures": failures,
        "date": time.strftime("%Y-%m-%d"),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("hydra-core", "omegaconf")},
    }
    if chosen.json is not None:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if failures else 0


# --- Generation ---


def selection(generator: random.Random, count: int) -> list[list[str]]:
    """The listed commands, and as many of the generated ones as are wanted, in a random order."""
    generated = list(of_all_keys())
    generator.shuffle(generated)
    listed = [[*SMALL, *command] for command in (*ISSUE, *([text] for text in HYDRA))]
    return [*listed, *generated][:count]


def of_all_keys() -> Iterator[list[str]]:
    """Bad values of each key of each option, of each kind of badness."""
    seen: set[tuple[str, str]] = set()
    for base, config in bases():
        for key, value in flat(config).items():
            group = key.split(".")[0]
            node = config[group]
            owner = str(node.get("_target_")) if isinstance(node, dict) else ""
            if (key, owner) in seen:
                continue
            seen.add((key, owner))
            yield from ([*base, text] for text in of_key(key, value))
        for group in ("algo", "env", "learner", "network"):
            if (group, base[-1]) not in seen:
                seen.add((group, base[-1]))
                yield from ([*base, text] for text in of_group(group))


def bases() -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Good command lines that together contain each option, and their configurations."""
    options = {group: sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml")) for group in ("algo", "env")}
    options |= {
        group: sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml")) for group in ("learner", "network")
    }
    tried = [(f"algo={algo}", f"env={env}") for algo in options["algo"] for env in ENVS]
    tried += [(f"env={env}",) for env in options["env"]]
    for group in ("learner", "network"):
        tried += [
            (f"{group}={option}", *more)
            for option in options[group]
            for more in ((), ("env=random_mdp",), ("algo=rl2",))
        ]
    tried += [("learner=tabular_q_learning", "network=table", "env=random_mdp"), ("logger=wandb",)]
    tried += [("algo.meta_optimizer=x", "algo/meta_optimizer=sgd")[1:], ("algo=maml_trpo",)]
    done: set[str] = set()
    for overrides in tried:
        if overrides[0] in done:
            continue
        try:
            (point,) = compose_points([*SMALL, *overrides]).points
        except ConfigError:
            continue
        done.add(overrides[0])
        yield (*SMALL, *overrides), point.config


def of_key(key: str, value: Any) -> Iterator[str]:
    """Overrides of one key, each of them bad."""
    quoted = [*ALWAYS]
    if key.endswith("_target_"):
        quoted += [
            "os.system",
            "subprocess.run",
            "metarl_run.cli.train.main",
            "metarl_run.nowhere.Thing",
            "3",
            "null",
            "x",
        ]
        quoted += ["metarl_run.algo.maml", "builtins.eval", "metarl_run.env.base.Split", "a..b", "[a]"]
    elif key not in FREE_WORDS and not key.startswith(("budgets", "table", "sweep")):
        quoted += BAD[type(value)]
    if key in FREE_WORDS or value is None:
        quoted = (
            [text for text in quoted if text not in ("{a: {b: {c: 1}}}", "[[[[[]]]]]")]
            if key in ("sweep", "table")
            else quoted
        )
    if key.startswith("env.meta_"):
        quoted = [text for text in quoted if text not in ("3", "-1", "2.5")]  # a number is a distribution
    for text in quoted:
        yield f"{key}={text}"
    if type(value) is int and not key.startswith("env.meta_"):
        yield f"{key}=1e3x"
        if key != "seed":
            yield f"{key}={10**25}"
    parent, _, last = key.rpartition(".")
    yield f"{key}x=1"
    yield f"+{parent + '.' if parent else ''}{last}_more=1"
    yield f"+{key}.deeper=1"
    yield f"+{key}=1"
    yield f"{key}={'[' * 60}{']' * 60}"
    yield f'{key}="unclosed'
    yield f"{key}=[1,2"
    yield f"{key}={{a: 1"
    if key not in MAY_BE_ABSENT:
        yield f"~{key}"


def of_group(group: str) -> Iterator[str]:
    """Choices of a group that are none."""
    for name in (
        "nonsense",
        "../x",
        "/etc/passwd",
        "3",
        "[a,b]",
        "{a: 1}",
        '""',
        "a b",
        "MAML",
        "x" * 300,
        "nan",
        "true",
        "ä",
    ):
        yield f"{group}={name}"


# --- The command ---


def given(command: list[str], place: Path, *, forked: bool) -> dict[str, Any]:
    """What the command made of one command line, in an empty folder; `wrong` lists what it should not have.

    Args:
        command: arguments.
        place: for the folder.
        forked: run it in a fork of this process.
    """
    folder, torch = Path(tempfile.mkdtemp(dir=place)), False
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = os.fork()
        if process == 0:
            _become(command, folder, out.fileno(), err.fileno(), forked)
        code, cpu = _ended(process)
        out.seek(0), err.seek(0)
        output, text = out.read(), err.read().decode("utf-8", "backslashreplace").splitlines()
    if forked and text and text[-1] == TORCH:
        torch = bool(text.pop())
    created = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    wrong = [] if code == 2 else [f"exit code {code}"]
    if (
        not 1 <= len(text) <= 2
        or not text[0].startswith("error: ")
        or any(not x.startswith("hint: ") for x in text[1:])
    ):
        wrong.append("not one line of error and at most one of hint")
    if any(ord(letter) < 32 or letter == "\x7f" for line in text for letter in line):
        wrong.append("control characters")
    if code == 2 and len(text) == 2 and _misleads(command, text):
        wrong.append("followed, the hint leads to the same error")
    wrong += [what for what, found in (("output", output), ("files", created), ("torch", torch)) if found]
    return {
        "command": [argument[:200] for argument in command],
        "wrong": wrong,
        "exit_code": code,
        "stderr": [line[:300] for line in text[:4]],
        "created": created[:3],
        "forked": forked,
        "cpu_seconds": cpu,
    }


def _misleads(command: list[str], text: list[str]) -> bool:
    """Whether one of the commands that the hint means is refused by the same words."""
    where, _, reason = text[0].removeprefix("error: ").partition(": ")
    for other in hints.followed(command, where, text[1].removeprefix("hint: ")):
        try:
            compose_points(other)
        except RunError as error:
            if (error.where, error.reason) == (where, reason):
                return True
    return False


TORCH = "torch was imported"


def _become(command: list[str], folder: Path, out: int, err: int, forked: bool) -> NoReturn:
    """Turn this process into the command."""
    os.chdir(folder)
    os.environ.update(WANDB_MODE="offline", OMP_NUM_THREADS="1", TMPDIR=str(folder.parent))
    tempfile.tempdir = None
    for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), out, err)):
        os.dup2(file, number)
    if not forked:
        root = str(Path(__file__).parents[2])
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        os.execv(sys.executable, [sys.executable, "-m", "metarl_run", *command])
    sys.argv, code = ["metarl-run", *command], 1
    try:
        main_of_the_command()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
    if "torch" in sys.modules:
        print(TORCH, file=sys.stderr)
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)


def _ended(process: int) -> tuple[int, float]:
    """Exit code of a child, which is killed after a while, and its seconds of CPU."""
    begun = time.monotonic()
    while True:
        ended, status, usage = os.wait4(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
        if time.monotonic() - begun > LONGEST:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.005)


if __name__ == "__main__":
    sys.exit(main())
