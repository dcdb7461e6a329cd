"""Physical memory of this machine, and peak memory of this process."""

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")  # of Linux


def physical_memory() -> int:
    """Bytes of memory of this machine."""
    if (kernel := _windows()) is not None:
        memory = _Memory(size=ctypes.sizeof(_Memory))
        _check(kernel.GlobalMemoryStatusEx(ctypes.byref(memory)))
        return memory.physical
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def peak_memory() -> int:
    """Peak memory of this process, in bytes."""
    if (kernel := _windows()) is not None:
        counters = _Counters(size=ctypes.sizeof(_Counters))
        kernel.GetCurrentProcess.restype = ctypes.c_void_p  # else a handle of 64 bits loses half of them
        process = ctypes.c_void_p(kernel.GetCurrentProcess())
        _check(kernel.K32GetProcessMemoryInfo(process, ctypes.byref(counters), counters.size))
        return counters.peak_working_set
    # On Linux, getrusage counts what the parent held before this program was started in its copy.
    for line in STATUS.read_text(encoding="utf-8").splitlines() if STATUS.exists() else []:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    import resource  # not available on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _windows() -> Any:
    """The functions of Windows, None on other systems."""
    return ctypes.windll.kernel32 if hasattr(ctypes, "windll") else None


def _check(succeeded: int) -> None:
    if not succeeded:
        raise OSError("Windows does not say how much memory there is")


class _Memory(ctypes.Structure):
    """MEMORYSTATUSEX: https://learn.microsoft.com/windows/win32/api/sysinfoapi/ns-sysinfoapi-memorystatusex"""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("physical", ctypes.c_uint64),
        ("others", ctypes.c_uint64 * 6),
    )


class _Counters(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS: https://learn.microsoft.com/windows/win32/api/psapi/ns-psapi-process_memory_counters"""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("page_faults", ctypes.c_uint32),
        ("peak_working_set", ctypes.c_size_t),
        ("others", ctypes.c_size_t * 7),
    )
