"""Film of one held-out task: the agent before adaptation and after each step, side by side."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.env.base import Task, TaskFamily
from metarl_run.env.vector import Transition, parallel
from metarl_run.errors import ConfigError
from metarl_run.evaluation import episode_sums
from metarl_run.lifetime import live
from metarl_run.seeding import Streams
from metarl_run.system.video import HINT

LONGEST = 50
"""Frames per episode: of a longer one every n-th step is drawn."""

MARGIN, CAPTION = 4, 18  # pixels
SECONDS_PER_FRAME = 0.05


def film(
    algo: MetaAlgorithm,
    family: TaskFamily,
    streams: Streams,
    path: Path,
    *,
    adaptation_steps: int,
    episodes_per_task: int,
    index: int = 0,
) -> Path:
    """Draw the first episode of each adaptation step in one task of the meta-test.

    Args:
        algo: the agent.
        family: of the task; it must be able to draw itself.
        streams: random streams of the run.
        path: the film, whose suffix is its format: .gif, or .mp4 with imageio's ffmpeg.
        adaptation_steps: K.
        episodes_per_task: B, of which one is drawn.
        index: of the task among those of the meta-test.

    Raises:
        ConfigError: if the family draws nothing, or the format cannot be written.
    """
    family = family.for_pictures()
    task = family.sample(index + 1, "meta_test", streams("meta_test/tasks")).select(slice(index, index + 1))
    env = parallel(family, task, episodes_per_task=episodes_per_task, generator=streams("film/env"))
    camera = Camera(env, task)
    with contextlib.closing(family), torch.no_grad():
        lifetime = live(algo, env, streams("film/actions"), adaptation_steps=adaptation_steps)
    episodes = [frames for frames in camera.episodes if frames][: adaptation_steps + 1]
    if not episodes:
        raise ConfigError("film", f"{type(family).__name__} cannot be drawn", "leave it out")
    returns = [float(value) * family.reward_unit for value in _returns(lifetime.rollouts)]
    captions = [
        f"{'before adaptation' if k == 0 else f'after {k} step' + 's' * (k > 1)}: {value:.1f}"
        for k, value in enumerate(returns)
    ]
    _write([_side_by_side(frames, captions) for frames in _together(episodes)], path)
    return path


def filmed(config: Mapping[str, Any]) -> dict[str, int]:
    """What of the meta-test is filmed."""
    return {name: config["meta_test"][name] for name in ("adaptation_steps", "episodes_per_task")}


class Camera:
    """Pictures of the first environment, an episode at a time; it watches `env.start` and `env.advance`.

    Attributes:
        episodes: the frames of each.
    """

    def __init__(self, env: Any, task: Task) -> None:
        self.env, self.task = env, task
        self.episodes: list[list[np.ndarray]] = []
        self.step, self.every = 0, -(-env.horizon // LONGEST)
        self._start, self._advance = env.start, env.advance
        env.start, env.advance = self.start, self.advance

    def start(self, episodes: int = 1) -> Tensor:
        observation: Tensor = self._start(episodes)
        self._begin()
        return observation

    def advance(self, action: Tensor) -> Transition:
        transition: Transition = self._advance(action)
        self.step += 1
        if bool(transition.ended[0, 0]):
            if bool(self.env.alive[0, 0]):
                self._begin()
        elif self.step % self.every == 0 and bool(self.env.alive[0, 0]):
            self._draw()
        return transition

    def _begin(self) -> None:
        self.step = 0
        self.episodes.append([])
        self._draw()

    def _draw(self) -> None:
        try:
            picture = self.env.picture(self.task)
        except gymnasium.error.DependencyNotInstalled as error:
            raise ConfigError("film", f"the environment cannot be drawn: {error}") from error
        if picture is not None:
            self.episodes[-1].append(picture)


def _returns(rollouts: Sequence[Any]) -> list[Tensor]:
    """The mean return of each adaptation step."""
    return [column.mean() for rollout in rollouts for column in episode_sums(rollout.reward, rollout)[0].unbind(0)]


def _together(episodes: Sequence[Sequence[np.ndarray]]) -> list[list[np.ndarray]]:
    """Frames of the same moment; an episode that is over stands still."""
    return [[frames[min(t, len(frames) - 1)] for frames in episodes] for t in range(max(map(len, episodes)))]


def _side_by_side(frames: Sequence[np.ndarray], captions: Sequence[str]) -> Image.Image:
    height, width = frames[0].shape[:2]
    image = Image.new("RGB", (len(frames) * (width + MARGIN) - MARGIN, height + CAPTION), "white")
    pen = ImageDraw.Draw(image)
    for k, (frame, caption) in enumerate(zip(frames, captions, strict=False)):
        left = k * (width + MARGIN)
        image.paste(Image.fromarray(frame), (left, CAPTION))
        pen.text((left + MARGIN, 3), caption, fill="black")
    return image


def _write(images: Sequence[Image.Image], path: Path) -> None:
    if path.suffix == ".gif":
        images[0].save(path, save_all=True, append_images=images[1:], duration=SECONDS_PER_FRAME * 1000, loop=0)
        return
    try:
        import imageio.v3

        imageio.v3.imwrite(path, [_even(np.asarray(image)) for image in images], fps=round(1 / SECONDS_PER_FRAME))
    except (ImportError, ValueError, OSError, RuntimeError) as error:  # the last one: ffmpeg itself is missing
        reason = f"cannot be written as {path.suffix[1:]}: {error}"
        raise ConfigError("film", reason, HINT) from error


def _even(frame: np.ndarray) -> np.ndarray:
    """A picture of even height and width, as codecs want it."""
    return frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2]
