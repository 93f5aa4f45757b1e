"""Meta-batches in parts: the update of the whole, added in the order of tasks."""

import pytest
import torch
from recorded import ROLLOUTS, M, Recorder, make, replay
from suited import composed

from metarl_run.algo.base import adapt_in_parts
from metarl_run.algo.gradient.objective import summed
from metarl_run.algo.maml import MAML
from metarl_run.algo.meta_optimizer.sgd import SGD
from metarl_run.algo.meta_sgd import MetaSGD
from metarl_run.algo.pretrain import Pretrain
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.errors import NumericalError
from metarl_run.lifetime import live
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams
from metarl_run.types import Divided, Lifetime, parts_of

KINDS = {
    "maml": (MAML, {"adaptation_steps": 2}),
    "fomaml": (MAML, {"first_order": True}),
    "anil": (MAML, {"head_only": True}),
    "meta_sgd": (MetaSGD, {}),
    "pretrain": (Pretrain, {}),
}


def alone(functions):
    return [function() for function in functions]


def replay_divided(algo, parts, rollouts=ROLLOUTS):
    """`live` in parts on recorded data."""

    def live(adaptation_steps):
        here = []
        for part in parts_of(M, parts):
            own = [rollout.tasks(part) for rollout in rollouts[: adaptation_steps + 1]]
            agents = [algo.start(part.stop - part.start)]
            for rollout in own[:-1]:
                agents.append(adapt_in_parts(algo, agents[-1], rollout, None))
            here.append(Lifetime(agents, own))
        return Divided(here, [part.start for part in parts_of(M, parts)], M, alone)

    return live


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_in_parts_is_that_of_the_whole(kind, parts):
    algo_class, arguments = KINDS[kind]
    whole, divided = (make(algo_class, meta_optimizer=Recorder(), **arguments) for _ in range(2))
    metrics = whole.meta_update(replay(whole)), divided.divided_update(replay_divided(divided, parts))
    got, expected = divided.meta_optimizer.gradients, whole.meta_optimizer.gradients
    assert got.keys() == expected.keys() and got
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], rtol=1e-10, atol=1e-13)
    assert metrics[0].keys() == metrics[1].keys()


def test_terms_are_added_in_their_order():
    """By hand, in single precision: (10⁸ + 1) − 10⁸ is 0, and (10⁸ − 10⁸) + 1 is 1."""
    terms = [(torch.zeros(1), [torch.tensor([x])], {"a": torch.tensor(x)}) for x in (1e8, 1.0, -1e8)]
    _, (gradient,), metrics = summed(terms)
    assert float(gradient) == 0.0 and float(metrics["a"]) == 0.0
    _, (gradient,), metrics = summed([terms[0], terms[2], terms[1]])
    assert float(gradient) == 1.0 and float(metrics["a"]) == 1.0


@pytest.mark.parametrize("task", range(M))
def test_a_loss_that_is_not_finite_names_its_task_among_all(task):
    algo = make(MAML, meta_optimizer=SGD(lr=0.1, max_grad_norm=1.0))
    reward = ROLLOUTS[1].reward.clone()
    reward[task, 0, 0] = torch.nan
    with pytest.raises(NumericalError, match=f"meta-loss: must be finite, got nan in task {task}$"):
        algo.divided_update(replay_divided(algo, 2, [ROLLOUTS[0], ROLLOUTS[1]._replace(reward=reward)]))


# --- Agents with memory ---

SMALL = ("algo=rl2", "experiment=smoke", "network.hidden=8", "meta_batch_size=3")
RL2S = {
    "plain": ["env.horizon=12", "algo.episodes=2"],
    "not normalised": ["env.horizon=12", "algo.episodes=2", "learner.standardise=false", "learner.average=episodes"],
    "predicts": ["env=bandit", "env.horizon=1", "algo.episodes=6", "algo.predict=reward"],
}


def updated(*more, parts=None):
    """θ and metrics after an update of RL² on the same lifetimes of 3 tasks × 4 envs, whole or in parts."""
    config = composed(*SMALL, *more).config
    streams = Streams(0, torch.device("cpu"))
    family, algo = build_agent(config, streams)
    task = family.sample(3, "meta_train", streams("tasks"))
    env = TaskVectorEnv(family, task, episodes_per_task=4, generator=streams("env"))
    lived = live(algo, env, streams("actions"), adaptation_steps=algo.episodes - 1)
    if parts is None:
        return algo.meta_params, algo.meta_update(lambda steps: lived)
    slices = parts_of(3, parts)
    here = [
        Lifetime(
            [agent.tasks(part) for agent in lived.agents],
            [rollout.tasks(part) for rollout in lived.rollouts],
            policy=type(lived.policy)(*(x[part] for x in lived.policy)),
        )
        for part in slices
    ]
    return algo.meta_params, algo.divided_update(lambda steps: Divided(here, [s.start for s in slices], 3, alone))


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("case", RL2S)
def test_an_outer_update_in_parts_is_that_of_the_whole(case, parts):
    """Four minibatches of four envs each: every one holds the same lifetimes, however they are divided."""
    (θ, metrics), (θ_of_parts, metrics_of_parts) = updated(*RL2S[case]), updated(*RL2S[case], parts=parts)
    for name in θ:
        torch.testing.assert_close(θ_of_parts[name], θ[name], rtol=1e-4, atol=1e-5)
    assert metrics.keys() == metrics_of_parts.keys()
    assert int(metrics["steps"]) == int(metrics_of_parts["steps"]) > 1
    for name in ("loss", "gradient_norm", "value_error", "entropy", "kl"):
        torch.testing.assert_close(metrics_of_parts[name], metrics[name], rtol=1e-3, atol=1e-5)
