"""Objects that the runner gives to constructors that name them, beside the values that YAML gives."""

from typing import Any, TypedDict


class Offered(TypedDict, total=False):
    """Arguments or fields that a constructor may ask for by name; a value in YAML takes precedence.

    They are built in this order: a task family is offered the plugins alone, a learner not the network.

    Attributes:
        plugins: packages outside metarl_run that a configuration may import.
        streams: named random generators of the run, `metarl_run.seeding.Streams`.
        meta_batch_size: tasks M per meta-update.
        meta_iterations: meta-updates of the run.
        family: the task family, `metarl_run.env.base.TaskFamily`.
        observation_space, action_space: its spaces.
        learner: the base learner, `metarl_run.learner.base.BaseLearner`.
        num_inputs: features D of an observation.
        heads: outputs that the learner needs of a network: a name and a size each.
        dataset: the learning histories that the run learns from, `metarl_run.dataset.dataset.Dataset`; None where it
            only acts. Which asks for them may have an argument `window`, the steps that it reads at a time, and with
            `needs_labels: ClassVar[bool] = True` it learns from their optimal actions: both are checked beforehand.
        network: a network with these inputs and heads, `metarl_run.network.base.Network`.
        meta_params: its fresh parameters, drawn from the stream `init`.
        make_network: (num_inputs, heads, constants) → another network as configured, and its fresh parameters.
    """

    plugins: Any
    streams: Any
    meta_batch_size: int
    meta_iterations: int
    family: Any
    observation_space: Any
    action_space: Any
    learner: Any
    num_inputs: int
    heads: Any
    dataset: Any
    network: Any
    meta_params: Any
    make_network: Any


OFFERED = frozenset(Offered.__annotations__)
"""Names of these arguments."""
