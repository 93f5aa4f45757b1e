"""What every learner, network and algorithm promises. A new option in conf/ is tested by being there.

Everything is made the way a run makes it, from composed configurations.
"""

import copy
import functools
import gc
import io

import pytest
import torch
from conftest import OUTSIDE
from suited import arguments_of, completed, known, learns_from_data, options, provided, suits, written
from suited import composed as run_of

from metarl_run.algo.base import MetaLearner
from metarl_run.config.validation import validate
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.lifetime import live
from metarl_run.maths.distributions import Distribution, empty_actions
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams
from metarl_run.types import Percept

M, B = 4, 3


@functools.cache
def composed(option, env, *others):
    """The configuration of a pair; shared, not to be changed.

    Only the families are exchanged from pair to pair: composing anew takes a hundred times as long as validating.
    """
    point, family = (run_of("experiment=smoke", *arguments_of(*one.split("="))) for one in (option, env))
    family = family.config["env"]
    family = {**family, "horizon": HORIZONS.get(env, 10)}
    config = {**point.config, "env": family}
    validate(config, {**point.choices, "env": env.removeprefix("env=")})
    return config


HORIZONS = {f"env={env}": 30 for env in ("bandit", "cartpole_family", "gridworld")}
"""Steps of an episode, where that is not 10: poles still stand after 10 steps, and goals are not yet found."""

SIMULATED = "half_cheetah_vel"
"""The one of MuJoCo's families that stands for all: a step of theirs takes long."""

STANDS_FOR = {
    "metarl_run.env.mujoco.base.MujocoFamily": SIMULATED,
    "metarl_run.env.point.Point": "navigation",
    "metarl_run.env.gaussian_arms.GaussianArms": "bandit",
    "metarl_run.env.grid.Grid": "gridworld",
    "metarl_run.env.tmaze.TMaze": "gridworld",
    "metarl_run.env.treasure_room.TreasureRoom": "gridworld",
}
"""The one family that stands for all on each of these bases; the sparse reward of one would often be 0 throughout."""


def families():
    """Each class of families once: a variant differs in numbers alone. States that live outside are tested apart."""
    by_class: dict[str, str] = {}
    for option in sorted(set(options("env")) - OUTSIDE):
        by_class.setdefault(written("env", option).arguments["_target_"], option)
    stood_for = {
        option
        for option in by_class.values()
        for base, one in STANDS_FOR.items()
        if base in known("env", option).bases and option != one
    }
    return [option for option in by_class.values() if option not in stood_for]


def servable(group):
    """Each option of `group` with one family of each kind that it can serve, and what else the option requires.

    Families of one kind provide the same; the options take turns with them.
    """
    pairs = []
    for turn, option in enumerate(options(group)):
        others = {other: chosen for other, chosen in completed(**{group: option}).items() if other != "env"}
        kinds: dict[frozenset[str], list[str]] = {}
        served = [env for env in families() if suits(**others, env=env)]
        for env in served or [env for env in options("env") if suits(**others, env=env)][:1]:
            kinds.setdefault(provided("env", env), []).append(env)
        assert kinds, f"no task family suits {group}={option}"
        first, *rest = [f"{other}={chosen}" for other, chosen in others.items()]
        pairs += [(first, f"env={alike[turn % len(alike)]}", *rest) for alike in kinds.values()]
    return pairs


def named(pairs):
    return [pytest.param(pair, id=" ".join(pair)) for pair in pairs]


def has_memory(pair):
    return "memory" in provided(*pair[0].split("="))


ALGOS = named(pair for pair in servable("algo") if not learns_from_data(*pair[0].split("=")))
"""Those that learn from recorded histories have tests of their own, in tests/algo/in_context."""

LEARNERS, NETWORKS = named(servable("learner")), servable("network")
WITH_MEMORY = named(pair for pair in NETWORKS if has_memory(pair))
WITHOUT_MEMORY = named(pair for pair in NETWORKS if not has_memory(pair))


def make(pair, seed=0):
    return build_agent(composed(*pair), Streams(seed, torch.device("cpu")))


def tasks_of(family, seed=0):
    return family.sample(M, "meta_train", torch.Generator().manual_seed(seed))


def lifetime_of(family, algo, adaptation_steps=1, seed=0, agents=None):
    """One lifetime in each of M tasks, the seed says which; or of given agents in standing tasks."""
    generator = torch.Generator().manual_seed(seed)
    tasks = tasks_of(family, seed) if agents is None else standing_tasks(family, agents)
    env = TaskVectorEnv(family, tasks, episodes_per_task=B, generator=generator)
    return live(algo, env, generator, adaptation_steps=adaptation_steps, agents=agents)


def standing_tasks(family, agents):
    generator = torch.Generator().manual_seed(0)
    return family.sample(len(next(iter(leaves(agents).values()))), "meta_train", generator)


def lives(family, algo):
    """`live` for `meta_update`: fresh tasks at every call, unless there are agents for the standing ones."""
    seeds = iter(range(1000))
    return lambda adaptation_steps, agents=None: lifetime_of(family, algo, adaptation_steps, next(seeds), agents)


def leaves(tree, name=""):
    """The tensors of nested records, by their dotted names."""
    if isinstance(tree, torch.Tensor):
        return {name: tree.detach()}
    if hasattr(tree, "_asdict"):
        tree = tree._asdict()
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return {key: leaf for field, entry in entries for key, leaf in leaves(entry, f"{name}.{field}").items()}


def selected(tree, index):
    """The tasks at `index` of a record whose every tensor has a leading task axis."""
    if isinstance(tree, torch.Tensor):
        return tree[index]
    if isinstance(tree, dict):
        return {name: selected(entry, index) for name, entry in tree.items()}
    entries = [selected(entry, index) for entry in tree]
    return type(tree)(*entries) if hasattr(tree, "_fields") else entries


def assert_same(one, other):
    """Every tensor of both has the same name and bytes."""
    one, other = leaves(one), leaves(other)
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def assert_near(one, other):
    one, other = leaves(one), leaves(other)
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], msg=lambda text, name=name: f"{name}: {text}")


def first_percept(family, tasks):
    state = family.reset(tasks, B, torch.Generator().manual_seed(5))
    action = empty_actions(family.action_space, (M, B), torch.device("cpu"))
    return Percept(family.observe(tasks, state), action, torch.zeros(M, B), torch.ones(M, B, dtype=torch.bool))


def each_once(pairs):
    """So few of the pairs that each option and each family is among them."""
    met = set()
    return [pair for pair in pairs if not set(pair.values[0][:2]) <= met and not met.update(pair.values[0][:2])]


def test_every_family_serves_some_algorithm():
    assert {pair.values[0][1] for pair in ALGOS} >= {f"env={env}" for env in families()}


# --- Algorithms ---


@pytest.mark.parametrize("pair", each_once(ALGOS))
def test_no_tensor_is_made_on_the_default_device(pair):
    """It would not meet those of a run on another one. The default here is one whose tensors hold no numbers."""
    with torch.device("meta"):
        family, algo = make(pair)
        rollouts = lifetime_of(family, algo, 2).rollouts
        if isinstance(algo, MetaLearner):
            algo.meta_update(lives(family, algo))
            assert {tensor.device.type for tensor in leaves(algo.meta_params).values()} == {"cpu"}
    assert {tensor.device.type for tensor in leaves(rollouts).values()} == {"cpu"}


@pytest.mark.parametrize("pair", ALGOS)
def test_building_changes_no_configuration_and_shares_nothing(pair):
    config = composed(*pair)
    before = copy.deepcopy(config)
    (_, one), (_, other) = make(pair), make(pair)
    assert config == before
    if isinstance(one, MetaLearner):
        assert_same(one.meta_params, other.meta_params)
        for name in one.meta_params:
            assert one.meta_params[name].data_ptr() != other.meta_params[name].data_ptr()


@pytest.mark.parametrize("pair", ALGOS)
def test_the_same_seed_lives_the_same_bytes_and_another_does_not(pair):
    one, again, other = (lifetime_of(*make(pair, seed), 2, seed) for seed in (0, 0, 1))
    assert_same(one.rollouts, again.rollouts)
    assert_same(one.agents, again.agents)
    observations = [lifetime.rollouts[0].observation[:, 0] for lifetime in (one, other)]
    rewards = [lifetime.rollouts[0].reward.sum() for lifetime in (one, other)]
    assert not torch.equal(*observations) or not torch.equal(*rewards)


def alive():
    """How many tensors there are, and of how many numbers."""
    gc.collect()
    tensors = [x for x in gc.get_objects() if type(x) is torch.Tensor]
    return len(tensors), sum(tensor.numel() for tensor in tensors)


def learns(pair):
    return f"{MetaLearner.__module__}.{MetaLearner.__name__}" in known(*pair[0].split("=")).bases


@pytest.mark.parametrize("pair", [pair for pair in each_once(ALGOS) if learns(pair.values[0])])
def test_a_meta_update_leaves_nothing_behind(pair):
    family, algo = make(pair)
    live_here = lives(family, algo)
    algo.meta_update(live_here)
    before = alive()
    for _ in range(2):
        algo.meta_update(live_here)
    assert alive() == before


@pytest.mark.parametrize("pair", ALGOS)
def test_agents_keep_their_shapes_through_acting_and_adapting(pair):
    family, algo = make(pair)
    tasks = tasks_of(family)
    agent, percept = algo.begin(tasks), first_percept(family, tasks)
    assert all(len(tensor) == M for tensor in leaves(agent).values())
    distribution, memory = algo.act(agent, percept)
    assert leaves(memory).keys() == leaves(agent.memory).keys()
    assert isinstance(distribution, Distribution)
    assert distribution.log_prob(percept.last_action).shape == distribution.entropy().shape == (M, B)
    rollout = lifetime_of(family, algo, 0).rollouts[0]
    adapted = algo.adapt(agent, rollout)
    before, after = leaves(agent.params), leaves(adapted.params)
    assert before.keys() == after.keys()
    for name in before:
        assert (before[name].shape, before[name].dtype) == (after[name].shape, after[name].dtype)
        assert after[name].isfinite().all()


@pytest.mark.parametrize("pair", ALGOS)
def test_acting_and_adapting_modify_nothing_they_are_given(pair):
    family, algo = make(pair)
    agent = algo.begin(tasks_of(family))
    percept = first_percept(family, tasks_of(family))
    rollout = lifetime_of(family, algo, 0).rollouts[0]
    given = (agent, percept, rollout)
    before = {name: tensor.clone() for name, tensor in leaves(given).items()}
    algo.act(agent, percept)
    algo.adapt(agent, rollout)
    assert_same(leaves(given), before)


@pytest.mark.parametrize("index", [torch.tensor([2, 0, 3, 1]), torch.tensor([1]), torch.tensor([3, 0])], ids=str)
@pytest.mark.parametrize("pair", ALGOS)
def test_tasks_know_nothing_of_their_neighbours(pair, index):
    """Some of them, in any order, begin, act and adapt as they do within the whole batch."""
    family, algo = make(pair)
    tasks = tasks_of(family)
    agent, percept = algo.begin(tasks), first_percept(family, tasks)
    assert_near(algo.begin(tasks.select(index)), selected(agent, index))
    rollout = lifetime_of(family, algo, 0).rollouts[0]
    adapted = algo.adapt(agent, rollout)
    assert_near(algo.adapt(selected(agent, index), selected(rollout, index)), selected(adapted, index))
    for one in (agent, adapted):
        straight = algo.act(one, percept)
        assert_near(algo.act(selected(one, index), selected(percept, index)), selected(straight, index))


@pytest.mark.parametrize("pair", ALGOS)
def test_a_meta_learner_goes_on_from_its_saved_state_as_if_never_stopped(pair):
    family, algo = make(pair)
    if not isinstance(algo, MetaLearner):
        assert not hasattr(algo, "meta_optimizer")
        return
    start = {name: θ.detach().clone() for name, θ in algo.meta_params.items()}
    schedule = lives(family, algo)
    told = [algo.meta_update(schedule) for _ in range(2)]
    moved = any(metrics.get("step_taken", 1) for metrics in told)  # a trust region may say that no step would help
    one_step = lifetime_of(family, algo, 0).rollouts[0].reward.shape[1] == 1
    matter = {name: θ for name, θ in algo.meta_params.items() if not is_idle(name, θ, one_step)}
    assert all(torch.equal(start[name], θ) != moved for name, θ in matter.items())
    file = io.BytesIO()
    torch.save(algo.state(), file)
    file.seek(0)
    _, resumed = make(pair, seed=1)
    resumed.load_state(torch.load(file, weights_only=True))
    for one in (algo, resumed):
        one.meta_update(lives(family, one))
    assert_same(algo.state(), resumed.state())


def is_idle(name, θ, one_step):
    """A bias of one output, which cannot matter to a distribution; γ and λ where a lifetime has one step."""
    return θ.shape[-1] == 1 or (one_step and name in ("discount", "gae_lambda"))


# --- Learners ---


def outputs(family, learner, rollout, seed=0):
    """What some network might put out at every row of `rollout`: leaf tensors `[M, T + 1, B, ·]`."""
    generator = torch.Generator().manual_seed(seed)
    shape = rollout.observation.shape[:3]
    sizes = sizes_of_outputs(family, learner).items()
    return {name: torch.randn(*shape, size, generator=generator).requires_grad_() for name, size in sizes}


def sizes_of_outputs(family, learner):
    return learner.heads(family.action_space) | learner.constants(family.action_space)


@pytest.fixture(params=LEARNERS)
def learning(request):
    """A learner, outputs of a network for it, and what M random agents lived through."""
    family, algo = make(request.param)
    _, random = make(("algo=random", request.param[1]))
    rollout = lifetime_of(family, random, 0).rollouts[0]
    return algo.learner, outputs(family, algo.learner, rollout), rollout


def test_the_loss_of_a_stack_is_the_losses_one_by_one(learning):
    learner, output, rollout = learning
    losses, metrics = learner.loss(output, rollout)
    assert losses.shape == (M,)
    assert losses.isfinite().all() and all(value.isfinite() for value in metrics.values())
    for task in range(M):
        alone, _ = learner.loss(selected(output, task), selected(rollout, task))
        torch.testing.assert_close(alone, losses[task])


def test_the_loss_is_a_function_of_what_it_is_given(learning):
    learner, output, rollout = learning
    before = {name: tensor.clone() for name, tensor in leaves((output, rollout)).items()}
    first, again = (learner.loss(output, rollout)[0] for _ in range(2))
    assert torch.equal(first, again)
    assert_same(leaves((output, rollout)), before)


def test_every_head_of_every_task_gets_a_gradient_from_its_own_task_alone(learning):
    learner, output, rollout = learning
    # Where all episodes of a task return the same, a policy gradient learns nothing from it
    noise = torch.rand(rollout.reward.shape, generator=torch.Generator().manual_seed(0)) * rollout.alive
    losses, _ = learner.loss(output, rollout._replace(reward=rollout.reward + noise))
    for task in range(M):
        gradients = torch.autograd.grad(losses[task], list(output.values()), retain_graph=True)
        for gradient in gradients:
            reached = gradient.flatten(1).abs().amax(1) > 0
            assert reached.tolist() == [other == task for other in range(M)]


def test_padding_does_not_matter_to_the_loss(learning):
    learner, output, rollout = learning
    T = rollout.reward.shape[1]
    rest = [torch.cat([x, torch.zeros_like(x[:, [0, 0]])], 1) for x in rollout.of_steps]
    longer = type(rollout)(*rest, rollout.memory)
    more = {name: torch.cat([x, torch.ones_like(x[:, [0, 0]])], 1) for name, x in output.items()}
    assert longer.reward.shape[1] == T + 2
    torch.testing.assert_close(learner.loss(more, longer)[0], learner.loss(output, rollout)[0])


# --- Networks ---


def read_by(network_of, family):
    """What the network of an algorithm reads in lifetimes of two episodes, `[T, N, D]`."""
    lifetimes = lifetime_of(family, network_of).rollouts[0].merged()
    return network_of.senses(lifetimes) if network_of.remembers else lifetimes.observation


@pytest.mark.parametrize("pair", WITHOUT_MEMORY)
def test_a_stack_of_networks_is_the_networks_one_by_one(pair):
    family, algo = make(pair)
    singles = [algo.network.init(torch.Generator().manual_seed(seed)) for seed in range(M)]
    singles = [{name: θ + 0.1 * seed for name, θ in params.items()} for seed, params in enumerate(singles)]
    stack = {name: torch.stack([params[name] for params in singles]) for name in singles[0]}
    x = lifetime_of(family, algo, 0).rollouts[0].observation  # [M, T + 1, B, D]
    together, memory = algo.network(stack, x, {})
    assert {name: output.shape[-1] for name, output in together.items()} == sizes_of_outputs(family, algo.learner)
    for task in range(M):
        alone, _ = algo.network(singles[task], x[task], {})
        assert_near(alone, selected(dict(together), task))
        assert_near(memory, {})


@pytest.mark.parametrize("pair", named(NETWORKS))
def test_a_network_starts_from_its_generator_alone(pair):
    _, algo = make(pair)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, again = (algo.network.init(torch.Generator().manual_seed(3)) for _ in range(2))
    assert_same(one, again)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("pair", named(NETWORKS))
def test_the_head_of_a_network_is_some_of_its_parameters_and_reaches_every_output(pair):
    family, algo = make(pair)
    params = algo.network.init(torch.Generator().manual_seed(3))
    head = {name: params[name].requires_grad_() for name in algo.network.head_names()}
    output = algo.network.sequence(params, read_by(algo, family))
    for value in output.values():
        gradients = torch.autograd.grad(value.sum(), list(head.values()), allow_unused=True, retain_graph=True)
        assert any(gradient is not None and gradient.any() for gradient in gradients)


# --- Networks with memory ---


@pytest.fixture(params=WITH_MEMORY)
def reading(request):
    """A network with memory, parameters of which none is where it started, and what it reads, in float64."""
    family, algo = make(request.param)
    generator = torch.Generator().manual_seed(3)
    start = algo.network.init(generator)
    params = {name: (θ + 0.1 * torch.randn(θ.shape, generator=generator)).double() for name, θ in start.items()}
    return algo.network, params, read_by(algo, family).double()


def step_by_step(network, params, x):
    """The heads after each of T single calls from a blank memory, as `sequence` gives them, and the last memory."""
    memory, outputs = network.initial_memory(params, x.shape[1]), []
    for now in x.unbind(0):
        output, memory = network(params, now.unsqueeze(1), memory)
        outputs.append(output)
    return {head: torch.stack([output[head].squeeze(1) for output in outputs]) for head in outputs[0]}, memory


def assert_within(one, other, tolerance):
    assert one.keys() == other.keys()
    for head in one:
        torch.testing.assert_close(one[head], other[head], rtol=0, atol=tolerance, msg=lambda m, h=head: f"{h}: {m}")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_a_sequence_is_single_calls_from_a_blank_memory(reading, dtype, tolerance):
    network, params, x = reading
    params, x = {name: θ.to(dtype) for name, θ in params.items()}, x.to(dtype)
    single, _ = step_by_step(network, params, x)
    assert_within(dict(network.sequence(params, x)), single, tolerance)


def test_the_gradient_of_a_sequence_is_that_of_single_calls(reading):
    network, params, x = reading
    leaf = {name: θ.requires_grad_() for name, θ in {**params, "x": x}.items()}

    def gradients(output):
        generator = torch.Generator().manual_seed(4)
        weights = {head: torch.randn(value.shape, generator=generator, dtype=x.dtype) for head, value in output.items()}
        loss = sum((weights[head] * value).sum() for head, value in output.items())
        return torch.autograd.grad(loss, list(leaf.values()))

    whole, single = gradients(network.sequence(params, x)), gradients(step_by_step(network, params, x)[0])
    for name, one, other in zip(leaf, whole, single, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9, msg=lambda m, name=name: f"{name}: {m}")


def test_what_comes_later_changes_nothing_before_and_something_after(reading):
    network, params, x = reading
    for t in {0, len(x) // 2, len(x) - 1}:
        changed = x.clone()
        changed[t] += 1
        before, after = (torch.cat([*network.sequence(params, each).values()], -1) for each in (x, changed))
        torch.testing.assert_close(after[:t], before[:t], rtol=0, atol=1e-12)
        assert (after[t : t + 2] - before[t : t + 2]).abs().amax(-1).gt(1e-9).all(), "every slot remembers it"


@pytest.mark.parametrize("index", [torch.tensor([5, 0, 7]), torch.tensor([2])], ids=str)
def test_slots_know_nothing_of_their_neighbours(reading, index):
    network, params, x = reading
    whole, some = network.sequence(params, x), network.sequence(params, x[:, index])
    assert_within({head: value[:, index] for head, value in whole.items()}, dict(some), 1e-12)
    memory = network.initial_memory(params, x.shape[1])
    for now in x[:3].unbind(0):
        memory_of_some, given = selected(memory, index), memory
        _, memory = network(params, now.unsqueeze(1), memory)
        _, after = network(params, now[index].unsqueeze(1), memory_of_some)
        assert leaves(memory).keys() == leaves(given).keys()
        assert_within(selected(memory, index), after, 1e-12)


def test_a_call_leaves_the_memory_it_is_given_as_it_is(reading):
    network, params, x = reading
    memory = network.initial_memory(params, x.shape[1])
    for now in x[:3].unbind(0):
        before = {name: tensor.clone() for name, tensor in memory.items()}
        _, after = network(params, now.unsqueeze(1), memory)
        assert_same(memory, before)
        assert any(after[name].shape != memory[name].shape or (after[name] != memory[name]).any() for name in memory)
        memory = after


def test_a_blank_memory_serves_any_number_of_slots(reading):
    network, params, x = reading
    x = x[:3].unflatten(1, (M, -1))  # [T, M, B, D]
    T, _, slots, _ = x.shape
    blank = network.initial_memory(params, M)
    assert all(tensor.shape[:2] == (M, 1) for tensor in blank.values())
    several, apart = blank, [blank] * slots
    for t in range(T):
        outputs, several = network(params, x[t], several)
        assert all(tensor.shape[:2] == (M, slots) for tensor in [*outputs.values(), *several.values()])
        for b in range(slots):
            alone, apart[b] = network(params, x[t, :, b : b + 1], apart[b])
            assert_within({head: value[:, b : b + 1] for head, value in outputs.items()}, dict(alone), 1e-12)
            assert_within({name: tensor[:, b : b + 1] for name, tensor in several.items()}, apart[b], 1e-12)


@pytest.mark.parametrize("pair", WITH_MEMORY)
def test_a_blank_memory_has_the_type_of_the_parameters(pair):
    _, algo = make(pair)
    for dtype in (torch.float32, torch.float64):
        params = {name: θ.to(dtype) for name, θ in algo.network.init(torch.Generator()).items()}
        assert {tensor.dtype for tensor in algo.network.initial_memory(params, M).values()} == {dtype}
