"""The Q-learner against Q-learning in a loop."""

import torch
from q_lab import A, H, S, behaviour, collected, family, percepts_of

from metarl_run.algo.q.q_table import LEARNED
from metarl_run.algo.q_learner import QLearner


def test_the_q_learner_against_q_learning_in_a_loop():
    of, w, γ = family(), 1.5, 0.7
    algo = QLearner(
        family=of,
        observation_space=of.observation_space,
        action_space=of.action_space,
        weight=w,
        discount=γ,
        temperature=0.3,
    )
    rollout = collected(algo, of, tasks=2, envs=2).rollouts[0]
    probabilities, memory = behaviour(algo, percepts_of(rollout))
    assert tuple(memory) == LEARNED, "the table is all that it remembers"
    state = rollout.observation.argmax(-1)
    for m in range(2):
        for b in range(2):
            q, n = torch.zeros(H + 1, S, A), torch.zeros(S, A)
            for t in range(rollout.reward.shape[1]):
                s, a, r = state[m, t, b], rollout.action[m, t, b], rollout.reward[m, t, b]
                torch.testing.assert_close(probabilities[m, t, b], (q[t % H, s] / 0.3).softmax(-1))
                n[s, a] += 1
                rows = range(H) if (t + 1) % H else [H - 1]
                V = q.amax(-1)[:, state[m, t + 1, b]]
                for row in rows:
                    q[row, s, a] += (r + γ * V[row + 1] - q[row, s, a]) / (n[s, a] + w)
