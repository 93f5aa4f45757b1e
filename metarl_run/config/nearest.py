"""Suggestions for a name that does not exist."""

import difflib
from collections.abc import Collection, Iterator

LONGEST_LIST = 10  # names that a hint enumerates


def nearest(name: str, names: Collection[str]) -> str | None:
    """The entry of `names` that is most like `name`, as a whole or in one of its words; None if none is."""

    def likeness(candidate: str) -> float:
        whole = difflib.SequenceMatcher(None, name, candidate).ratio()
        words = [difflib.SequenceMatcher(None, name, word).ratio() for word in candidate.split("_")]
        return max(whole, 0.9 * max(words))

    best = max(names, key=likeness, default=None)
    return best if best is not None and likeness(best) >= 0.6 else None


def hint(name: str, names: Collection[str]) -> str | None:
    """`did you mean …?`, or everything there is."""
    if meant := nearest(name, names):
        return f"did you mean {meant}?"
    return f"there is {', '.join(names)}" if 0 < len(names) <= LONGEST_LIST else None


def leaves(config: object, path: str = "") -> Iterator[str]:
    """Dotted paths of all values in a nested mapping."""
    if isinstance(config, dict):
        for key, value in config.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path
