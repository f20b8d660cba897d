"""Do something as a user whom the permissions of files bind, also where the tests run as root."""

import ctypes
import os
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
VERSION_3 = 0x20080522  # of the interface of capset(2)


def bound_by_permissions(act: Callable[[], Result]) -> Result:
    """Return what `act` returns; it, and the processes it starts, cannot write what the mode of a file forbids.

    Capabilities belong to threads, and those of a process are its thread's: so this takes a thread of its own.
    """
    found: list[Result | BaseException] = []

    def run() -> None:
        try:
            if os.geteuid() == 0:
                _drop()
            found.append(act())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _drop() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = _Header(VERSION_3, 0), (_Sets * 2)()
    assert libc.capget(ctypes.byref(header), sets) == 0
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        assert libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0
        sets[0].effective &= ~(1 << capability)
        sets[0].permitted &= ~(1 << capability)
    assert libc.capset(ctypes.byref(header), sets) == 0
