"""Runs as a user starts them: from any folder, alone, in sweeps, from checkpoints."""

import csv
import json
import re
import shutil

import black_box
import pytest
from black_box import SMALL, record, summary
from forks import call

from metarl_run.run import checkpoint
from metarl_run.system import machine

EXPLOSIVE = ("env=random_mdp", "network=table")
"""With a step size near the largest float, one step away from an overflow."""
SAME_AGENT = ("algo", "env", "learner", "network", "seed", "meta_test", "lifetime_returns", "tasks_hash")
"""What a summary says that tells agents, tasks and evaluations apart."""


def only_folder(path):
    (date,) = path.iterdir()
    (run,) = date.iterdir()
    return run


def test_a_run_folder_is_named_after_what_was_run(tmp_path):
    done = black_box.call(*SMALL, "algo=fomaml", "env=random_mdp", "seed=3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = only_folder(tmp_path / "outputs")
    _, *rest = folder.name.split("_", 1)
    assert rest[0].startswith("fomaml_random_mdp_3_")
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]


def test_without_a_terminal_there_are_plain_lines(tmp_path):
    done = call(*SMALL, cwd=tmp_path)
    assert "\x1b" not in done.stdout + done.stderr
    assert "adaptation step" in done.stdout
    assert done.stderr == ""


def test_the_same_command_twice_is_the_same_result(tmp_path):
    """In a process of its own, and in one that has imported everything already."""
    for name, how in (("a", black_box.call), ("b", call)):
        folder = tmp_path / name
        folder.mkdir()
        assert how(*SMALL, "hydra.run.dir=run", cwd=folder).returncode == 0
    assert record(tmp_path / "a/run") == record(tmp_path / "b/run")


def test_logging_to_wandb_or_not_is_the_same_result(tmp_path):
    for name, logger in (("a", "files"), ("b", "wandb")):
        done = black_box.call(*SMALL, f"logger={logger}", f"hydra.run.dir={name}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    first, second = record(tmp_path / "a"), record(tmp_path / "b")
    assert all(first[name] == second[name] for name in first if name != "config.yaml")
    assert (tmp_path / "b/wandb").is_dir()


def test_meta_test_alone_from_a_checkpoint_also_on_other_tasks(tmp_path):
    assert call(*SMALL, "meta_iterations=3", "hydra.run.dir=trained", cwd=tmp_path).returncode == 0
    harder = ["env.meta_test.gravity=[uniform,15,20]", "env.meta_test.force=3"]
    for name, more in (("same", []), ("harder", harder)):
        done = call(*SMALL, "checkpoint=trained", "meta_iterations=0", *more, f"hydra.run.dir={name}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    trained, same, harder = (summary(tmp_path / name) for name in ("trained", "same", "harder"))
    assert same["meta_test"] == trained["meta_test"]
    assert same["tasks_hash"] == trained["tasks_hash"] != harder["tasks_hash"]
    assert harder["meta_test"]["mean"][0] != trained["meta_test"]["mean"][0]


@pytest.mark.parametrize(
    "trained",
    [
        ["network.activation=relu"],
        ["env=navigation", "env.horizon=10", "learner.initial_deviation=0.2"],
        [
            *(
                "env=random_mdp",
                "env.horizon=5",
                "algo=rl2",
                "algo.episodes=3",
                "network.hidden=8",
                "meta_batch_size=8",
            ),
            *("episodes_per_task=1", "meta_test.adaptation_steps=4", "meta_test.episodes_per_task=1"),
            "meta_validation.episodes_per_task=1",
        ],
        ["algo=e_maml", "algo/meta_optimizer=sgd", "learner.average=episodes"],
    ],
    ids=["network", "policy", "lifetime", "algorithm"],
)
def test_what_is_tested_from_a_checkpoint_is_the_agent_that_was_trained(tmp_path, trained):
    assert call(*SMALL, *trained, "hydra.run.dir=trained", cwd=tmp_path).returncode == 0
    done = call("checkpoint=trained", "meta_iterations=0", "logger=files", "hydra.run.dir=tested", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    before, now = (summary(tmp_path / name) for name in ("trained", "tested"))
    assert {name: now[name] for name in SAME_AGENT} == {name: before[name] for name in SAME_AGENT}
    assert done.stdout.startswith("from trained as it was run, except for\n  meta_iterations: 2 → 0\n")


def test_what_is_given_beside_a_checkpoint_counts_and_is_told(tmp_path):
    assert call(*SMALL, "network.activation=relu", "seed=3", "hydra.run.dir=trained", cwd=tmp_path).returncode == 0
    given = ["network.activation=tanh", "meta_test.num_tasks=3", "meta_iterations=0", "logger=files"]
    done = call("checkpoint=trained", *given, "hydra.run.dir=tested", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = ["network.activation: relu → tanh", "meta_iterations: 2 → 0", "meta_test.num_tasks: 4 → 3", "seed: 3 → 0"]
    assert done.stdout.splitlines()[1 : 1 + len(told)] == [f"  {line}" for line in told]
    assert "activation: tanh" in (tmp_path / "tested/config.yaml").read_text()
    assert len(summary(tmp_path / "tested")["lifetime_returns"]["meta_test"]) == 3


def test_a_checkpoint_copied_alone_is_trained_on_as_the_agent_that_it_is(tmp_path):
    small = ("network.activation=relu", "algo=reptile", "hydra.run.dir=trained")
    assert call(*SMALL, *small, cwd=tmp_path).returncode == 0
    shutil.copytree(tmp_path / "trained/checkpoints/000002", tmp_path / "copied")
    done = call("checkpoint=copied", "logger=files", "hydra.run.dir=further", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = summary(tmp_path / "further")
    assert (told["algo"], told["meta_iterations"]) == ("reptile", 2)
    assert "activation: relu" in (tmp_path / "further/config.yaml").read_text()
    assert done.stdout.startswith("reptile on")  # nothing differs


def test_a_sweep_tests_each_agent_as_it_was_trained(tmp_path):
    assert call(*SMALL, "network.activation=relu", "hydra.run.dir=a", cwd=tmp_path).returncode == 0
    assert call(*SMALL, "algo=reptile", "algo.inner_lr=0.3", "hydra.run.dir=b", cwd=tmp_path).returncode == 0
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")  # processes of their own
    given = ["checkpoint=a,b", "meta_iterations=0", "logger=files", "env.horizon=30", "hydra.sweep.dir=sweep"]
    done = call("-m", *launcher, *given, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name, job in (("a", "maml_cartpole_family_0_0"), ("b", "reptile_cartpole_family_0_1")):
        before, now = summary(tmp_path / name), summary(tmp_path / "sweep" / job)
        assert {key: now[key] for key in SAME_AGENT} == {key: before[key] for key in SAME_AGENT}
        assert now["threads"] == max(machine.cpus() // 2, 1)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nowhere", "error: nowhere: there is no such folder to start from\n"),
        ("trained", "error: trained: is not a run folder: "),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_refused_before_anything_is_created(tmp_path, path, said):
    (tmp_path / "trained/checkpoints/000002").mkdir(parents=True)
    (tmp_path / "trained/config.yaml").write_text("{[\n\n")
    done = call(f"checkpoint={path}", "meta_iterations=0", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.startswith(said) and len(done.stderr.splitlines()) <= 2
    assert [folder.name for folder in tmp_path.iterdir()] == ["trained"]


def test_an_env_with_other_spaces_is_refused_in_one_line(tmp_path):
    assert call(*SMALL, "hydra.run.dir=trained", cwd=tmp_path).returncode == 0
    other = ("env=random_mdp", "meta_iterations=0", "logger=files")
    done = call("checkpoint=trained", *other, "hydra.run.dir=other", cwd=tmp_path)
    assert done.returncode == 3
    error, hint = done.stderr.splitlines()
    fit = "its parameters do not fit algo=maml network=mlp learner=reinforce env=random_mdp: "
    assert error.startswith(f"error: trained: {fit}") and error.endswith("wanted a tensor [10, 64] of float32"), error
    assert hint.startswith("hint: ") and "env with the spaces" in hint


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path):
    assert call(*SMALL, "hydra.run.dir=trained", cwd=tmp_path).returncode == 0
    done = call(*SMALL, "checkpoint=trained", "network.hidden=[8]", "hydra.run.dir=other", cwd=tmp_path)
    assert done.returncode == 3
    assert "trained" in done.stderr


def test_numbers_that_explode_end_the_run_with_their_names(tmp_path):
    done = call(*SMALL, *EXPLOSIVE, "algo.inner_lr=1e38", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 4
    assert done.stderr.startswith("error: meta-")
    told = summary(tmp_path / "run")
    assert told["status"] == "failed"
    assert told["error"]["exit_code"] == 4


def test_numbers_that_explode_later_name_the_iteration_and_task_and_leave_a_finite_checkpoint(tmp_path):
    large = ["learner=actor_critic", "algo.meta_optimizer.lr=1e20", "meta_iterations=20", "validate_every=0"]
    done = call(*SMALL, *EXPLOSIVE, *large, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 4
    found = re.match(r"error: [^:]+: must be finite, got .* in task \d+, .*meta-iteration (\d+)\n", done.stderr)
    assert found, done.stderr
    assert done.stderr.endswith("\nhint: lower algo.meta_optimizer.lr\n")
    saved = checkpoint.load_newest(tmp_path / "run" / "checkpoints")
    assert 0 < saved.iteration == int(found[1]) - 1
    assert all(θ.isfinite().all() for θ in saved.state["algo"]["meta_params"].values())
    unadapted = ["meta_iterations=0", "meta_test.adaptation_steps=0"]  # a step of its gradient would explode again
    loaded = call(*SMALL, *EXPLOSIVE, large[0], "checkpoint=run", *unadapted, cwd=tmp_path)
    assert loaded.returncode == 0, loaded.stderr


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    arguments = ["-m", *SMALL, "algo=maml,random", "env=random_mdp", "seed=0,1", "hydra.sweep.dir=sweep"]
    return folder / "sweep", call(*arguments, cwd=folder)


def test_a_sweep_ends_with_a_comparison(sweep):
    folder, done = sweep
    assert done.returncode == 0, done.stderr
    statuses = [summary(job)["status"] for job in folder.iterdir() if job.is_dir()]
    assert statuses == ["complete"] * 4
    assert (folder / "comparison.png").stat().st_size > 0
    assert "Random actions" in (folder / "report.html").read_text()
    table = json.loads((folder / "comparison.json").read_text())
    assert table
    assert "2/2" in done.stdout
    with (folder / "comparison.csv").open(newline="") as file:
        compared = {(row["env"], row["algo"]) for row in csv.DictReader(file)}
    assert compared == {("random_mdp", "maml"), ("random_mdp", "random")}


def test_a_jobs_result_is_that_of_the_same_run_alone(sweep, tmp_path):
    folder, _ = sweep
    assert call(*SMALL, "env=random_mdp", "seed=1", "hydra.run.dir=run", cwd=tmp_path).returncode == 0
    (job,) = (path for path in folder.iterdir() if path.name.startswith("maml_random_mdp_1_"))
    assert record(tmp_path / "run") == record(job)


def test_a_failed_job_does_not_stop_the_others(tmp_path):
    arguments = ["-m", *SMALL, *EXPLOSIVE, "algo.inner_lr=1e38,0.1", "hydra.sweep.dir=sweep"]
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 6
    told = sorted(summary(job)["status"] for job in (tmp_path / "sweep").iterdir() if job.is_dir())
    assert told == ["complete", "failed"]
    assert "1e38" in done.stdout or "1e+38" in done.stdout


def test_a_sweep_run_again_keeps_what_is_finished(sweep):
    folder, _ = sweep
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/summary.json")}
    arguments = ["-m", *SMALL, "algo=maml,random", "env=random_mdp", "seed=0,1", "hydra.sweep.dir=sweep"]
    assert call(*arguments, cwd=folder.parent).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/summary.json")} == before


def test_jobs_side_by_side_in_processes_of_their_own_give_the_same_results(sweep, tmp_path):
    folder, _ = sweep
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    arguments = ["-m", *SMALL, *launcher, "algo=maml,random", "env=random_mdp", "seed=0,1", "hydra.sweep.dir=sweep"]
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for job in (path for path in folder.iterdir() if path.name.startswith("maml")):
        assert record(tmp_path / "sweep" / job.name) == record(job)


def test_a_listed_sweep_goes_on_where_it_stopped_and_says_what_it_will_not_touch(tmp_path):
    tiny = ["experiment=families", "env=random_mdp", "meta_test.num_tasks=3", "meta_test.adaptation_steps=2", "seed=0"]
    done = call(*tiny, "algo=random", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    before = record_of_table(tmp_path / "outputs" / "families" / "random_random_mdp_0")
    # In processes of their own, as launchers have it
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    done = call(*tiny, "algo=random,psrl,oracle", *launcher, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folders = sorted(path.name for path in (tmp_path / "outputs" / "families").iterdir() if path.is_dir())
    assert folders == ["oracle_random_mdp_0", "psrl_random_mdp_0", "random_random_mdp_0"]
    assert record_of_table(tmp_path / "outputs" / "families" / "random_random_mdp_0") == before
    assert "Return after at most e episodes in the task" in done.stdout and "e=20" in done.stdout
    other = call(*[*tiny[:2], "meta_test.num_tasks=4", *tiny[3:]], "algo=random", cwd=tmp_path)
    assert other.returncode == 6 and "meta_test.num_tasks: 3 → 4" in other.stderr
    assert record_of_table(tmp_path / "outputs" / "families" / "random_random_mdp_0") == before


def record_of_table(folder):
    return (folder / "adaptation.csv").read_bytes(), (folder / "summary.json").read_bytes()
