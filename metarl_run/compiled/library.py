"""Compiled programs as libraries, called without Python's lock: threads then run them side by side.

torch's own loader keeps the lock while a program runs.
"""

import ctypes
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

Pointer = ctypes.c_void_p
POINTER_OF = ctypes.pythonapi.PyCapsule_GetPointer
POINTER_OF.restype, POINTER_OF.argtypes = Pointer, [ctypes.py_object, ctypes.c_char_p]
CAPSULE_OF = ctypes.pythonapi.PyCapsule_New
CAPSULE_OF.restype, CAPSULE_OF.argtypes = ctypes.py_object, [Pointer, ctypes.c_char_p, Pointer]


class CompiledLibrary:
    """A function from tensors to tensors in a library that AOTInductor made, see its `aoti_runtime/interface.h`.

    Args:
        path: of the library.

    Raises:
        OSError: if it cannot be loaded, or a call fails.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.library = ctypes.CDLL(str(path))
        run = self.library.AOTInductorModelContainerRun
        run.argtypes = [Pointer, Pointer, ctypes.c_size_t, Pointer, ctypes.c_size_t, Pointer, Pointer]
        create = self.library.AOTInductorModelContainerCreateWithDevice
        create.argtypes = [Pointer, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_char_p]
        self.container, number = Pointer(), ctypes.c_size_t()
        self._require(create(ctypes.byref(self.container), CALLS_AT_ONCE, b"cpu", None))
        count = self.library.AOTInductorModelContainerGetNumOutputs
        self._require(count(self.container, ctypes.byref(number)))
        self.num_outputs = number.value

    def __call__(self, *tensors: Tensor) -> Sequence[Tensor]:
        handles = torch._C._aoti.unsafe_alloc_void_ptrs_from_tensors(list(tensors))
        inputs = (Pointer * len(handles))(*(POINTER_OF(handle, None) for handle in handles))
        outputs = (Pointer * self.num_outputs)()
        # It takes the input handles over, and gives the output handles away.
        self._require(
            self.library.AOTInductorModelContainerRun(
                self.container, inputs, len(inputs), outputs, len(outputs), None, None
            )
        )
        capsules = [CAPSULE_OF(output, None, None) for output in outputs]
        made: Sequence[Tensor] = torch._C._aoti.alloc_tensors_by_stealing_from_void_ptrs(capsules)
        return made

    def _require(self, status: int) -> None:
        if status:
            raise OSError(f"{self.path}: the compiled program failed")


CALLS_AT_ONCE = 16
"""Threads that may be in one program at a time; further ones wait."""
