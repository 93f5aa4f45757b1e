"""One file of learning histories, in the safetensors format.

Histories of different lengths stand one after another; Lₕ is the length of history h:

    first           [H + 1]         step at which each history begins: 0, L₀, L₀ + L₁, …
    observation     [ΣL + H] or [ΣL + H, D]    Lₕ + 1 rows of history h: what each step acted on, and the last one
    action          [ΣL] or [ΣL, d]
    reward          [ΣL]
    ended           [ΣL]            1 terminated, 2 truncated, 0 neither
    optimal_action  [ΣL]            only in a dataset with labels

One-hot observations are stored as indices, and integers in as few bytes as they need. Any reader of safetensors reads
the files; written here are eight bytes for the length of a JSON header, the header, and the tensors by falling size of
an entry, so that each is aligned. The same histories make the same bytes.

Source: https://huggingface.co/docs/safetensors, format.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from metarl_run.dataset.card import Card, ShardRecord
from metarl_run.errors import StateError
from metarl_run.files import plain_only
from metarl_run.types import Rollout

DTYPES = {"I64": torch.int64, "I32": torch.int32, "F32": torch.float32, "I16": torch.int16, "U8": torch.uint8}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
TERMINATED, TRUNCATED = 1, 2
LARGEST_HEADER = 4096
"""Bytes of a header: six tensors need some 600."""


class Histories(NamedTuple):
    """Histories one after another, see above: the tensors of one shard."""

    first: Tensor
    observation: Tensor
    action: Tensor
    reward: Tensor
    ended: Tensor
    optimal_action: Tensor | None = None


def packed(
    rollout: Rollout,
    optimal_action: Tensor | None,
    *,
    one_hot: bool,
    num_actions: int | None,
    kept: Tensor | None = None,
) -> Histories:
    """The histories of a rollout, task by task, without padding.

    Args:
        rollout: `[M, T, B, …]`; each of its M · B environments makes a history, with at least one step.
        optimal_action: `[M, T, B]`, of what each step acted on.
        one_hot: observations are one-hot, and stored as indices.
        num_actions: A of a discrete action space.
        kept: which steps are stored, `[M, T, B]`; None for all that are alive.
    """

    def by_history(x: Tensor) -> Tensor:
        """`[M, T, B, …]` → `[M · B, T, …]`."""
        return x.transpose(1, 2).flatten(0, 1)

    alive = by_history(rollout.alive if kept is None else kept)
    length = alive.sum(1)
    after = torch.where(alive, torch.arange(1, alive.shape[1] + 1), 0).amax(1, keepdim=True)
    rows = torch.cat([alive, torch.zeros_like(alive[:, :1])], 1).scatter_(1, after, True)
    observation = by_history(rollout.observation)[rows]
    if one_hot:
        observation = smallest_integers(observation.argmax(-1), observation.shape[-1])
    action = by_history(rollout.action)[alive]
    ended = by_history(rollout.terminated) * TERMINATED + by_history(rollout.truncated) * TRUNCATED
    first = torch.zeros(len(length) + 1, dtype=torch.int64)
    torch.cumsum(length, 0, out=first[1:])
    return Histories(
        first,
        observation,
        action.float() if num_actions is None else smallest_integers(action, num_actions),
        by_history(rollout.reward)[alive].float(),
        ended[alive].to(torch.uint8),
        None if optimal_action is None else smallest_integers(by_history(optimal_action)[alive], num_actions or 0),
    )


def smallest_integers(x: Tensor, size: int) -> Tensor:
    """Integers below `size` in as few bytes as they need."""
    return x.to(torch.uint8 if size <= 256 else torch.int16 if size <= 2**15 else torch.int32)


# --- Bytes ---


def to_bytes(histories: Histories) -> bytes:
    """Content of the file that holds `histories`."""
    tensors = {name: x.contiguous() for name, x in histories._asdict().items() if x is not None}
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header, end = {}, 0
    for name in names:
        x, begin = tensors[name], end
        end += x.numel() * x.element_size()
        header[name] = {"dtype": NAMES[x.dtype], "shape": list(x.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *(tensors[name].numpy().tobytes() for name in names)])


def map_shard(path: Path, record: ShardRecord, card: Card) -> Histories:
    """The histories in a file, mapped into memory: what is not looked at is not read again.

    Raises:
        StateError: if it is not, to the bit, the file that was written, or holds other tensors than its card says.
    """
    with open(path, "rb", opener=plain_only) as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != record.sha256:
        reason = f"is damaged: its content has the hash {found[:12]}…, its card says {record.sha256[:12]}…"
        raise StateError(str(path), reason, "run the command that collected it again")
    content = torch.from_file(str(path), shared=False, size=record.bytes, dtype=torch.uint8)
    try:
        histories = Histories(**_tensors(content))
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise StateError(str(path), f"holds no learning histories: {error}") from error
    if wrong := _mismatch(histories, record, card):
        raise StateError(str(path), f"holds other histories than its card says: {wrong}")
    return histories


def _tensors(content: Tensor) -> Mapping[str, Tensor]:
    """Views of the tensors in a file's content, by name."""
    length = int.from_bytes(content[:8].numpy().tobytes(), "little")
    if length > min(LARGEST_HEADER, len(content) - 8):
        raise ValueError(f"its header has {length} bytes")
    header = json.loads(content[8 : 8 + length].numpy().tobytes())
    data, found = content[8 + length :], {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        found[name] = data[begin:end].view(DTYPES[entry["dtype"]]).view(entry["shape"])
    return found


def _mismatch(histories: Histories, record: ShardRecord, card: Card) -> str | None:
    """A difference between tensors and the card that would be harmful, if there is one."""
    first, H, L = histories.first, record.histories, record.steps
    features = [] if card.one_hot else [card.num_features]
    action = [] if card.action_size is None else [card.action_size]
    shapes = {
        "first": [H + 1],
        "observation": [L + H, *features],
        "action": [L, *action],
        "reward": [L],
        "ended": [L],
        **({"optimal_action": [L]} if card.labels else {}),
    }
    for name, x in histories._asdict().items():
        if (None if x is None else list(x.shape)) != shapes.get(name):
            return f"{name} has the shape {None if x is None else list(x.shape)}, wanted {shapes.get(name)}"
    if int(first[0]) != 0 or int(first[-1]) != L or bool((first.diff() < 1).any()):
        return "first is no list of beginnings"
    for name, x, size in (
        ("action", histories.action, card.num_actions),
        ("optimal_action", histories.optimal_action, card.num_actions),
        ("observation", histories.observation, card.num_features if card.one_hot else None),
    ):
        if x is not None and size is not None and (x.is_floating_point() or int(x.max()) >= size or int(x.min()) < 0):
            return f"{name} must be integers below {size}"
    return None
