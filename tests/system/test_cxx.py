"""A compiler that cannot be run, or cannot compile, is told apart without torch."""

import pytest

from metarl_run.errors import ConfigError
from metarl_run.system.cxx import require_cxx


@pytest.mark.parametrize(
    ("compiler", "said"), [("/no/such", "cannot be run: No such file or directory"), ("false", "fails: exit code 1")]
)
def test_what_does_not_compile_is_named(monkeypatch: pytest.MonkeyPatch, compiler: str, said: str) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_INSTALL_GXX", raising=False)
    monkeypatch.setenv("CXX", compiler)
    with pytest.raises(ConfigError) as caught:
        require_cxx()
    assert caught.value.where == "compile"
    assert caught.value.reason == f"must be false here: the C++ compiler {compiler!r} {said}"


def test_a_compiler_without_headers_is_told_with_its_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metarl_run.system.cxx.PROGRAM", "#include <no_such_header.h>\n")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigError, match="must be false here: the C\\+\\+ compiler"):
        require_cxx()
