"""Physical memory of this machine, and peak memory of this process."""

import os
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")  # of Linux


def physical_memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def peak_memory() -> int:
    """Most bytes that this process has held in memory at one time."""
    # On Linux, getrusage counts what the parent held before this program was started in its copy.
    for line in STATUS.read_text().splitlines() if STATUS.exists() else []:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    import resource  # which Windows has not

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
