"""The text of JSON records."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarl_run.system.json_text import LINE_LENGTH, json_text

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
RECORDS = st.recursive(SCALARS, lambda values: st.lists(values) | st.dictionaries(st.text(), values), max_leaves=30)


@given(RECORDS, st.booleans())
def test_a_record_is_read_back_as_it_was(record: Any, ensure_ascii: bool) -> None:
    text = json_text(record, ensure_ascii=ensure_ascii)
    assert json.dumps(json.loads(text)) == json.dumps(record)  # tells 1 from 1.0 and True, 0.0 from -0.0, and orders
    assert text.endswith("\n") and text == json_text(json.loads(text), ensure_ascii=ensure_ascii)
    assert text.isascii() or not ensure_ascii


@given(st.lists(SCALARS))
def test_an_array_of_scalars_takes_one_line(values: list[Any]) -> None:
    assert json_text({"x": values}) == f'{{\n "x": {json.dumps(values)}\n}}\n'


def test_layout() -> None:
    record = {
        "name": "τ",
        "curve": {"mean": [1.5, -0.0, 1e-300], "low": [None, True, "a"]},
        "empty": [[], {}],
        "nothing": {},
        "matrix": [[1, 2], (3, 4)],
        "rows": [{"n": 1, "x": 0.1}, {"n": 2, "x": [0.2]}, 3],
    }
    expected = """\
{
 "name": "τ",
 "curve": {
  "mean": [1.5, -0.0, 1e-300],
  "low": [null, true, "a"]
 },
 "empty": [
  [],
  {}
 ],
 "nothing": {},
 "matrix": [
  [1, 2],
  [3, 4]
 ],
 "rows": [
  {"n": 1, "x": 0.1},
  {
   "n": 2,
   "x": [0.2]
  },
  3
 ]
}
"""
    assert json_text(record, ensure_ascii=False) == expected
    assert json_text(record) == expected.replace("τ", "\\u03c4")


@pytest.mark.parametrize("record", [3, "a", None, [], {}, [1, 2]])
def test_a_record_without_fields_takes_one_line(record: Any) -> None:
    assert json_text(record) == json.dumps(record) + "\n"


def test_an_object_in_an_array_takes_one_line_if_it_fits() -> None:
    around = len(' {"x": ""},')
    fitting, too_long = ("a" * (LINE_LENGTH - around + more) for more in (0, 1))
    assert json_text([{"x": fitting}, {"x": fitting}]).splitlines()[1] == f' {{"x": "{fitting}"}},'
    assert json_text([{"x": too_long}]) == f'[\n {{\n  "x": "{too_long}"\n }}\n]\n'


def test_keys_are_written_as_the_standard_library_does() -> None:
    record = {2: "a", True: "b", None: "c", 0.5: "d"}
    assert json.loads(json_text(record)) == json.loads(json.dumps(record))


def test_undecodable_bytes_of_a_command_line_are_escaped() -> None:
    overrides = [b"run=\xff".decode("utf-8", "surrogateescape")]
    assert json.loads(json_text(overrides).encode()) == overrides


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_lacks_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text({"x": [1.0, number]})
