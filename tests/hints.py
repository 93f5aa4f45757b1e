"""What a user types who follows a hint."""

import re
import shlex
from collections.abc import Iterator, Sequence

PLACEHOLDERS = ("VALUE", "FOLDER", "RUN_FOLDER", "N")


def followed(command: Sequence[str], where: str, hint: str) -> Iterator[list[str]]:
    """The command as each piece of advice in the hint has it; nothing if the hint names a next step of another kind.

    Args:
        command: arguments that were refused.
        where: key at fault.
        hint: that went with the refusal.
    """
    if found := re.fullmatch(r"did you mean (\S+)\?", hint):
        yield [_renamed(text, where, found[1]) for text in command]
    elif found := re.fullmatch(r"write ([\w.]+)=VALUE, without .*", hint):
        yield [re.sub(r"^[-+]+", "", text) if key_of(text) == key_of(found[1]) else text for text in command]
    elif found := re.fullmatch(r"leave out (~?)([\w.]+)", hint):
        yield [text for text in command if key_of(text) != found[2]]
    elif found := re.fullmatch(r"keep one of (.+) and (.+)", hint, re.DOTALL):
        for text in found.groups():
            rest = list(command)
            rest.remove(text)
            yield rest
    elif hint.startswith("add -m "):
        yield ["-m", *command]
    elif found := re.fullmatch(r"quote it: (.*)", hint, re.DOTALL):
        (quoted,) = shlex.split(found[1])
        yield [quoted if key_of(text) == key_of(quoted) else text for text in command]
    else:
        for text in re.findall(r"(?<![\w./=])[\w./]+=[^\s;,]+", hint):
            if text.partition("=")[2] not in PLACEHOLDERS and "[a" not in text and not text.startswith("plugins="):
                group = f"{key_of(text)}."  # another option does not have the old one's keys
                yield [*(old for old in command if not f"{key_of(old)}.".startswith(group)), text]


def key_of(text: str) -> str:
    return text.lstrip("-+~").partition("=")[0].replace("-", "_")


def _renamed(text: str, where: str, meant: str) -> str:
    """With the key `where` by its right name, or the option of the group `where`."""
    start, equals, value = text.partition("=")
    if key_of(text) != where:
        return text
    is_key = "." in meant or meant.startswith(where[:2])
    return f"{meant}={value}" if is_key else f"{start}{equals}{meant}"
