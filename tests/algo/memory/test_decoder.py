"""The decoder: its errors by hand, and the steps that count."""

import gymnasium
import torch
from belief_lab import L, N, T, errors, lifetimes, make

from metarl_run.algo.memory.decoder import Decoder
from metarl_run.algo.varibad import VariBAD
from metarl_run.types import Rollout


def test_errors_of_a_decoder_computed_by_hand():
    """One linear layer: r̂ = m + 2 s + 3 [a = 1] + 4 s′ + 5 end and ŝ = m − s; the first step ends an episode."""
    box, two = gymnasium.spaces.Box(-9.0, 9.0, (1,)), gymnasium.spaces.Discrete(2)
    decoder = Decoder(observation_space=box, action_space=two, latent=1, states=True, hidden=[], activation="relu")
    params = {
        "reward.0.weight": torch.tensor([[1.0], [2.0], [0.0], [3.0], [4.0], [5.0]]),
        "reward.0.bias": torch.zeros(1, 1),
        "state.0.weight": torch.tensor([[1.0], [-1.0], [0.0], [0.0]]),
        "state.0.bias": torch.zeros(1, 1),
    }
    rollout = Rollout(
        observation=torch.tensor([1.0, 7.0, 2.0, 9.0]).view(4, 1, 1),
        action=torch.tensor([[1], [0], [1]]),
        reward=torch.tensor([[10.0], [20.0], [0.0]]),
        terminated=torch.tensor([[True], [False], [False]]),
        truncated=torch.tensor([[False], [True], [False]]),
        alive=torch.tensor([[True], [True], [False]]),
        memory={},
    )
    # m = 1: r̂ = 1 + 2·1 + 3 + 5 = 11 and 1 + 2·7 + 5 = 20; m = 0: 10 and 19. Both steps end: no state to predict.
    m = torch.tensor([1.0, 0.0]).view(2, 1, 1)
    reward_error, state_error = decoder.errors(params, m, rollout)
    assert reward_error.tolist() == [[0.5], [0.5]]
    assert state_error.tolist() == [[0.0], [0.0]]
    # The second step goes on: r̂ = 1 + 2·7 + 4·2 = 23 and 22, ŝ = 1 − 7 and 0 − 7 where 2 came.
    rollout = rollout._replace(truncated=torch.zeros(3, 1, dtype=torch.bool))
    reward_error, state_error = decoder.errors(params, m, rollout)
    assert reward_error.tolist() == [[0.5 + 4.5], [0.0 + 2.0]]
    assert state_error.tolist() == [[32.0], [40.5]]


def test_a_decoder_is_its_networks_at_every_pair_of_description_and_step():
    decoder, g = make(VariBAD).elbo.decoder, torch.Generator().manual_seed(0)
    for name, network in decoder.networks.items():
        params = {key: torch.randn(θ.shape, generator=g) for key, θ in network.init(g).items()}
        features = network.widths[name][0] - L
        m, known = torch.randn(3, N, L, generator=g), torch.randn(T, N, features, generator=g)
        ours = decoder.predicted(name, params, m, known)
        pairs = torch.cat([m.unsqueeze(1).expand(3, T, N, L), known.expand(3, T, N, features)], -1)
        torch.testing.assert_close(ours, network(params, pairs, {})[0][name])


def test_beliefs_are_judged_by_rewards_yet_to_come():
    algo, rollout = make(VariBAD), lifetimes()
    reward = rollout.reward.clone()
    reward[4, 0] += 1.0
    m = torch.zeros(1, N, L)
    one, other = (errors(algo, m, recorded)[0] for recorded in (rollout, rollout._replace(reward=reward)))
    assert (one != other).tolist() == [[True, False, False, False]]


def test_what_follows_an_episode_is_not_what_its_last_step_led_to():
    algo, rollout = make(VariBAD), lifetimes()
    assert rollout.ended[1, 0]
    observation = rollout.observation.clone()
    observation[2, 0] += 1.0  # where episode 2 starts
    m = torch.zeros(1, N, L)
    x = [recorded.observation for recorded in (rollout, rollout._replace(observation=observation))]
    assert not torch.equal(*x)
    cut = {"alive": rollout.alive & (torch.arange(T).unsqueeze(-1) < 2)}
    one, other = (errors(algo, m, rollout._replace(observation=seen, **cut)) for seen in x)
    for before, after in zip(one, other, strict=True):
        assert torch.equal(before, after)


def test_a_table_of_rewards_has_the_error_of_every_step():
    """Against a loop over steps; two of the lifetimes end early."""
    box, three = gymnasium.spaces.Box(0.0, 1.0, (2,)), gymnasium.spaces.Discrete(3)
    decoder = Decoder(
        observation_space=box,
        action_space=three,
        latent=L,
        states=False,
        hidden=[],
        activation="relu",
        read="observation",
        read_width=2,
        read_units=4,
    )
    g = torch.Generator().manual_seed(0)
    params = {name: torch.randn(θ.shape, generator=g) for name, θ in decoder.init(g).items()}
    rollout, m = lifetimes(), torch.randn(3, N, L, generator=g)
    state = torch.randint(2, (T + 1, N), generator=g)
    rollout = rollout._replace(observation=torch.eye(2)[state])
    found, of_states = decoder.errors(params, m, rollout)
    R = decoder.rewards(params, m)
    wanted = torch.zeros(3, N)
    for t in range(T):
        for n in range(N):
            if rollout.alive[t, n]:
                wanted[:, n] += 0.5 * (R[:, n, state[t, n], rollout.action[t, n]] - rollout.reward[t, n]) ** 2
    torch.testing.assert_close(found, wanted)
    assert not of_states.any()
