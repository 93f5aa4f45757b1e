"""Components: classes that a configuration names by `_target_`, whose constructors are annotated fields."""

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, dataclass_transform, get_origin, get_type_hints

from metarl_run.kinds import problem, problem_beside

MISSING: Any = dataclasses.MISSING


@dataclass(frozen=True)
class Field:
    """A field as its class declares it, see `field`."""

    default: Any = MISSING
    alias: str | None = None
    init: bool = True


def field(*, default: Any = MISSING, alias: str | None = None, init: bool = True) -> Any:
    """A field that is more than an annotation.

    Args:
        default: value where the argument is not given.
        alias: name of the argument where the attribute has another.
        init: False for an attribute that is no argument: it has its default, or `__post_init__` sets it.
    """
    return Field(default, alias, init)


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field,))
class Component:
    """A class with annotated fields, inherited ones included, in the place of a hand-written constructor.

        class Reptile(GradientBased, MetaLearner):
            adaptation_steps: Count
            inner_lr: Positive

    is made by keywords alone, as `Reptile(adaptation_steps=5, inner_lr=0.1)`. Every argument is checked against its
    kind (`metarl_run.kinds`); what follows from the fields is set in `__post_init__`. Annotations with `ClassVar` are
    no fields. A class may have a constructor of its own instead, whose `**arguments` are those of its ancestor. The
    configuration is checked against the same annotations, read from the source text by `metarl_run.config.static`.
    """

    __own_fields__: ClassVar[Mapping[str, Field]] = {}
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = {}
        for name, annotation in vars(cls).get("__annotations__", {}).items():
            if get_origin(annotation) is ClassVar or annotation is ClassVar:
                continue
            declared = vars(cls).get(name, MISSING)
            own[name] = declared if isinstance(declared, Field) else Field(declared)
            if isinstance(declared, Field):
                delattr(cls, name)
                if declared.default is not MISSING and not declared.init:
                    setattr(cls, name, declared.default)
        cls.__own_fields__ = own
        cls.__signature__ = _signature(cls)

    def __init__(self, **arguments: Any) -> None:
        """Keep every argument.

        Raises:
            TypeError: if an argument is missing or unknown.
            ValueError: naming the first argument that is not of its kind: `inner_lr must be …, got …`.
        """
        cls: Any = type(self)
        kinds = _kinds_of(cls)
        fields = {of.alias or name: (name, of) for name, of in fields_of(cls).items() if of.init}
        values = {}
        for argument in arguments:
            if argument not in fields:
                raise TypeError(f"{cls.__name__} takes no argument {argument!r}; it takes {', '.join(fields)}")
        for argument, (name, declared) in fields.items():
            value = arguments.get(argument, declared.default)
            if value is MISSING:
                raise TypeError(f"{cls.__name__} lacks the argument {argument!r}")
            if wrong := problem(kinds[name], value):
                raise ValueError(f"{argument} {wrong}")
            values[argument] = value
            setattr(self, name, value)
        for argument, (name, _) in fields.items():
            if related := problem_beside(kinds[name], values[argument], values):
                raise ValueError(f"{argument}{related[0]} {related[1]}")
        self.__post_init__()

    def __post_init__(self) -> None:
        """Attributes that follow from the fields; an override begins with `super().__post_init__()`."""


@functools.cache
def fields_of(cls: type) -> Mapping[str, Field]:
    """The fields by attribute, ancestors' first: of all classes above the last one with a constructor of its own."""
    fields: dict[str, Field] = {}
    for ancestor in reversed(cls.__mro__):
        if not issubclass(ancestor, Component):
            continue
        if "__init__" in vars(ancestor) and ancestor is not Component:
            break
        fields |= ancestor.__own_fields__
    return fields


def _signature(cls: Any) -> inspect.Signature:
    """The arguments of a class; `**arguments` of its constructor are what its ancestor takes besides."""
    home = next(place for place, ancestor in enumerate(cls.__mro__) if "__init__" in vars(ancestor))
    if cls.__mro__[home] is not Component:
        own = list(inspect.signature(cls.__init__).parameters.values())[1:]
        named = {parameter.name: parameter for parameter in own if parameter.kind is not parameter.VAR_KEYWORD}
        above = next((c for c in cls.__mro__[home + 1 :] if issubclass(c, Component)), None)
        if len(named) == len(own) or above in (None, Component):
            return inspect.Signature(own)
        passed_on = [p for name, p in above.__signature__.parameters.items() if name not in named]
        return inspect.Signature([*named.values(), *passed_on])
    return inspect.Signature(
        [
            inspect.Parameter(
                declared.alias or name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if declared.default is MISSING else declared.default,
            )
            for name, declared in fields_of(cls).items()
            if declared.init
        ]
    )


@functools.cache
def _kinds_of(cls: type) -> Mapping[str, Any]:
    return get_type_hints(cls, include_extras=True)
