"""Examples in CONTRIBUTING: run as code of one's own, from a package and a configuration folder outside the project.

Examples that are also options of the package are the same bytes there. Links and scripts that the documents name exist.
"""

import importlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from black_box import ROOT, SMALL, rows, summary
from forks import call
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from suited import suited

from metarl_run.env.vector import TaskVectorEnv
from metarl_run.folders import GROUPS
from metarl_run.lifetime import live
from metarl_run.logger.base import RunInfo
from metarl_run.maths.distributions import Categorical
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams
from metarl_run.types import Rollout

DOCUMENT = ROOT / ".github" / "CONTRIBUTING.md"
OURS = [
    path for path in sorted((ROOT / ".github").rglob("*.md")) if path.parent.name != "docs"
]  # MkDocs follows theirs
DOCUMENTS = [ROOT / "README.md", ROOT / "outputs/showcase/README.md", *OURS]
BLOCK = re.compile(r"^`([\w./]+\.(?:py|yaml))`\n\n```(?:python|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = dict(BLOCK.findall(DOCUMENT.read_text(encoding="utf-8")))
EXAMPLES = {Path(path).parts[1]: Path(path).stem for path in FILES if path.startswith("conf/")}
CPU = torch.device("cpu")


def test_every_group_has_one_example_of_two_files():
    assert EXAMPLES.keys() == set(GROUPS)
    wanted = {(f"metarl_run/{g}/{name}.py", f"conf/{g}/{name}.yaml") for g, name in EXAMPLES.items()}
    assert FILES.keys() == {path for pair in wanted for path in pair}


def test_examples_that_the_package_has_are_its_files_byte_for_byte():
    in_package = {path for path in FILES if (ROOT / path).exists()}
    assert {"metarl_run/algo/cavia.py", "metarl_run/env/pendulum_family.py"} <= in_package
    for path in in_package:
        assert FILES[path] == (ROOT / path).read_text(encoding="utf-8"), f"copy {path} into {DOCUMENT.name}"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The examples as the package `my_package` and the configuration folder `my_conf`, options called `my_…`."""
    package, conf = tmp_path / "site" / "my_package", tmp_path / "my_conf"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for path, text in FILES.items():
        room, group, name = Path(path).parts
        if room == "conf":
            (conf / group).mkdir(parents=True)
            text = text.replace(f"_target_: metarl_run.{group}.", "_target_: my_package.")
            (conf / group / f"my_{name}").write_text(text)
        else:
            (package / name).write_text(text)
    monkeypatch.syspath_prepend(package.parent)
    return tmp_path


def run(mine, *arguments):
    done = call("--config-dir", "my_conf", "plugins=[my_package]", *SMALL, *arguments, "hydra.run.dir=run", cwd=mine)
    assert (done.returncode, done.stderr) == (0, "")
    told = summary(mine / "run")
    assert told["status"] == "complete"
    return told


def class_of(mine, group):
    """The class of an example, from the package outside."""
    (target,) = re.findall(r"_target_: (\S+)", FILES[f"conf/{group}/{EXAMPLES[group]}.yaml"])
    module, _, name = target.removeprefix(f"metarl_run.{group}.").rpartition(".")
    return getattr(importlib.import_module(f"my_package.{module}"), name)


@pytest.fixture(autouse=True)
def forget():
    yield
    for name in [name for name in importlib.sys.modules if name.partition(".")[0] == "my_package"]:
        del importlib.sys.modules[name]


# --- The algorithm ---


def test_cavia_runs_and_adapts_its_context_alone(mine):
    told = run(mine, "algo=my_cavia", "env=navigation", "algo.context_size=3", "algo.inner_lr=0.5")
    assert told["algo"] == "my_cavia"
    assert len(rows(mine / "run" / "metrics.csv")) == 2

    family, algo = build_agent(suited("experiment=smoke", "algo=cavia", "env=navigation")[0].config, Streams(0, CPU))
    generator = torch.Generator().manual_seed(0)

    def live_here(adaptation_steps, agents=None, *, again=False):
        env = TaskVectorEnv(family, family.sample(4, "meta_train", generator), episodes_per_task=3, generator=generator)
        return live(algo, env, generator, adaptation_steps=adaptation_steps)

    θ = {name: tensor.detach().clone() for name, tensor in algo.meta_params.items()}
    assert "context" not in θ
    lifetime = live_here(2)
    first, *adapted = lifetime.agents
    assert not first.params["context"].any()
    assert first.params["context"].shape == (4, 1, 50)
    for before, after, rollout in zip(lifetime.agents, adapted, lifetime.rollouts, strict=False):
        assert before.params.keys() == after.params.keys() == {*θ, "context"}
        for name in θ:
            assert torch.equal(before.params[name], after.params[name])
            assert (after.params[name] == θ[name]).all()
        c = before.params["context"].detach().requires_grad_()
        losses, _ = algo.loss({**before.params, "context": c}, rollout)
        (gradient,) = torch.autograd.grad(losses.sum(), c)
        torch.testing.assert_close(after.params["context"], c - algo.inner_lr * gradient)
        assert (after.params["context"] != c).flatten(1).any(1).all()  # in every task

    algo.meta_update(live_here)
    assert all((algo.meta_params[name] != θ[name]).any() for name in θ if "weight" in name)


# --- The task family ---


def test_pendulums_run_and_step_as_gymnasiums(mine):
    told = run(mine, "env=my_pendulum_family", "algo=maml")
    assert told["env"] == "my_pendulum_family"

    kind = class_of(mine, "env")
    physics = [{"mass": 1, "length": 1, "gravity": 10}, {"mass": 0.5, "length": 1.5, "gravity": 3.7}]
    for of_task in physics:
        family = kind(horizon=200, meta_train=of_task, meta_test=of_task)
        task = family.sample(1, "meta_test", torch.Generator())
        task = type(task)(**{name: tensor.double() for name, tensor in task.tensors().items()})
        theirs = PendulumEnv(g=of_task["gravity"])
        theirs.m, theirs.l = (task.tensors()[name].item() for name in ("mass", "length"))
        theirs.g = task.gravity.item()
        theirs.reset(seed=0)
        ours = family.reset(task, 1, torch.Generator())
        ours = type(ours)(*(torch.full((1, 1), x, dtype=torch.float64) for x in theirs.state))
        rng = np.random.default_rng(0)
        for _ in range(200):
            torque = rng.uniform(-3, 3)  # beyond the bounds, too: they clip, ours is given what is clipped
            observation, reward, *_ = theirs.step(np.array([torque]))
            ours, r, terminated = family.step(
                task, ours, torch.full((1, 1, 1), np.clip(torque, -2, 2), dtype=torch.float64), None
            )
            np.testing.assert_allclose(family.observe(task, ours)[0, 0].numpy(), observation, atol=1e-5)
            np.testing.assert_allclose([x.item() for x in ours], theirs.state, atol=1e-5)
            assert r.item() == pytest.approx(reward, abs=1e-5)
            assert not terminated


def test_random_torques_lie_in_the_action_space_and_tasks_within_their_distributions(mine):
    family, algo = build_agent(suited("algo=random", "env=pendulum_family")[0].config, Streams(0, CPU))
    generator = torch.Generator().manual_seed(0)
    task = family.sample(8, "meta_train", generator)
    assert ((task.mass >= 0.5) & (task.mass <= 1.5) & (task.length >= 0.5) & (task.length <= 1.5)).all()
    assert (task.gravity == 10).all()
    env = TaskVectorEnv(family, task, episodes_per_task=2, generator=generator)
    (rollout,) = live(algo, env, generator, adaptation_steps=0).rollouts
    assert rollout.action.shape == (8, 200, 2, 1)
    assert all(family.action_space.contains(u) for u in rollout.action.flatten(0, 2).numpy())
    assert all(family.observation_space.contains(o) for o in rollout.observation.flatten(0, 2).numpy())


# --- The learner ---


def test_elites_run_and_imitate_the_best_episodes(mine):
    assert run(mine, "learner=my_elites", "algo=fomaml", "env=random_mdp")["learner"] == "my_elites"

    T, B = 3, 5
    alive = torch.ones(T, B, dtype=torch.bool)
    alive[2, 4] = False
    reward = torch.tensor([[0.0, 1, 5, 0, 3], [0, 1, 0, 0, 1], [0, 1, 0, 1, 0]])  # returns 0, 3, 5, 1, 4
    action = torch.randint(3, (T, B), generator=torch.Generator().manual_seed(0))
    never = torch.zeros(T, B, dtype=torch.bool)
    rollout = Rollout(torch.zeros(T + 1, B, 1), action, reward, never, never, alive, {})
    logits = torch.randn(T + 1, B, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    loss, metrics = class_of(mine, "learner")(fraction=0.3, epochs=1).loss({"policy": logits}, rollout)  # ⌈1.5⌉ = 2
    log_prob = Categorical(logits[:-1]).log_prob(action)
    torch.testing.assert_close(loss, -(log_prob[:, 2].sum() + log_prob[:2, 4].sum()) / 5)
    assert metrics["elite_return"] == 4
    (gradient,) = torch.autograd.grad(loss, logits)
    imitated = alive & torch.tensor([False, False, True, False, True])
    assert torch.equal(gradient[:-1].any(-1), imitated) and not gradient[-1].any()


# --- The network ---


def test_layer_norm_runs_and_normalises_every_layer(mine):
    run(mine, "network=my_layer_norm", "algo=maml")

    network = class_of(mine, "network")(num_inputs=3, heads={"policy": 2}, hidden=[7, 5], activation="tanh")
    params = network.init(torch.Generator().manual_seed(0))
    assert {name for name in params if "gain" in name} == {"policy.0.gain", "policy.1.gain"}
    assert network.head_names() == {"policy.2.weight", "policy.2.bias"}
    generator = torch.Generator().manual_seed(1)
    params = {name: φ + torch.randn(φ.shape, generator=generator) for name, φ in params.items()}
    x = torch.randn(4, 3, generator=generator)
    found, _ = network(params, x, {})
    y = x.double().numpy()
    for layer in range(3):
        W, b = (params[f"policy.{layer}.{part}"].double().numpy() for part in ("weight", "bias"))
        y = y @ W
        if layer < 2:
            y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-5)
            y = np.tanh(params[f"policy.{layer}.gain"].double().numpy() * y + b)
        else:
            y = y + b
    np.testing.assert_allclose(found["policy"].numpy(), y, atol=1e-5)


# --- The logger ---


def test_json_lines_have_every_row(mine):
    told = run(mine, "logger=my_json_lines", "algo=fomaml", "validate_every=1")
    lines = [json.loads(line) for line in (mine / "run" / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    updates = [line for line in lines if "meta_train/loss" in line]
    table = rows(mine / "run" / "metrics.csv")
    assert [line["iteration"] for line in updates] == [int(row["iteration"]) for row in table] == [1, 2]
    for line, row in zip(updates, table, strict=True):
        assert all(line[name] == pytest.approx(float(value)) for name, value in row.items())
    evaluated = [line for line in lines if "adaptation_step" in line and "split" in line]
    assert [str(line["episode_return"]) for line in evaluated] == [
        row["episode_return"] for row in rows(mine / "run" / "adaptation.csv")
    ]
    assert lines[-1]["meta_test"] == told["meta_test"]


def test_json_lines_are_cut_back_to_the_checkpoint_of_a_resumed_run(mine):
    info = dict(config={}, algo="a", env="e", learner="l", seed=0, meta_iterations=2, first_iteration=0)
    sink = class_of(mine, "logger")(name="x.jsonl")
    sink.open(RunInfo(folder=mine, **info), {})
    sink.metrics(1, {"a": 1.0})
    kept = sink.position()
    sink.metrics(2, {"a": 2.0})
    sink.close()
    again = class_of(mine, "logger")(name="x.jsonl")
    again.open(RunInfo(folder=mine, **info), kept)
    again.metrics(2, {"a": 3.0})
    again.close()
    assert [json.loads(line)["a"] for line in (mine / "x.jsonl").read_text().splitlines()] == [1.0, 3.0]


# --- What the documents refer to ---


def anchors(path):
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere_and_named_files_exist(path):
    text = path.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not link.startswith(("http://", "https://")):
            target, _, anchor = link.partition("#")
            found = (path.parent / target).resolve() if target else path
            assert found.exists(), link
            assert not anchor or anchor in anchors(found), link
    for name in re.findall(r"(?<![\w/.])(?:\./)?((?:scripts|conf|metarl_run|tests)/[\w/.]*\w)", text):
        outside = name in FILES or name.rpartition("-")[2] == "v0" or "mine" in name
        assert outside or (ROOT / name).exists() or f"{name}-v0" in text, name


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="not a clone")
def test_the_top_level_is_the_one_that_the_map_shows():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    top = {name.partition("/")[0] for name in listed}
    assert {name for name in top if not name.startswith(".")} == {
        "pyproject.toml", "metarl_run", "conf", "scripts", "tests", "outputs", "README.md", "LICENSE"
    }  # fmt: skip
