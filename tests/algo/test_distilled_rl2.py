"""Distilled RL²: DAgger's mixture, what is left of it, and what resumes."""

import pytest
import torch
from suited import composed

from metarl_run.algo.memory.distillation import TEACHER, labelled
from metarl_run.config.compose import compose_points
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.errors import ConfigError
from metarl_run.lifetime import live
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams
from metarl_run.types import Percept

STREAMS = Streams(0, torch.device("cpu"))
BANDIT = (
    "env=bandit",
    "algo@algo.teacher=greedy",
    "network=min_gru",
    "network.hidden=16",
    "algo.episodes=6",
    "algo.minibatches=2",
    "algo.distillation=3",
    "algo.mixing=2",
    "meta_iterations=5",
)


def built(*overrides):
    keys = {override.partition("=")[0] for override in overrides}
    arguments = ["logger=files", "algo=distilled_rl2", *overrides]
    arguments += [default for default in BANDIT if default.partition("=")[0] not in keys]
    return build_agent(composed(*arguments).config, STREAMS)


def lives(algo, family, iteration, tasks=64, watch=None):
    """`live` of one meta-iteration."""

    def live_here(adaptation_steps):
        task = family.sample(tasks, "meta_train", STREAMS("tasks", iteration))
        env = TaskVectorEnv(family, task, episodes_per_task=1, generator=STREAMS("env", iteration))
        lifetime = live(algo, env, STREAMS("actions", iteration), adaptation_steps=adaptation_steps)
        if watch is not None:
            watch.append((algo.share, lifetime.merged()))
        return lifetime

    return live_here


def trained(family, algo, first, last, watch=None):
    return [algo.meta_update(lives(algo, family, i, watch=watch)) for i in range(first, last + 1)]


def test_the_teachers_share_falls_to_nothing_within_the_first_meta_iterations():
    family, algo = built()
    watch = []
    metrics = trained(family, algo, 1, 4, watch)
    assert [share for share, _ in watch] == [1.0, 0.5, 0.0, 0.0]
    assert [float(row["distilling"]) for row in metrics] == [1, 1, 1, 0]
    # Greedy always has one best arm: its own lifetimes are certain, the mixture's policy has at least half on it.
    for share, (lifetimes, policy) in watch[:2]:
        labels = labelled(algo.teacher, lifetimes, STREAMS("teacher")).outcomes[TEACHER]
        of_best = (policy.log_probs().exp() * labels).sum(-1)
        assert (of_best >= share - 1e-6).all()
        assert share == 1.0 or of_best.mean() < 0.9
    assert algo.share == 0.0


def test_the_agent_that_is_tested_is_the_student_alone():
    family, algo = built()
    trained(family, algo, 1, 1)
    agent = algo.start(5)
    assert not any(name.startswith("teacher.") for name in agent.memory)
    percept = Percept(
        torch.ones(5, 1, 1),
        *(torch.zeros(5, 1, dtype=kind) for kind in (torch.int64, torch.float32)),
        torch.ones(5, 1, dtype=torch.bool),
    )
    policy, _ = algo.act(agent, percept)
    x, _ = algo.sense(percept, agent.memory)
    output, _ = algo.network(algo.meta_params, x, agent.memory)
    assert torch.equal(policy.logits, algo.learner.policy(output).logits)


def agreement(family, algo):
    """Mean probability of the teacher's action along the student's own lifetimes."""
    lifetimes, policy = lives(algo, family, 1000, tasks=300)(algo.episodes - 1).merged()
    labels = labelled(algo.teacher, lifetimes, STREAMS("teacher")).outcomes[TEACHER]
    return float((policy.log_probs().exp() * labels).sum(-1).mean())


def test_distillation_alone_makes_the_policy_the_teachers():
    family, algo = built("algo.distillation=80", "meta_iterations=80", "algo.distillation_optimizer.lr=0.02")
    before = agreement(family, algo)
    metrics = trained(family, algo, 1, 80)
    assert metrics[-1]["cross_entropy"] < 0.5 * metrics[0]["cross_entropy"]
    assert before < 0.4 and agreement(family, algo) > 0.85


def test_a_warm_start_is_the_distilled_policy_until_the_first_step_of_ppo():
    """Whether PPO follows in the same run, or RL² starts from the parameters."""
    family, alone = built("meta_iterations=3")
    _, before = built("meta_iterations=5")
    for algo in (alone, before):
        trained(family, algo, 1, 3)
    distilled = {name: θ.detach().clone() for name, θ in alone.meta_params.items()}
    lifetimes, policy = lives(before, family, 4)(before.episodes - 1).merged()
    assert all(torch.equal(before.meta_params[name], θ) for name, θ in distilled.items())
    _, rl2 = build_agent(composed("logger=files", "algo=rl2", *BANDIT[:1], *BANDIT[2:5]).config, STREAMS)
    rl2.load_meta_params(distilled)
    with torch.no_grad():
        same = rl2.learner.policy(rl2.network.sequence(rl2.meta_params, rl2.senses(lifetimes))).log_probs()
    torch.testing.assert_close(same, policy.log_probs(), rtol=0, atol=1e-6)


def test_the_cross_entropy_is_kept_with_a_weight_that_moves_along_a_line():
    _, algo = built("algo.teacher_weight=0.5", "algo.final_teacher_weight=0.1", "meta_iterations=6")
    weights = []
    for i in range(1, 9):
        algo.iteration.fill_(i)
        weights.append(algo.weight)
    assert weights == pytest.approx([1, 1, 1, 0.5, 0.3, 0.1, 0.1, 0.1])


def test_a_policy_held_by_the_teacher_does_not_forget_it():
    # The same steps after distillation at a step size far too large, with the cross-entropy and without.
    def kept(weight):
        changes = [f"algo.{key}={weight}" for key in ("teacher_weight", "final_teacher_weight")]
        sizes = ["algo.distillation=40", "meta_iterations=60", "algo.meta_optimizer.lr=0.05", "algo.max_kl=10"]
        family, algo = built(*changes, *sizes, "algo.distillation_optimizer.lr=0.02", "learner.entropy_weight=1.0")
        trained(family, algo, 1, 60)
        return agreement(family, algo)

    assert kept(20.0) > kept(0.0) + 0.2


@pytest.mark.parametrize("stopped", [2, 3, 4])  # in distillation, at its end, and after it
def test_it_goes_on_byte_for_byte_after_it_is_loaded(stopped):
    changes = ("algo.distillation_lr=1e-3", "algo.final_lr=1e-3")
    family, whole = built(*changes)
    trained(family, whole, 1, stopped)
    _, resumed = built(*changes)
    resumed.load_state(whole.state())
    for algo in (whole, resumed):
        trained(family, algo, stopped + 1, 5)
    for name, θ in whole.meta_params.items():
        assert torch.equal(θ, resumed.meta_params[name]), name


def test_a_teacher_that_the_family_has_not_is_refused_naming_both():
    with pytest.raises(ConfigError, match=r"algo.teacher: Thompson requires a Bernoulli bandit, which env=random_mdp"):
        compose_points(["logger=files", "algo=distilled_rl2", "env=random_mdp", "algo@algo.teacher=thompson"])


def test_a_teacher_that_knows_the_task_is_refused():
    with pytest.raises(ConfigError, match=r"algo.teacher: must be a classical agent .*, got Oracle"):
        built("env=random_mdp", "algo@algo.teacher=oracle")
