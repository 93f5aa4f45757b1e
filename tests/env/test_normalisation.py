"""Running statistics of observations and rewards: what they are, when they change, and that reports undo them."""

import numpy as np
import pytest
import torch
from suited import suited

from metarl_run.compiled.rollouts import CompiledRollouts
from metarl_run.env.normalisation import Normalisation
from metarl_run.env.vector import parallel
from metarl_run.errors import ConfigError
from metarl_run.evaluation import evaluate, joined
from metarl_run.rollout import collect
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams
from metarl_run.types import Rollout

CPU = torch.device("cpu")
M, T, B, D = 2, 5, 3, 2
γ = 0.5


def made(**changes):
    arguments = {"observations": True, "rewards": True, "reward_unit": 1.0, "discount": γ}
    return Normalisation(D, CPU, **{**arguments, **changes})


def experience(seed):
    """Raw observations and rewards of M × B environments; the last two steps of one are padding."""
    g = torch.Generator().manual_seed(seed)
    o = 3 + 10 * torch.randn(M, T + 1, B, D, generator=g)
    r = 5 * torch.randn(M, T, B, generator=g)
    ended, alive = torch.zeros(M, T, B, dtype=torch.bool), torch.ones(M, T, B, dtype=torch.bool)
    ended[:, 1] = ended[:, -1] = True
    alive[0, -2:, 0] = False
    ended[0, -1, 0], ended[0, -3, 0] = False, True
    o[0, -3:, 0], r[0, -2:, 0] = 1e6, 0.0
    return Rollout(o, torch.zeros(M, T, B), r, ended, torch.zeros_like(ended), alive, {})


def as_seen(normalisation, raw):
    """The rollout as `collect` records it."""
    o, r = raw.observation.clone(), raw.reward.clone()
    normalisation.observation_(o)
    normalisation.reward_(r)
    return raw._replace(observation=o, reward=r)


def test_statistics_are_those_of_all_raw_experience():
    normalisation, raws = made(), [experience(seed) for seed in range(3)]
    for raw in raws:  # normalised by other numbers each time
        normalisation.update([as_seen(normalisation, raw)])
    o = np.concatenate([raw.observation[:, :-1][raw.alive].numpy() for raw in raws]).astype(np.float64)
    returns = []
    for raw in raws:
        for r, ended, alive in zip(*(x.transpose(1, 2).reshape(-1, T) for x in raw[2:4] + raw[5:6]), strict=True):
            for t in range(T):
                if alive[t]:
                    end = t + int(ended[t:].long().argmax())
                    returns.append(sum(γ ** (k - t) * float(r[k]) for k in range(t, end + 1)))
    new = torch.tensor([[1.0, 2.0]])
    expected = (new.numpy() - o.mean(0)) / o.std(0)
    normalisation.observation_(new)
    np.testing.assert_allclose(new.numpy(), expected, rtol=1e-5)
    assert normalisation.reward_unit == pytest.approx(np.std(returns), rel=1e-5)


def test_before_any_experience_nothing_changes():
    x = torch.tensor([[1.0, -2.0]])
    made().observation_(x)
    assert x.tolist() == [[1.0, -2.0]] and made().reward_unit == 1.0


def test_a_constant_feature_is_centred_and_stays_finite():
    normalisation, raw = made(), experience(0)
    raw.observation[..., 1] = 7.1
    for _ in range(2):
        normalisation.update([as_seen(normalisation, raw)])
    x = torch.tensor([[0.0, 7.1], [0.0, 8.1]])
    normalisation.observation_(x)
    torch.testing.assert_close(x[:, 1], torch.tensor([0.0, 1.0]), atol=1e-5, rtol=0)


def test_only_what_is_asked_for_is_normalised():
    normalisation, raw = made(observations=False, rewards=False, reward_unit=4.0), experience(0)
    seen = as_seen(normalisation, raw)
    normalisation.update([seen])
    assert torch.equal(seen.observation, raw.observation) and torch.equal(seen.reward, raw.reward / 4)
    assert normalisation.reward_unit == 4.0


SMALL = ("env=pendulum_family", "env.horizon=9")


def agent(*overrides):
    streams = Streams(0, CPU)
    return *build_agent(suited(*SMALL, *overrides)[0].config, streams), streams


def rows(family, algo, streams):
    sizes = {"num_tasks": 2, "adaptation_steps": 0, "episodes_per_task": 3}
    parts = evaluate(algo, family, streams, split="meta_test", iteration=0, **sizes)
    whole = joined(list(parts))
    return [row["episode_return"] for row in whole.rows], whole.lifetime_returns


def test_reports_are_in_the_tasks_own_units():
    plain, scaled = (rows(*agent("algo=maml", *more)) for more in ((), ("normalise.reward_unit=8",)))
    np.testing.assert_allclose(scaled[0], plain[0], rtol=1e-5)
    np.testing.assert_allclose(scaled[1], plain[1], rtol=1e-5)


def test_tests_change_no_statistics():
    family, algo, streams = agent("algo=maml", "normalise={observations:true,rewards:true}")
    before = family.normalisation.state()
    rows(family, algo, streams)
    after = family.normalisation.state()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("algo", ["maml", "rl2"])
def test_agents_see_what_their_rollouts_record(algo):
    """Every percept, and the rollout's own account of them for the loss."""
    family, algo, _ = agent(f"algo={algo}", "normalise={observations:true,reward_unit:8}")
    family.normalisation.seen.copy_(torch.tensor([[4.0, 4.0, 4.0], [8.0, 0.0, 4.0], [32.0, 4.0, 20.0]]))
    family.normalisation.load_state(family.normalisation.state())
    seen = []

    def act(agent, percept):
        seen.append(type(percept)(*(x.clone() for x in percept)))
        return algo.act(agent, percept)

    g = torch.Generator().manual_seed(0)
    env = parallel(family, family.sample(2, "meta_train", g), episodes_per_task=2, generator=g)
    rollout = collect(env, act, algo.start(2), g, episodes=2)
    percepts = rollout.percepts()
    for t, percept in enumerate(seen):
        for ours, theirs in zip(percept, percepts, strict=True):
            assert torch.equal(ours, theirs[:, t])
    # cos θ has mean 2 and standard deviation 2 here
    assert rollout.observation[..., 0].max() <= (1 - 2) / 2 and rollout.reward.min() > -17 / 8


def test_compiled_rollouts_are_as_normalised():
    family, algo, _ = agent("algo=maml", "normalise={observations:true}")
    family.normalisation.seen.fill_(3.0)
    family.normalisation.seen[2] = 30.0
    family.normalisation.load_state(family.normalisation.state())
    found = []
    for how in (collect, CompiledRollouts(algo)):
        g = torch.Generator().manual_seed(0)
        env = parallel(family, family.sample(2, "meta_train", g), episodes_per_task=2, generator=g)
        found.append(how(env, algo.act, algo.start(2), g))
    torch.testing.assert_close(found[0].observation, found[1].observation)


@pytest.mark.parametrize("env", ["random_mdp", "bandit"])
def test_families_whose_units_agents_know_are_refused(env):
    with pytest.raises(ConfigError, match="agents know the unit"):
        build_agent(suited("algo=rl2", f"env={env}", "normalise.rewards=true")[0].config, Streams(0, CPU))
