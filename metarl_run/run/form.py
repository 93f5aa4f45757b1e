"""Comparison of a state that was read with the form that it must have: names, kinds, shapes and dtypes."""

import math
from typing import Any

from torch import Tensor

from metarl_run.algo.base import Later


def outline(state: Any) -> Any:
    """The form of `state`: the same containers, with tensors that have no content."""
    if isinstance(state, Tensor):
        return state.detach().to("meta")
    if isinstance(state, dict):
        return {key: outline(entry) for key, entry in state.items()}
    if isinstance(state, list | tuple) and not isinstance(state, Later):
        return type(state)(map(outline, state))
    return state


def mismatch(found: Any, form: Any, path: str = "") -> str | None:
    """The first difference between `found` and `form`, as `path: what it must be, and what it is`; None if it has none.

    Args:
        found: plain containers of tensors and numbers, as read from a file.
        form: a state of the same kind. An empty container stands for any of its kind, whatever it is filled with;
            `Later` for a tensor that may be missing.
        path: dotted name of `found`.
    """
    if isinstance(form, Later):
        return mismatch(found, form.tensor, path)
    if isinstance(form, Tensor):
        return _of_tensor(found, form, path)
    if isinstance(form, dict) and isinstance(found, dict):
        return _of_dict(found, form, path)
    if isinstance(form, list | tuple) and type(found) is type(form):
        if not form:
            return _unusual(found, path)
        if len(found) != len(form):
            return f"{path}: must have {len(form)} entries, got {len(found)}"
        return next((w for i, entry in enumerate(found) if (w := mismatch(entry, form[i], f"{path}[{i}]"))), None)
    if type(found) is not type(form):
        return f"{path}: must be {kind_of(form)}, got {kind_of(found)}"
    if isinstance(found, int | float) and not _usual(found):
        return f"{path}: must be a finite number of usual size"
    return None


def _of_tensor(found: Any, form: Tensor, path: str) -> str | None:
    if not isinstance(found, Tensor) or found.shape != form.shape or found.dtype != form.dtype:
        return f"{path}: must be {kind_of(form)}, got {kind_of(found)}"
    return None


def _of_dict(found: dict[Any, Any], form: dict[Any, Any], path: str) -> str | None:
    if not form:
        return _unusual(found, path)
    below = f"{path}." if path else ""
    if missing := [key for key, entry in form.items() if key not in found and not isinstance(entry, Later)]:
        return f"{below}{missing[0]}: is missing"
    if unknown := [key for key in found if key not in form]:
        return f"{below}{str(unknown[0])[:100]}: is unknown"
    return next((wrong for key in found if (wrong := mismatch(found[key], form[key], f"{below}{key}"))), None)


def _unusual(found: Any, path: str) -> str | None:
    """The reason why a container that may hold anything may not hold what it does; None if there is none."""
    seen: set[int] = set()
    left = [found]
    while left:
        value = left.pop()
        if isinstance(value, dict | list | tuple):
            if id(value) not in seen:  # one list may stand for billions of entries
                seen.add(id(value))
                left += value.values() if isinstance(value, dict) else value
        elif isinstance(value, int | float) and not _usual(value):
            return f"{path}: must hold finite numbers of usual size"
    return None


def _usual(number: float) -> bool:
    return math.isfinite(number) if isinstance(number, float) else abs(number) < 2**63


def kind_of(value: Any) -> str:
    """The kind of a value in a few words; shape and dtype of a tensor."""
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    kinds = {
        dict: "a mapping",
        list: "a list",
        tuple: "a tuple",
        str: "a string",
        type(None): "null",
        int: "an integer",
    }
    return kinds.get(type(value), f"a {type(value).__name__}")
