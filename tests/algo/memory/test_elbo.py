"""The ELBO against its definition."""

import pytest
import torch
from belief_lab import A, D, L, N, T, inputs, lifetimes, make
from torch import distributions

from metarl_run.algo.varibad import VariBAD


@pytest.mark.parametrize("belief_times", [100, 3])
def test_the_elbo_is_that_of_its_definition(belief_times):
    """One belief and one step at a time, with the densities of torch.distributions; of some beliefs or of all."""
    algo, rollout = make(VariBAD, belief_times=belief_times), lifetimes()
    x = inputs(rollout)
    noise = torch.Generator()
    noise.set_state(algo.noise.get_state())
    loss, metrics = algo.elbo.loss(x, rollout)
    K = min(belief_times, T)
    u, ε = torch.rand(K, N, generator=noise), torch.randn(K, N, L, generator=noise)
    q = algo.encoder.sequence(x)
    normal = distributions.Normal(q.mean, q.log_deviation.exp())

    def predicted(name, m, *known):
        network = algo.elbo.decoder.networks[name]
        return network(algo.elbo.decoder_params, torch.cat([m, *known]).unsqueeze(0), {})[0][name][0]

    elbos = []
    for n in range(N):
        steps = range(int(rollout.alive[:, n].sum()))
        for k in range(K):
            t = int((k + float(u[k, n])) / K * len(steps))  # one of each part of the lifetime's own steps
            m = normal.mean[t, n] + normal.stddev[t, n] * ε[k, n]
            log_likelihood = 0.0
            for s in steps:
                action = torch.eye(A)[rollout.action[s, n]]
                before, after, end = rollout.observation[s, n], rollout.observation[s + 1, n], rollout.ended[s, n]
                arrived = (torch.zeros(D), torch.ones(1)) if end else (after, torch.zeros(1))
                r̂ = predicted("reward", m, before, action, *arrived)[0]
                log_likelihood += distributions.Normal(r̂, 1.0).log_prob(rollout.reward[s, n])
                log_likelihood += 0.5 * torch.log(torch.tensor(2 * torch.pi))
                if not end:
                    ŝ = predicted("state", m, before, action)
                    log_likelihood -= 0.5 * 0.5 * ((ŝ - after) ** 2).sum()
            previous = distributions.Normal(normal.mean[t - 1, n], normal.stddev[t - 1, n]) if t else None
            prior = distributions.Normal(torch.zeros(L), torch.ones(L))
            here = distributions.Normal(normal.mean[t, n], normal.stddev[t, n])
            elbos.append(log_likelihood - 0.3 * distributions.kl_divergence(here, previous or prior).sum())
    torch.testing.assert_close(-loss, torch.stack(elbos).mean())
    torch.testing.assert_close(metrics["elbo"], -loss.detach())
