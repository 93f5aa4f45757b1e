"""Films of one held-out task: as many panels as adaptation steps, and something moves in them."""

import itertools

import numpy as np
import pytest
import torch
from black_box import summary
from forks import call
from PIL import Image
from suited import suited

from metarl_run.env.base import TaskFamily
from metarl_run.env.drawing import SIZE
from metarl_run.env.random_mdp import RandomMDP
from metarl_run.env.vector import parallel
from metarl_run.errors import ConfigError
from metarl_run.lifetime import live
from metarl_run.run.agent import set_up
from metarl_run.run.film import CAPTION, LONGEST, MARGIN, Camera, _shown, _write, film

UNSEEN = """
from metarl_run.env.base import TaskFamily
from metarl_run.env.random_mdp import RandomMDP

class Unseen(RandomMDP):
    render = TaskFamily.render
"""

SMALL = ("meta_batch_size=2", "meta_test.num_tasks=2")


def filmed(tmp_path, *arguments, steps=2, suffix="gif"):
    short = () if "env=bandit" in arguments else ("env.horizon=12",)
    point, _ = suited(*arguments, *SMALL, *short)
    _, streams, family, algo = set_up(point.config)
    path = film(algo, family, streams, tmp_path / f"behaviour.{suffix}", adaptation_steps=steps, episodes_per_task=2)
    with Image.open(path) as image:
        frames = []
        for i in range(image.n_frames):
            image.seek(i)
            frames.append(np.asarray(image.convert("RGB")))
    return frames


@pytest.mark.parametrize(
    "arguments",
    [
        ("algo=maml", "env=navigation"),
        ("algo=rl2", "env=navigation"),
        ("algo=maml", "env=cartpole_family"),
        ("algo=maml", "env=gridworld"),
        ("algo=maml", "env=pendulum_family"),
        ("algo=maml", "env=bandit"),
        ("algo=maml", "env=random_mdp"),
    ],
    ids=" ".join,
)
def test_a_film_has_a_panel_for_every_adaptation_step_and_something_moves(arguments, tmp_path):
    frames = filmed(tmp_path, *arguments)
    height, width, _ = frames[0].shape
    side = height - CAPTION
    assert width == 3 * (side + MARGIN) - MARGIN
    assert 1 < len(frames) <= LONGEST + 1
    for k in range(3):
        panels = [frame[CAPTION:, k * (side + MARGIN) : k * (side + MARGIN) + side] for frame in frames]
        assert any((panel != panels[0]).any() for panel in panels), f"nothing moves in panel {k}"


def test_a_film_changes_nothing_else_and_is_the_same_again(tmp_path):
    before = torch.random.get_rng_state()
    first, second = (filmed(tmp_path, "algo=maml", "env=navigation") for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert torch.equal(before, torch.random.get_rng_state())


def test_pulls_that_an_agent_remembers_follow_each_other_in_one_panel(tmp_path):
    """Frame t shows t pulls."""
    frames = filmed(tmp_path, "algo=rl2", "env=bandit", steps=6)
    assert frames[0].shape == (SIZE + CAPTION, SIZE, 3)
    assert len(frames) == 1 + 7
    assert all((a != b).any() for a, b in itertools.pairwise(frames))


def test_of_many_episodes_the_film_shows_a_few(tmp_path):
    """Those before and after 1, 2, 4, 8 and all 11 adaptations, in two rows."""
    frames = filmed(tmp_path, "algo=rl2", "env=random_mdp", steps=11)
    assert frames[0].shape == (2 * (SIZE + CAPTION + MARGIN) - MARGIN, 3 * (SIZE + MARGIN) - MARGIN, 3)
    assert _shown(100) == [0, 1, 2, 4, 8, 16, 32, 64, 99]
    assert _shown(10) == [*range(10)] and _shown(11) == [0, 1, 2, 4, 8, 10]


def test_a_frame_is_what_was_drawn(tmp_path):
    """But for the colours' rounding: pixels that do not change are left out of the file."""
    before, now, after = (Image.new("RGB", (20, 10), "white") for _ in range(3))
    now.paste((0, 114, 178), (3, 2, 8, 6))
    after.paste((0, 114, 178), (5, 2, 10, 6))
    _write([before, now, now, after], tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as image:
        frames, durations = [], []
        for i in range(image.n_frames):
            image.seek(i)
            frames.append(np.asarray(image.convert("RGB"), int))
            durations.append(image.info["duration"])
    assert sum(durations) == 3 * 500 + 2000  # the last one stays
    shown = [np.asarray(image, int) for image in (before, now, now, after)]
    assert all(np.abs(a - b).max() <= 16 for a, b in zip(frames, shown, strict=True))


def test_the_return_counts_up_to_that_of_the_episode():
    """CartPole pays 1 for each step, and every fourth of 200 is drawn, besides the start and the last before a fall."""
    point, _ = suited("algo=random", "env=cartpole_family")
    _, streams, family, algo = set_up(point.config)
    task = family.sample(1, "meta_test", streams("tasks"))
    env = parallel(family, task, episodes_per_task=1, generator=streams("env"))
    camera = Camera(env, task, range(5))
    lifetime = live(algo, env, streams("actions"), adaptation_steps=4)
    lengths = [int(rollout.reward.sum()) for rollout in lifetime.rollouts]
    for length, episode in zip(lengths, camera.episodes, strict=True):
        *drawn, last = episode.returns
        assert last == length < 200
        assert drawn == [*range(0, length - (length % 4 != 1), 4)][: len(drawn)]
        assert len(episode.frames) == 1 + len(drawn)


def test_a_family_that_draws_nothing_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(RandomMDP, "render", TaskFamily.render)
    with pytest.raises(ConfigError, match="RandomMDP cannot be drawn"):
        filmed(tmp_path, "algo=maml", "env=random_mdp")
    assert not list(tmp_path.iterdir())


def test_a_finished_run_is_not_lost_for_want_of_a_film(tmp_path, monkeypatch):
    """An agent that learns nothing has no checkpoints, by which a folder with work in it could be told."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "unseen.py").write_text(UNSEEN)
    mine = ("plugins=[unseen]", "env._target_=unseen.Unseen", "env=random_mdp")
    done = call("experiment=smoke", "algo=random", *mine, "film=gif", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert summary(tmp_path / "run")["status"] == "complete"
    assert "warning: there is no film: Unseen cannot be drawn" in done.stderr
