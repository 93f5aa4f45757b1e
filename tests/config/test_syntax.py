"""Files that are no configuration are refused with file and line, quickly and without expanding them."""

import time
import tracemalloc
from pathlib import Path

import pytest

from metarl_run.config.syntax import check_yaml, read_yaml
from metarl_run.errors import ConfigError, StateError

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (b"a: 1\n\tb: 2\n", 2, "must be indented with spaces, got a tab"),
        (b"a: 1\nb: {c: 1, c: 2}\n", 2, "has the key 'c' twice, first in line 2"),
        (b"a: 1\nb: !!python/object/apply:os.system [ls]\n", 2, "got the tag python/object/apply:os.system"),
        (b"a: !mine 3\n", 1, "got the tag !mine"),
        (b"a: 1\nb: \xff\n", 2, "must be UTF-8, got byte 0xff"),
        (b"a: 1\nb: \x00\n", 2, "has a character that YAML does not allow"),
        (b"a: [1, 2\nb: 3\n", 2, "is not YAML"),
        (b"a: *nowhere\n", 1, "undefined alias"),
        (b"a: &a [1, *a]\n", 1, "contains itself"),
        (b"- 1\n", 1, "must be a mapping"),
        (b"? [1, 2]\n: 3\n", 1, "must have plain words as keys"),
        (b"a: " + b"[" * 5000 + b"]" * 5000, 1, "is nested too deeply"),
        (b"a: 1 # " + b"x" * 300_000, 1, "must have at most 200000 bytes"),
    ],
)
def test_refused_with_file_and_line(tmp_path: Path, text: bytes, line: int, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=said.replace("[", r"\[")) as caught:
        check_yaml(path)
    assert caught.value.where == f"{path}:{line}"
    assert "\n" not in caught.value.reason


def test_an_alias_bomb_is_refused_in_no_time_and_space(tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_text(BOMB)
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(ConfigError, match="once its aliases are expanded"):
        check_yaml(path)
    assert time.process_time() - start < 2
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


@pytest.mark.parametrize("text", ["", "# nothing\n", "a: &x {b: 1}\nc: *x\n", "a: {<<: &b {x: 1}, <<: *b}\n", "a: é\n"])
def test_plain_files_pass(tmp_path: Path, text: str) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(text, encoding="utf-8")
    check_yaml(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: No such file"):
        check_yaml(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    "text",
    [
        BOMB.encode(),
        b"a: " + b"[" * 50_000,
        b"a: " + b"[" * 60 + b"]" * 60,
        b"a: &a [1, *a]",
        b"a: " + b"1" * 10_000,
        b"a: 2026-99-99",
        b"a: !!python/name:os.system",
        b"\xff",
        b"a: 1" * 100_000,
    ],
)
def test_a_record_from_elsewhere_is_refused(text: bytes, tmp_path: Path) -> None:
    """In what time, scripts/studies/hostile_loop measures: a test's own would depend on the machine."""
    (tmp_path / "config.yaml").write_bytes(text)
    with pytest.raises(StateError, match=r"config\.yaml"):
        read_yaml(tmp_path / "config.yaml")


def test_a_record_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: &a [1, 2.5, null]\nb: *a\n")
    assert read_yaml(tmp_path / "config.yaml") == {"a": [1, 2.5, None], "b": [1, 2.5, None]}
    (tmp_path / "config.yaml").write_text("")
    assert read_yaml(tmp_path / "config.yaml") is None
