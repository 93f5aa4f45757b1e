"""Labels of a teacher along lifetimes that others lived, mixtures, and the cross-entropy."""

import math

import gymnasium
import pytest
import torch
from bandit_lab import make
from planning_lab import EACH, family

from metarl_run.algo.epsilon_greedy import EpsilonGreedy
from metarl_run.algo.mbie_eb import MBIEEB
from metarl_run.algo.memory.distillation import TEACHER, critic_alone, cross_entropy, labelled, mixture
from metarl_run.algo.thompson import Thompson
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.learner.ppo import PPO
from metarl_run.lifetime import live
from metarl_run.maths.distributions import Categorical
from metarl_run.types import Rollout


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def pulls(*lives):
    """Lifetimes on a bandit, each `[(arm, reward), …]`."""
    arm, reward = (torch.tensor([[pull[part] for pull in life] for life in lives]).T for part in (0, 1))
    ended = torch.ones_like(arm, dtype=torch.bool)
    observation = torch.ones(len(arm) + 1, len(lives), 1)
    return Rollout(observation, arm, reward.float(), ended, torch.zeros_like(ended), ended, {})


def chosen(teacher, lifetimes):
    return labelled(teacher, lifetimes, drawn()).outcomes[TEACHER].argmax(-1).T.tolist()


def test_labels_follow_the_experience_that_was_made_not_the_teachers_own():
    # Posterior means (s + 1) / (n + 2); the first arm on ties. First life: arm 0 fails twice, 1/2 → 1/3 → 1/4, though
    # the teacher would have pulled arm 1 after the first failure. Second life: arm 1 succeeds, 2/3, and is then left.
    lifetimes = pulls([(0, 0), (0, 0), (1, 0), (1, 0)], [(1, 1), (0, 1), (0, 1), (1, 0)])
    # After arm 1 has failed once it has 1/3 to 1/4 of arm 0. After two successes arm 0 has 3/4 to 2/3.
    assert chosen(make(EpsilonGreedy, epsilon=0.0), lifetimes) == [[0, 1, 1, 1], [0, 1, 0, 0]]


def test_labels_are_the_teachers_whole_distribution():
    labels = labelled(make(EpsilonGreedy, epsilon=0.3), pulls([(0, 0), (0, 0)]), drawn()).outcomes[TEACHER]
    torch.testing.assert_close(labels, torch.tensor([[[0.85, 0.15]], [[0.15, 0.85]]]))


def test_a_teacher_that_draws_labels_by_the_generator_it_is_given():
    lifetimes = pulls(*[[(0, 0), (1, 1), (0, 1)]] * 200)
    first, again, other = (labelled(make(Thompson), lifetimes, drawn(seed)).outcomes[TEACHER] for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    # After a failure of arm 0: P(x₁ > x₀) with x₀ ~ Beta(1, 2), x₁ ~ Beta(1, 1) is E[1 − x₀] = 2/3.
    assert first[1, :, 1].mean() == pytest.approx(2 / 3, abs=0.1)


def mbie(of, bonus=0.0):
    spaces = {"observation_space": of.observation_space, "action_space": of.action_space}
    return MBIEEB(family=of, **spaces, reward_prior=0.0, reward_weight=1.0, transition_weight=1.0, bonus=bonus)


TEACHERS = {**EACH, "mbie_eb": lambda of: mbie(of, 0.5)}


@pytest.mark.parametrize("name", ["beb", "greedy", "mbie_eb"])
def test_lifetimes_of_the_teacher_itself_are_labelled_by_what_it_did(name):
    of = family(num_states=4, num_actions=3)
    teacher = TEACHERS[name](of=of)
    env = TaskVectorEnv(of, of.sample(30, "meta_train", drawn()), episodes_per_task=2, generator=drawn())
    (rollout,) = live(teacher, env, drawn(), adaptation_steps=3).rollouts
    lifetimes = rollout.merged()
    labels = labelled(teacher, lifetimes, drawn()).outcomes[TEACHER]
    assert labels.shape == (12, 60, 3)
    assert (labels.gather(-1, lifetimes.action.unsqueeze(-1)) > 0).all()
    assert (labels.amax(-1) == 1).float().mean() > 0.5  # few are ties


def test_a_mixture_takes_the_teachers_action_with_its_share():
    teacher, student = Categorical(torch.tensor([-math.inf, 0.0])), Categorical(torch.tensor([1.0, 1.0]))
    torch.testing.assert_close(mixture(teacher, student, 0.25).logits.exp(), torch.tensor([0.375, 0.625]))
    assert mixture(teacher, student, 1.0).logits.tolist() == [-math.inf, 0.0]


def ppo():
    return PPO(
        action_space=gymnasium.spaces.Discrete(2),
        clip=0.2,
        epochs=1,
        discount=0.9,
        discount_steps=False,
        lifetime_discount=0.9,
        gae_lambda=0.9,
        value_weight=0.5,
        value_scale=1.0,
        entropy_weight=0.1,
        standardise=True,
        average="steps",
        policy="auto",
        initial_deviation=1.0,
    )


def test_cross_entropy_by_hand():
    # π = (3/4, 1/4) everywhere, teacher (1, 0), then (1/2, 1/2), then padding.
    output = {"policy": torch.tensor([math.log(3.0), 0.0]).expand(4, 1, 2)}
    lifetimes = pulls([(0, 0), (0, 0), (0, 0)])
    teacher = torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]], [[0.0, 1.0]]])
    alive = torch.tensor([[True], [True], [False]])
    lifetimes = lifetimes._replace(alive=alive, outcomes={TEACHER: teacher})
    expected = -(math.log(3 / 4) + (math.log(3 / 4) + math.log(1 / 4)) / 2) / 2
    assert cross_entropy(ppo(), output, lifetimes).item() == pytest.approx(expected)


def test_the_critic_alone_has_no_gradient_for_the_policy():
    learner = ppo()
    lifetimes = pulls([(0, 1), (1, 0)], [(1, 1), (1, 1)])
    sizes = learner.heads(learner.action_space)
    output = {head: torch.randn(3, 2, size, generator=drawn(), requires_grad=True) for head, size in sizes.items()}
    behaviour = Categorical(torch.zeros(2, 2, 2))
    for critic, idle in ((learner, False), (critic_alone(learner), True)):
        policy, value = torch.autograd.grad(
            critic.loss(output, lifetimes, behaviour)[0].mean(), [output["policy"], output["value"]]
        )
        assert bool((policy == 0).all()) == idle and value.abs().sum() > 0
