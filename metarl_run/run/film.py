"""Film of one held-out task: the agent before adaptation and after each step, side by side."""

import contextlib
import itertools
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.env.base import Step, Task, TaskFamily
from metarl_run.env.drawing import ACCENT, INK, MUTED, PALE, font
from metarl_run.env.vector import Transition, parallel
from metarl_run.errors import ConfigError
from metarl_run.evaluation import episode_sums
from metarl_run.lifetime import live
from metarl_run.seeding import Streams
from metarl_run.system.video import HINT

LONGEST = 50
"""Frames per episode: of a longer one every n-th step is drawn."""

MOST_PANELS, IN_A_ROW = 10, 5

MARGIN, CAPTION = 6, 40  # pixels
COLOURS, UNCHANGED, KEPT = 128, 255, 1
"""Of a GIF: number of colours, index of the transparent one, and the disposal that leaves a frame where it is."""

SECONDS_PER_FRAME = 0.05
SHORTEST, PAUSE = 3.0, 1.5
"""Seconds that the film of an episode takes at least, and the last frame in addition."""


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

    Of more than ten, those after 0, 1, 2, 4, … steps. Where an episode is a single step, as of bandits, a panel shows
    all parallel ones, or those that follow each other in an agent's memory.

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
    shown = _shown(adaptation_steps + 1)
    camera = Camera(env, task, shown)
    with contextlib.closing(family), torch.no_grad():
        lifetime = live(algo, env, streams("film/actions"), adaptation_steps=adaptation_steps)
    episodes = {k: episode for k, episode in enumerate(camera.episodes) if episode.frames}
    if not episodes:
        raise ConfigError("film", f"{type(family).__name__} cannot be drawn", "leave it out")
    means = [float(value) * family.reward_unit for value in _returns(lifetime.rollouts)]
    if len(camera.episodes) == len(means):
        heads = ["before adaptation", *(f"after {k} step{'s' * (k > 1)}" for k in range(1, len(means)))]
        about = [f"mean of {episodes_per_task}: {mean:.1f}" if episodes_per_task > 1 else "" for mean in means]
    else:
        heads, about = [f"{len(means)} episodes in a row"], [""]
    panels = [Panel(heads[k], about[k], episodes[k], family.reward_unit) for k in episodes]
    count = max(len(panel.episode.frames) for panel in panels)
    _write([_side_by_side(panels, t) for t in range(count)], path)
    return path


def filmed(config: Mapping[str, Any]) -> dict[str, int]:
    """What of the meta-test is filmed."""
    return {name: config["meta_test"][name] for name in ("adaptation_steps", "episodes_per_task")}


@dataclass
class Episode:
    """Pictures of an episode.

    Attributes:
        frames: at the start and after some of the steps.
        returns: sum of rewards until each frame.
        total: sum of rewards so far.
    """

    frames: list[np.ndarray] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)
    total: float = 0.0


class Panel(NamedTuple):
    """An episode of the film.

    Attributes:
        head: how far the agent is adapted.
        about: what else is known about it.
        episode: its pictures.
        unit: task's units of reward in one of the agent's.
    """

    head: str
    about: str
    episode: Episode
    unit: float


class Camera:
    """Pictures of the first environment, an episode at a time; it watches `env.start` and `env.advance`.

    Args:
        env: environments of one task.
        task: that task.
        shown: indices of the episodes of which pictures are taken.

    Attributes:
        episodes: what it saw of each.
    """

    def __init__(self, env: Any, task: Task, shown: Container[int]) -> None:
        self.env, self.task, self.shown = env, task, shown
        self.episodes: list[Episode] = []
        self.past: list[Step] = []
        self.single_steps = env.horizon == 1
        self._start, self._advance = env.start, env.advance
        env.start, env.advance = self.start, self.advance

    def start(self, episodes: int = 1) -> Tensor:
        observation: Tensor = self._start(episodes)
        self.watched = self.env.episodes_per_task if self.single_steps and episodes == 1 else 1
        self.every = -(-(episodes if self.single_steps else self.env.horizon) // LONGEST)
        self._begin()
        return observation

    def advance(self, action: Tensor) -> Transition:
        going = self.env.state is not None and bool(self.env.alive[0, 0])
        before = self.env.first_of() if going else None
        transition: Transition = self._advance(action)
        if going:
            for b in range(self.watched):
                reward = float(transition.reward[0, b])
                self.past.append(Step(before, action[:1, b : b + 1].clone(), reward))
        self.step += 1
        alive, over = bool(self.env.alive[0, 0]), bool(transition.ended[0, 0])
        if transition.alive is None or bool(transition.alive[0, 0]):
            self.episodes[-1].total += float(transition.reward[0, : self.watched].mean())
        if self.single_steps:
            if over and (self.step % self.every == 0 or not alive):
                self._draw()
        elif over:
            drawn = self.step % self.every == 1 % self.every  # the last state before the end
            if going and not drawn and self.episodes[-1].frames:
                self._keep(self.env.family.render(self.task, before, self.past[:-1]))
            self.episodes[-1].returns[-1:] = [self.episodes[-1].total]
            if alive:
                self._begin()
        elif alive and self.step % self.every == 0:
            self._draw()
        return transition

    def _begin(self) -> None:
        self.step, self.past = 0, []
        self.episodes.append(Episode())
        self._draw()

    def _draw(self) -> None:
        if len(self.episodes) - 1 not in self.shown:
            return
        try:
            self._keep(self.env.picture(self.task, self.past))
        except gymnasium.error.DependencyNotInstalled as error:
            raise ConfigError("film", f"the environment cannot be drawn: {error}") from error

    def _keep(self, picture: np.ndarray | None) -> None:
        if picture is not None:
            self.episodes[-1].frames.append(picture)
            self.episodes[-1].returns.append(self.episodes[-1].total)


def _returns(rollouts: Sequence[Any]) -> list[Tensor]:
    """The mean return of each adaptation step."""
    return [column.mean() for rollout in rollouts for column in episode_sums(rollout.reward, rollout)[0].unbind(0)]


def _shown(number: int) -> list[int]:
    """Which of the episodes are shown."""
    if number <= MOST_PANELS:
        return [*range(number)]
    doubled = [0, *(2**k for k in range(MOST_PANELS) if 2**k < number - 1)]
    return [*doubled[: MOST_PANELS - 1], number - 1]


def _side_by_side(panels: Sequence[Panel], t: int) -> Image.Image:
    """Frame t; an episode that is over stands still."""
    height, width = panels[0].episode.frames[0].shape[:2]
    rows = -(-len(panels) // IN_A_ROW)
    columns = -(-len(panels) // rows)
    size = columns * (width + MARGIN) - MARGIN, rows * (height + CAPTION + MARGIN) - MARGIN
    image = Image.new("RGB", size, "white")
    pen, bold, plain = ImageDraw.Draw(image), font(14), font(12)
    for i, (head, about, episode, unit) in enumerate(panels):
        left, top = i % columns * (width + MARGIN), i // columns * (height + CAPTION + MARGIN)
        now = min(t, len(episode.frames) - 1)
        image.paste(Image.fromarray(episode.frames[now]), (left, top + CAPTION))
        pen.rectangle((left, top + CAPTION, left + width - 1, top + CAPTION + height - 1), outline=PALE)
        pen.text((left + 2, top + 2), head, fill=INK, font=bold)
        over = ", over" if t > now else ""
        pen.text((left + 2, top + 21), f"return {episode.returns[now] * unit:.1f}{over}", fill=ACCENT, font=plain)
        pen.text((left + width - 2, top + 21), about, fill=MUTED, font=plain, anchor="ra")
    return image


def _write(images: Sequence[Image.Image], path: Path) -> None:
    seconds = max(SECONDS_PER_FRAME, min(SHORTEST / len(images), 0.5))
    if path.suffix == ".gif":
        duration = [round(1000 * seconds)] * (len(images) - 1) + [round(1000 * (seconds + PAUSE))]
        first, *others = _changes(images)
        first.save(
            path,
            save_all=True,
            append_images=others,
            duration=duration,
            loop=0,
            transparency=UNCHANGED,
            disposal=KEPT,
            optimize=False,
        )
        return
    try:
        import imageio.v3

        still = [images[-1]] * round(PAUSE / seconds)
        imageio.v3.imwrite(path, [_in_blocks(np.asarray(image)) for image in (*images, *still)], fps=round(1 / seconds))
    except (ImportError, ValueError, OSError, RuntimeError) as error:  # the last one: ffmpeg itself is missing
        reason = f"cannot be written as {path.suffix[1:]}: {error}"
        raise ConfigError("film", reason, HINT) from error


def _changes(images: Sequence[Image.Image]) -> list[Image.Image]:
    """The frames in one palette, with what stays as it was left out: half as many bytes as Pillow's own."""
    samples = [np.asarray(image) for image in images[:: -(-len(images) // 6)]]
    palette = Image.fromarray(np.concatenate(samples)).quantize(COLOURS, method=Image.Quantize.FASTOCTREE)
    frames = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    changes = [frames[0]]
    for before, now in itertools.pairwise(map(np.asarray, frames)):
        change = Image.fromarray(np.where(before == now, np.uint8(UNCHANGED), now))
        change.putpalette(frames[0].getpalette() or [])
        changes.append(change)
    return changes


def _in_blocks(frame: np.ndarray) -> np.ndarray:
    """A picture whose height and width are multiples of 16, as codecs want it, with white added."""
    height, width, _ = frame.shape
    return np.pad(frame, ((0, -height % 16), (0, -width % 16), (0, 0)), constant_values=255)
