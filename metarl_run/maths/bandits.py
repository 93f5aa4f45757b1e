"""Bayes-optimal play of Bernoulli bandits, by dynamic programming over what may be known of the arms."""

import functools

MOST_STATES = 50_000
"""Sets of counts, in all, that are enumerated; half a second."""

Arm = tuple[int, int]
"""Successes and failures of an arm so far."""

Counts = tuple[Arm, ...]
"""Those of all arms pulled so far, sorted: arms with the same prior need no names."""


@functools.cache
def bayes_optimal_rewards(
    *, num_arms: int, pulls: int, successes: float = 1.0, failures: float = 1.0
) -> tuple[float, ...] | None:
    """Expected reward of each of n pulls under a policy whose expected sum of rewards is the largest possible.

        V(C) = max over arms (s, f) of μ + μ V(C with (s + 1, f)) + (1 − μ) V(C with (s, f + 1)),
        μ = (successes + s) / (successes + failures + s + f),        V = 0 after n pulls

    C are the counts of all arms in any order, since all have the same prior. The sum over pulls is unique, each term
    only if no two arms are ever equally good.

    Args:
        num_arms: A.
        pulls: n.
        successes, failures: parameters of each arm's Beta prior, > 0.

    Returns:
        None if there are more than `MOST_STATES` sets.

    Source: Bellman (1956), "A problem in the sequential design of experiments".
    """
    levels: list[set[Counts]] = [{()}]  # sets of pulled arms after 0, 1, … pulls; the others are fresh
    for _ in range(pulls - 1):
        levels.append({after for now in levels[-1] for arm in _choices(now, num_arms) for after in _after(now, arm)})
        if sum(map(len, levels)) > MOST_STATES:
            return None
    value: dict[Counts, float] = {}
    best: dict[Counts, tuple[float, Arm]] = {}
    for level in reversed(levels):
        for now in level:
            options = []
            for arm in _choices(now, num_arms):
                μ = (successes + arm[0]) / (successes + failures + sum(arm))
                won, lost = (value.get(after, 0.0) for after in _after(now, arm))
                options.append((lost + μ * (1 + won - lost), μ, arm))
            value[now], *_ = top = max(options, key=lambda option: option[0])
            best[now] = top[1], top[2]
    rewards: list[float] = []
    chance: dict[Counts, float] = {(): 1.0}
    for _ in range(pulls):
        rewards.append(sum(p * best[now][0] for now, p in chance.items()))
        further: dict[Counts, float] = {}
        for now, p in chance.items():
            μ, arm = best[now]
            for after, share in zip(_after(now, arm), (μ, 1 - μ), strict=True):
                further[after] = further.get(after, 0.0) + p * share
        chance = further
    return tuple(rewards)


def _choices(now: Counts, num_arms: int) -> list[Arm]:
    """Arms with different counts, a fresh one last."""
    return [*dict.fromkeys(now), *([(0, 0)] if len(now) < num_arms else [])]


def _after(now: Counts, arm: Arm) -> tuple[Counts, Counts]:
    """The counts after a success and after a failure of `arm`."""
    rest, (s, f) = list(now), arm
    if s or f:
        rest.remove(arm)
    return tuple(sorted([*rest, (s + 1, f)])), tuple(sorted([*rest, (s, f + 1)]))
