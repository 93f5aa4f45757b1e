"""Learning from a few tasks at a time: the result of all at once, in the memory of a few."""

import gc

import pytest
import torch
from recorded import ROLLOUTS, M, Overflows, Recorder, make, replay
from suited import suited

from metarl_run.algo.base import adapt_in_parts
from metarl_run.algo.maml import MAML
from metarl_run.algo.meta_optimizer.sgd import SGD
from metarl_run.algo.meta_sgd import MetaSGD
from metarl_run.algo.pretrain import Pretrain
from metarl_run.algo.promp import ProMP
from metarl_run.algo.reptile import Reptile
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.errors import NumericalError
from metarl_run.lifetime import live
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams

PROMP = {"epochs": 3, "clip": 0.3, "kl_weight": 0.5, "kl_target": 0.01}
KINDS = {
    "maml": (MAML, {}),
    "fomaml": (MAML, {"first_order": True}),
    "anil": (MAML, {"head_only": True}),
    "e_maml": (MAML, {"sampling_correction": True}),
    "meta_sgd": (MetaSGD, {}),
    "pretrain": (Pretrain, {}),
    "promp": (ProMP, PROMP),
    "reptile": (Reptile, {}),
}
SIZES = [1, 2, M, M + 2]
"""Sizes of parts: equal ones, unequal ones, and one of all."""


class Follower(Recorder):
    """Keeps every gradient and takes large steps, but not so large that rounding decides where they lead."""

    def __init__(self):
        super().__init__()
        self.all = []

    def step(self, gradients, task_at_fault=None):
        self.all += [g.clone() for g in gradients]
        with torch.no_grad():
            for θ, g in zip(self.tensors, gradients, strict=True):
                θ.sub_(g, alpha=0.3)
        return torch.zeros(())


def learned(kind, tasks_at_once, surrogate="loaded_dice", steps=2):
    """Gradients and metrics of an update on recorded data."""
    algo_class, arguments = KINDS[kind]
    if algo_class is not Pretrain:
        arguments = {"adaptation_steps": steps, **arguments}
    algo = make(algo_class, surrogate, meta_optimizer=Follower(), **arguments)
    metrics = algo.meta_update(replay(algo, tasks_at_once=tasks_at_once))
    return algo.meta_optimizer.all, metrics


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_parts_is_the_gradient_of_the_whole(kind, steps, size):
    (whole, metrics_of_whole), (parts, metrics_of_parts) = (learned(kind, each, steps=steps) for each in (None, size))
    assert len(whole) == len(parts) > 0
    for expected, g in zip(whole, parts, strict=True):
        torch.testing.assert_close(g, expected, rtol=1e-10, atol=1e-13)
    assert metrics_of_whole.keys() == metrics_of_parts.keys()
    for name in metrics_of_whole:
        torch.testing.assert_close(metrics_of_parts[name], metrics_of_whole[name], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("size", [1, 2])
def test_parts_adapt_as_the_whole_does_and_keep_no_graph(size):
    algo = make(MAML, meta_optimizer=Recorder())
    agent = algo.start(M)
    whole, parts = (adapt_in_parts(algo, agent, ROLLOUTS[0], each) for each in (None, size))
    for name, φ in whole.params.items():
        torch.testing.assert_close(parts.params[name], φ, rtol=1e-12, atol=1e-12)
        assert φ.requires_grad and not parts.params[name].requires_grad


@pytest.mark.parametrize("tasks_at_once", [None, 1, 2, 5])
def test_parts_are_all_tasks_in_their_order(tasks_at_once):
    algo = make(MAML, meta_optimizer=Recorder())
    lifetime = replay(algo, tasks_at_once=tasks_at_once)(1)
    parts = list(lifetime.parts())
    assert [len(part.rollouts[0].reward) for part in parts] == {None: [3], 1: [1, 1, 1], 2: [2, 1], 5: [3]}[
        tasks_at_once
    ]
    for k in range(2):
        rewards = torch.cat([part.rollouts[k].reward for part in parts])
        assert torch.equal(rewards, lifetime.rollouts[k].reward)
        for name, φ in lifetime.agents[k].params.items():
            assert torch.equal(torch.cat([part.agents[k].params[name] for part in parts]), φ)


# --- Memory ---


class Saved:
    """A tensor that autograd keeps, and the bytes of all that it keeps at this moment, and kept at most."""

    now = most = 0

    def __init__(self, tensor):
        self.tensor = tensor
        Saved.now += tensor.nbytes
        Saved.most = max(Saved.most, Saved.now)

    def __del__(self):
        Saved.now -= self.tensor.nbytes


def most_saved(kind, rollouts, tasks_at_once):
    algo_class, arguments = KINDS[kind]
    algo = make(algo_class, "ratio", meta_optimizer=Follower(), **arguments)
    gc.collect()
    Saved.now = Saved.most = 0
    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        algo.meta_update(replay(algo, rollouts, tasks_at_once))
    return Saved.most


@pytest.mark.parametrize("kind", KINDS)
def test_a_third_of_the_tasks_at_a_time_keeps_a_third_of_the_tensors_for_the_derivative(kind):
    whole, parts = (most_saved(kind, ROLLOUTS, each) for each in (None, 1))
    assert whole > 0
    assert parts < whole / (M - 1)


# --- In a run ---


def updated(algo_option, tasks_at_once, *more):
    """θ and metrics after a meta-update on 5 fresh tasks, and the rollouts."""
    point, _ = suited("experiment=smoke", f"algo={algo_option}", "algo/meta_optimizer=sgd", *more)
    streams = Streams(0, torch.device("cpu"))
    family, algo = build_agent(point.config, streams)
    lifetimes = []

    def on_fresh_tasks(steps):
        task = family.sample(5, "meta_train", streams("tasks"))
        env = TaskVectorEnv(family, task, episodes_per_task=3, generator=streams("env"))
        lifetimes.append(live(algo, env, streams("actions"), adaptation_steps=steps, tasks_at_once=tasks_at_once))
        return lifetimes[-1]

    metrics = algo.meta_update(on_fresh_tasks)
    return algo.meta_params, metrics, lifetimes[-1].rollouts


@pytest.mark.parametrize("more", [(), ("learner=actor_critic",)], ids=["reinforce", "actor_critic"])
@pytest.mark.parametrize("option", KINDS)
def test_tasks_and_noise_are_the_same_whatever_the_size_of_parts(option, more):
    whole, metrics_of_whole, rollouts = updated(option, None, *more)
    for size in (1, 2):
        θ, metrics_of_parts, rollouts_of_parts = updated(option, size, *more)
        for rollout, other in zip(rollouts, rollouts_of_parts, strict=True):
            assert torch.equal(rollout.action, other.action)
            assert torch.equal(rollout.reward, other.reward)
        for name in whole:
            torch.testing.assert_close(θ[name], whole[name], rtol=1e-6, atol=1e-7)
        for name in metrics_of_whole:
            torch.testing.assert_close(metrics_of_parts[name], metrics_of_whole[name], rtol=1e-5, atol=1e-6)


# --- Non-finite losses and gradients ---


@pytest.mark.parametrize("task", range(M))
@pytest.mark.parametrize("size", [1, 2])
def test_a_loss_that_is_not_finite_names_its_task_among_all(size, task):
    algo = make(MAML, meta_optimizer=SGD(lr=0.1, max_grad_norm=1.0))
    before = {name: θ.detach().clone() for name, θ in algo.meta_params.items()}
    reward = ROLLOUTS[1].reward.clone()
    reward[task, 0, 0] = torch.nan
    with pytest.raises(NumericalError, match=f"meta-loss: must be finite, got nan in task {task}$"):
        algo.meta_update(replay(algo, [ROLLOUTS[0], ROLLOUTS[1]._replace(reward=reward)], size))
    assert all(torch.equal(before[name], θ) for name, θ in algo.meta_params.items())


@pytest.mark.parametrize("task", range(M))
@pytest.mark.parametrize("size", [1, 2])
def test_a_gradient_that_is_not_finite_names_its_task_among_all(size, task, monkeypatch):
    algo = make(MAML, "ratio", meta_optimizer=SGD(lr=0.1, max_grad_norm=1.0))
    bad, plain = ROLLOUTS[1].reward[task, 0, 0], algo.meta_losses

    def losses(agents, rollouts, *others, **named):
        values, metrics = plain(agents, rollouts, *others, **named)
        return Overflows.apply(values, rollouts[-1].reward[:, 0, 0] == bad), metrics

    monkeypatch.setattr(algo, "meta_losses", losses)
    with pytest.raises(NumericalError, match=rf"meta-gradient of \S+: must be finite, got \S+ in task {task}$"):
        algo.meta_update(replay(algo, tasks_at_once=size))
