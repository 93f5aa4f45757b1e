"""The type checker that every annotated function of the package is wrapped in while tests run: shapes, types, dtypes.

It is named in pyproject.toml. As for Python's own type checkers, an int will do where a float is wanted. Nothing is
drawn at random, since tests watch the global generators.
"""

from io import TextIOBase
from typing import TextIO

from beartype import BeartypeConf, FrozenDict, beartype

CONFIGURATION = BeartypeConf(
    is_pep484_tower=True,
    is_random=False,
    hint_overrides=FrozenDict({TextIO: TextIOBase}),  # what every text stream is derived from, pytest's own too
)
typechecked = beartype(conf=CONFIGURATION)
