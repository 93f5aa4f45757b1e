"""Reader of tensors.pt: plain containers of tensors and numbers, and nothing else that a pickle may ask for.

`torch.save` writes a zip archive of a pickle and of the bytes of each storage. `torch.load(weights_only=True)` would
also make meta, sparse and quantised tensors, expand compressed entries without limit, and read beyond the end of a
storage that is shorter than the pickle says; here such an archive is damaged.
"""

import io
import pickle
import re
import sys
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

STORAGES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}
ENTRY = re.compile(
    r"archive/(data\.pkl|data/\d+|\.data/serialization_id|\.format_version|\.storage_alignment|byteorder|version)"
)
LARGEST_PICKLE = 16 * 2**20  # bytes: it holds names and shapes alone
OPCODES = (
    *(pickle.PROTO, pickle.STOP, pickle.MARK, pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.BINFLOAT),
    *(pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.BINUNICODE),
    *(pickle.EMPTY_DICT, pickle.SETITEM, pickle.SETITEMS, pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS),
    *(pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
    *(pickle.BINPUT, pickle.LONG_BINPUT, pickle.BINGET, pickle.LONG_BINGET),
    *(pickle.GLOBAL, pickle.REDUCE, pickle.BUILD, pickle.BINPERSID),
)
"""What `torch.save` writes for a state."""

FAILURES = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError),
    *(MemoryError, OSError, pickle.UnpicklingError, zipfile.BadZipFile, zlib.error),
)
"""What a damaged archive may raise on the way."""


def read_archive(data: bytes) -> Any:
    """The object whose `torch.save` made `data`, on the CPU.

    Raises:
        ValueError: if it holds anything but dicts, lists, tuples, strings, numbers, booleans, None
            and dense tensors.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _require_plain(archive, len(data))
            return _Reader(archive).load()
    except FAILURES as error:
        raise ValueError(f"{type(error).__name__}: {str(error)[:200]}") from error


def _require_plain(archive: zipfile.ZipFile, size: int) -> None:
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if odd := next((name for name in names if not ENTRY.fullmatch(name)), None):
        raise ValueError(f"holds an entry {odd[:100]!r}")
    if len({*names}) < len(names) or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("holds an entry twice, or a compressed one")
    if (
        sum(entry.file_size for entry in entries) > size
        or archive.getinfo("archive/data.pkl").file_size > LARGEST_PICKLE
    ):
        raise ValueError("holds entries that are too large")
    if "archive/byteorder" in names and archive.read("archive/byteorder").decode() != sys.byteorder:
        raise ValueError("was written on a machine with another byte order")


class _Reader(pickle._Unpickler):  # the one in C takes no list of opcodes
    stack: list[Any]
    load_setitems: Callable[[], None]
    load_setitem: Callable[[], None]

    def __init__(self, archive: zipfile.ZipFile) -> None:
        super().__init__(io.BytesIO(archive.read("archive/data.pkl")))
        self.archive = archive
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if f"{module}.{name}" not in MADE:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}"[:200])
        return MADE[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> Tensor:
        """All elements of a storage, in a row."""
        _, dtype, key, _, length = pid
        if type(key) is not str or type(length) is not int or type(dtype) is not torch.dtype:
            raise pickle.UnpicklingError("it names a storage in another way")
        if key not in self.storages:
            content = bytearray(self.archive.read(f"archive/data/{key}"))
            self.storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        found = self.storages[key]
        if found.dtype != dtype or len(found) != length:
            raise pickle.UnpicklingError(f"its storage {key[:20]} does not hold {length} elements")
        return found

    def set_items(self) -> None:
        self._require_names(self.stack[::2])
        self.load_setitems()

    def set_item(self) -> None:
        self._require_names(self.stack[-2:-1])
        self.load_setitem()

    @staticmethod
    def _require_names(keys: Any) -> None:
        if not all(type(key) in (str, int) for key in keys):  # a tuple of tuples may take for ever to hash
            raise pickle.UnpicklingError("it has keys that are neither names nor numbers")

    def skip_attributes(self) -> None:
        """Drop what a mapping has besides its entries, as the state_dict of a module does."""
        self.stack.pop()

    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        **{code[0]: pickle._Unpickler.dispatch[code[0]] for code in OPCODES},
        pickle.SETITEMS[0]: set_items,
        pickle.SETITEM[0]: set_item,
        pickle.BUILD[0]: skip_attributes,
    }


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any) -> Tensor:
    numbers = (offset, *size, *stride)
    if type(storage) is not Tensor or any(type(n) is not int or n < 0 for n in numbers):
        raise pickle.UnpicklingError("it describes a tensor in another way")
    return torch.as_strided(storage, size, stride, offset)


def _parameter(tensor: Any, requires_grad: Any, hooks: Any) -> Any:
    return tensor


def _mapping() -> dict[Any, Any]:
    return {}


MADE = {
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "collections.OrderedDict": _mapping,
}
"""Functions that may be called by a pickle, under the names that `torch.save` writes."""
