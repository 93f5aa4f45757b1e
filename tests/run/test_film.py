"""Films of one held-out task: as many panels as adaptation steps, and something moves in them."""

import numpy as np
import pytest
import torch
from black_box import summary
from forks import call
from PIL import Image
from suited import suited

from metarl_run.errors import ConfigError
from metarl_run.run.agent import set_up
from metarl_run.run.film import CAPTION, LONGEST, MARGIN, film

SMALL = ("meta_batch_size=2", "meta_test.num_tasks=2", "env.horizon=12")


def filmed(tmp_path, *arguments, steps=2, suffix="gif"):
    point, _ = suited(*arguments, *SMALL)
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


def test_a_family_that_draws_nothing_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="RandomMDP cannot be drawn"):
        filmed(tmp_path, "algo=maml", "env=random_mdp")
    assert not list(tmp_path.iterdir())


def test_a_finished_run_is_not_lost_for_want_of_a_film(tmp_path):
    """An agent that learns nothing has no checkpoints, by which a folder with work in it could be told."""
    done = call("experiment=smoke", "algo=random", "env=random_mdp", "film=gif", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert summary(tmp_path / "run")["status"] == "complete"
    assert "warning: there is no film: RandomMDP cannot be drawn" in done.stderr
