"""Check that the chosen components suit each other: each capability required by one must be provided by another."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from metarl_run.config.static.signature import Signature
from metarl_run.errors import ConfigError
from metarl_run.folders import GROUPS

PHRASES = {
    "tabular": "a tabular family",
    "bandit": "a Bernoulli bandit",
    "gaussian_bandit": "a Gaussian bandit",
    "linear_bandit": "a linear bandit",
    "discrete_actions": "discrete actions",
    "continuous_actions": "continuous actions",
    "policy_gradient": "a policy-gradient learner",
    "actor_only": "a learner without a value function",
    "any_surrogate": "a learner with a choice of surrogates",
    "table": "a table",
    "critic": "a learner with a value function",
    "memory": "a network with memory",
    "remembers": "an agent that adapts by memory",
    "observation_first": "an agent whose inputs begin with the observation",
}
MOST_PROVIDERS = 3  # that a hint names


@dataclass(frozen=True)
class Chosen:
    """A component of the configuration: an option of a group, or one nested in it.

    Attributes:
        path: its dotted key.
        name: the option; of a nested component the class.
        signature: what is known of its class.
        arguments: its configured arguments.
    """

    path: str
    name: str
    signature: Signature
    arguments: Mapping[str, Any]


def outcomes_of(components: Sequence[Chosen]) -> list[str]:
    """Outcomes of the configured task family, such as `success`: an argument, or declared by its class."""
    (env,) = (one for one in components if one.path == "env")
    return [*(env.arguments.get("outcomes") or env.signature.declared.outcomes or ())]


def check_capabilities(
    components: Sequence[Chosen], choices: Mapping[str, str], offers: Callable[[], Mapping[str, Set[str]]]
) -> None:
    """Raise ConfigError for the first capability that a component requires and none provides.

    Args:
        components: all of the configuration.
        choices: the option chosen in each group.
        offers: capabilities that each option like `env=random_mdp` provides; computed if one is lacking.
    """
    provided = {capability for one in components for capability in one.signature.declared.provided(one.arguments)}
    for one in components:
        required = one.signature.declared.required(one.arguments)
        missing = [(argument, capability) for argument, capability in required if capability not in provided]
        if not missing:
            continue
        (argument, capability), others = missing[0], {other for _, other in missing}
        able = [*_with_another_value(components, capability), *_offering(capability, others, offers())]
        hints = [f"{_listed(able)} provides it"] if able else []
        where, name = one.path, one.name
        if argument is not None:
            where, name = f"{one.path}.{argument}", _yaml(one.arguments[argument])
            hints += [f"{where}={value}" for value in _undemanding(one, argument, provided)[:1]]
        reason = f"{name} requires {PHRASES.get(capability, capability)}, which {_lacking(able, choices)}"
        raise ConfigError(where, reason, "; or ".join(hints) or None)


def _offering(capability: str, others: Set[str], offers: Mapping[str, Set[str]]) -> list[str]:
    """The options that provide `capability`; among these, those that provide most of what else is lacking."""
    able = [option for option, capabilities in offers.items() if capability in capabilities]
    most = max((len(offers[option] & others) for option in able), default=0)
    return [option for option in able if len(offers[option] & others) == most]


def _lacking(able: Sequence[str], choices: Mapping[str, str]) -> str:
    """`env=cartpole_family does not provide`: the choices that could have been others."""
    groups = {option.partition("=")[0].partition(".")[0] for option in able}
    chosen = [f"{group}={choices.get(group)}" for group in GROUPS if group in groups]
    if not chosen:
        return "no chosen component provides"
    return f"{' and '.join(chosen)} {'does' if len(chosen) == 1 else 'do'} not provide"


def _with_another_value(components: Sequence[Chosen], capability: str) -> list[str]:
    """Arguments like `learner.surrogate=dice` with which a chosen component would provide `capability`."""
    return [
        f"{one.path}.{argument}={_yaml(value)}"
        for one in components
        for argument, by_value in one.signature.declared.provides_if.items()
        for value, capabilities in by_value.items()
        if capability in capabilities
    ]


def _undemanding(one: Chosen, argument: str, provided: set[str]) -> list[str]:
    """The values of `argument` with which the component requires nothing that is not provided."""
    parameter = one.signature.parameters.get(argument)
    kind = parameter.kind if parameter else None
    values = get_args(kind) if get_origin(kind) is Literal else (False, True) if kind is bool else ()
    return [
        _yaml(value)
        for value in values
        if {capability for _, capability in one.signature.declared.required({**one.arguments, argument: value})}
        <= provided
    ]


def _listed(options: Sequence[str]) -> str:
    return " or ".join([*options[:MOST_PROVIDERS], *["…"] * (len(options) > MOST_PROVIDERS)])


def _yaml(value: object) -> str:
    """As it is written in a configuration."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


SUM_OVER_TASKS = "sum_over_tasks"
"""Provided by an algorithm, and by its meta-optimizer, that needs of a meta-batch no more than a sum over tasks."""


def check_chunk(chunk: int | None, components: Sequence[Chosen]) -> None:
    """Raise ConfigError if `meta_batch_chunk` is given and the algorithm or its meta-optimizer cannot heed it.

    Args:
        chunk: the key `meta_batch_chunk`.
        components: all of the configuration.
    """
    parts = {one.path: one for one in components if one.path in ("algo", "algo.meta_optimizer")}
    unable = [
        path for path, one in parts.items() if SUM_OVER_TASKS not in one.signature.declared.provided(one.arguments)
    ]
    if chunk is None or not unable:
        return
    reason = f"which cannot learn from a few tasks at a time, got {chunk}"
    hint = "leave it out"
    if "minibatches" in parts["algo"].arguments:
        hint = "algo.minibatches=N learns from one N-th of the lifetimes at a time"
    elif unable == ["algo.meta_optimizer"]:
        hint = "choose a meta-optimizer that follows the gradient alone: algo=maml"
    raise ConfigError("meta_batch_chunk", f"must be null with {unable[0]}={parts[unable[0]].name}, {reason}", hint)


DIVIDES = "divides"
"""Provided by an algorithm that can learn from a meta-batch in parts, see `metarl_run.algo.base.Divides`."""


def check_divided(config: Mapping[str, Any], components: Sequence[Chosen]) -> None:
    """Raise ConfigError if a meta-batch cannot be divided into parts, or among so many ranks.

    Args:
        config: plain containers; its settings are of the right kind.
        components: all of the configuration.
    """
    ranks, parts, tasks = config.get("distributed"), config.get("meta_batch_parts"), config["meta_batch_size"]
    key, number = ("distributed", ranks) if ranks is not None else ("meta_batch_parts", parts)
    if number is None:
        return
    of = {one.path: one for one in components}
    provided = {path: one.signature.declared.provided(one.arguments) for path, one in of.items()}
    for path, needed in (("algo", DIVIDES), ("algo.meta_optimizer", SUM_OVER_TASKS)):
        if path in of and needed not in provided[path]:
            reason = f"must be null with {path}={of[path].name}, which cannot learn from parts of a meta-batch"
            able = "algo=maml, fomaml, anil, meta_sgd, cavia, pretrain, rl2 and rl3 can"
            raise ConfigError(key, f"{reason}, got {number}", able)
    if of["learner"].arguments.get("net_of_time") is True and "remembers" in provided["algo"]:
        reason = "must be null with learner.net_of_time=true, which needs all lifetimes at once"
        raise ConfigError(key, f"{reason}, got {number}", "learner.net_of_time=false")
    if number > tasks:
        raise ConfigError(key, f"must be <= meta_batch_size = {tasks} tasks, got {number}")
    if parts is None:
        raise ConfigError("meta_batch_parts", f"must be a number with distributed={ranks}, got null", "leave it out")
    if ranks is not None and ranks > parts:
        raise ConfigError("distributed", f"must be <= meta_batch_parts = {parts}, got {ranks}")
    if config["meta_batch_chunk"] is not None:
        reason = f"must be null with {key}={number}, whose parts are processed one after another anyway"
        raise ConfigError("meta_batch_chunk", f"{reason}, got {config['meta_batch_chunk']}", "meta_batch_parts=N")
