"""Errors of Hydra and OmegaConf as one line that names the key."""

import re

from metarl_run.config.grammar import argument
from metarl_run.config.nearest import hint
from metarl_run.errors import ConfigError

UNKNOWN = "unknown key"
PACKAGE_HINT = "an experiment's file begins with the line: # @package _global_"
LONGEST_HINT = 100
QUOTATION_MARKS = "\"'"
SWEEP_HINT = "add -m to run each value, or write a list as [a,b]"


def explain(error: BaseException) -> ConfigError:
    """The same failure as a ConfigError. Exceptions are first apart by their text, since their types do not tell."""
    text = str(error).strip() or str(error.__cause__ or "").strip()
    cause = error if getattr(error, "full_key", None) else error.__cause__
    key = str(getattr(cause, "full_key", None) or "") or "configuration"
    if found := re.search(r"Could not find '([^']+)'", text):
        group, _, option = found[1].rpartition("/")
        options = re.findall(r"^\t([\w./-]+)$", text, re.MULTILINE)
        return ConfigError(group or option, f"there is no option {option!r}", hint(option, options))
    if found := re.search(r"Cannot find primary config '([^']+)'", text):
        return ConfigError("--config-name", f"there is no {found[1]!r} in the configuration folder")
    if found := re.search(r"(?:argument|parameters) '([^'=]+)=[^']*'?", text):
        return ConfigError(found[1], "is given several values", SWEEP_HINT)
    if found := re.search(r"Sweeping over Hydra's configuration.*?: '([^'=]+)", text):
        return ConfigError(found[1], "is Hydra's own and cannot be swept")
    if found := re.search(r"Could not override '([^']+)'", text):
        return ConfigError(found[1], UNKNOWN, PACKAGE_HINT if "@experiment" in found[1] else None)
    if found := re.search(r"An item is already at '([^']+)'", text):
        return ConfigError(found[1], "is there already", f"write {found[1]}=VALUE, without +")
    if found := re.search(r"Could not delete[^']*'([^']+)'", text):
        return ConfigError(found[1], "cannot be deleted: there is no such key")
    if found := re.match(r"In '([^']+)': (.+)", text):
        return ConfigError(found[1], found[2].rstrip("."))
    if found := re.search(r"full_key: (\S+)", text):
        key = found[1]
    return ConfigError(key, _first_line(str(cause or text)))


def explain_override(override: str, error: BaseException) -> ConfigError:
    """An argument that is not of the form that Hydra's grammar wants."""
    key, equals, _ = override.partition("=")
    if not equals or not key:
        return ConfigError(override, "must be of the form key=value", "metarl-run --help shows examples")
    value = override.partition("=")[2]
    quotable = len(value) < LONGEST_HINT and "ValueError while" not in str(error)
    hint = f"quote it: {argument(key, value.strip(QUOTATION_MARKS))}" if quotable else None
    if not re.fullmatch(r"[+~]{0,2}[\w/@]+([.:][\w/@]+)*", key, re.ASCII):
        hint = "metarl-run --help lists the keys"
    elif any(override.count(left) > override.count(right) for left, right in ("[]", "{}", "()")):
        hint = f"a blank ends an argument: write {key}=[a,b] without blanks, or '{key}=[a, b]' in quotes"
    return ConfigError(key, f"its value cannot be read: {_first_line(str(error))}", hint)


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and "See https" not in line]
    first = next((line for line in lines if not line.startswith("Error parsing override")), "it cannot be composed")
    return re.sub(r"^\w*Exception: ", "", first)
