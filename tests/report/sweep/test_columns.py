"""Columns of comparisons: by adaptation steps where groups agree on episodes seen, else by these."""

import pytest

from metarl_run.report.sweep import sweep
from metarl_run.report.sweep.columns import columns_of, ladder
from metarl_run.report.sweep.groups import Group


def group(algo, episodes_seen, panel=None):
    curve = {
        "adaptation_step": list(range(len(episodes_seen))),
        "episodes_seen": [float(e) for e in episodes_seen],
        "mean": [100.0 + e for e in episodes_seen],
    }
    return Group(
        algo=algo,
        env="mdp",
        variant="",
        seeds=[0],
        failed_seeds=[],
        curve=curve,
        lifetime_return=None,
        published=None,
        panel=panel,
        meta_train_env_steps=None,
        wall_seconds=None,
        cpu_seconds=None,
    )


def means(columns, one):
    return [point and point["mean"] for point in columns.points(one)]


def test_the_ladder():
    assert list(ladder(40)) == [0, 1, 2, 5, 10, 20, 40]
    assert list(ladder(0)) == [0]
    assert list(ladder(1)) == [0, 1]


def test_adaptation_steps_where_all_count_alike():
    one, other = group("maml", [0, 10, 20]), group("reptile", [0, 10])
    columns = columns_of([one, other], 8)
    assert columns.titles == ["k=0", "k=1", "k=2"]
    assert means(columns, one) == [100, 110, 120]
    assert means(columns, other) == [100, 110, None]


def test_episodes_where_they_do_not():
    maml, rl2, short = group("maml", [0, 10, 20]), group("rl2", range(20)), group("varibad", range(3))
    columns = columns_of([maml, rl2, short], 8)
    assert columns.titles == ["e=0", "e=1", "e=2", "e=5", "e=10", "e=20"]
    assert means(columns, maml) == [100, 100, 100, 100, 110, 120]
    assert means(columns, rl2) == [100, 101, 102, 105, 110, None]  # 19 episodes precede the last


def test_columns_beyond_the_last_episode_are_empty():
    maml, short = group("maml", [0, 10, 20]), group("model_based", range(5))
    columns = columns_of([maml, short], 8)
    assert columns.titles == ["e=0", "e=1", "e=2", "e=5", "e=10", "e=20"]
    assert means(columns, maml) == [100, 100, 100, 100, 110, 120]  # at most e episodes: it learns from 10 at once
    assert means(columns, short) == [100, 101, 102, None, None, None]


def test_no_line_is_drawn_beyond_the_last_episode(make_run, tmp_path, drawn):
    make_run(tmp_path / "maml_mdp_0_0", env="mdp", returns=[[float(step), step + 1.0] for step in range(5)])
    make_run(tmp_path / "rl2_mdp_0_1", algo="rl2", env="mdp", returns=[[1.0, 2.0]] * 2)
    (axes,) = drawn(sweep, tmp_path).axes
    ends = {line.get_label(): line.get_xdata()[-1] for line in axes.lines if not line.get_label().startswith("_")}
    assert ends == {"MAML": 80.0, "RL²": 20.0}
    assert "rl2,mdp,,1,20.0" in (tmp_path / "comparison.csv").read_text()
    assert "rl2,mdp,,2" not in (tmp_path / "comparison.csv").read_text()


def test_few_columns_keep_the_first_and_the_last():
    assert columns_of([group("maml", [0, 10, 20]), group("rl2", range(20))], 3).titles == ["e=0", "e=1", "e=20"]


def test_parts_of_a_listed_sweep_have_panels(make_run, tmp_path, drawn):
    for number, (algo, panel) in enumerate([("maml", "by gradients"), ("rl2", "by memory"), ("random", None)]):
        make_run(tmp_path / f"{algo}_mdp_0_{number}", algo=algo, env="mdp", config={"panel": panel})
    gradients, memory = drawn(sweep, tmp_path).axes
    assert [axes.get_title(loc="left") for axes in (gradients, memory)] == ["mdp: by gradients", "mdp: by memory"]
    named = [[line.get_label() for line in axes.lines if line.get_label()[0] != "_"] for axes in (gradients, memory)]
    assert named == [["MAML", "Random actions"], ["Random actions", "RL²"]]


def test_training_steps_stand_beside_the_times(make_run, tmp_path):
    import json

    for seed, steps in enumerate((1000, 3000)):
        folder = make_run(tmp_path / f"maml_mdp_{seed}_{seed}", env="mdp", seed=seed)
        summary = json.loads((folder / "summary.json").read_text())
        (folder / "summary.json").write_text(
            json.dumps({**summary, "meta_train_env_steps": steps, "cpu_seconds": 30.0})
        )
    (one,) = sweep.write(tmp_path).groups
    assert one.meta_train_env_steps == pytest.approx(2000)
    assert "| 2/2 | 2 k | 30 s | 1 min 00 s |" in (tmp_path / "comparison.md").read_text()
