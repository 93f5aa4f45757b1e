"""Packages made up for a test, which only their source text tells about."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from metarl_run.config.static import signature, source

MakePackage = Callable[..., str]


@pytest.fixture
def make_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakePackage]:
    """`make_package("toy", **{"a.b": text})` writes an importable package with those modules."""
    monkeypatch.syspath_prepend(tmp_path / "site")
    made = []

    def make(name: str, **modules: str) -> str:
        for module, text in {"__init__": "", **modules}.items():
            path = tmp_path / "site" / name / (module.replace(".", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        made.append(name)
        _forget()
        return name

    yield make
    for name in [name for name in sys.modules if name.partition(".")[0] in made]:
        del sys.modules[name]
    _forget()


def _forget() -> None:
    """What was read of packages that come and go."""
    source.module.cache_clear()
    signature.signature.cache_clear()
