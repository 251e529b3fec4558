"""Keeping the memory of one call for the next."""

import ctypes
import platform

SETTINGS = {"MMAP_MAX": (-4, 0), "TRIM_THRESHOLD": (-1, 2**31 - 1)}
"""glibc's settings by which freed memory stays with the process, whatever its size: the numbers `mallopt` knows them by (malloc.h), and
their values, in pieces and in bytes. As environment variables, read at the start of a process, they are `MALLOC_MMAP_MAX_` and
`MALLOC_TRIM_THRESHOLD_`."""


def keep_memory() -> bool:
    """Keep what is freed, in the whole process and until it ends, for what is asked for next; call it before the first step.

    glibc gives memory above 32 MB back to the system after every call of a compiled program, and is given it anew, page by page, at
    the next, which can take longer than the program's work. The process then holds the most that it ever needed.

    Returns: whether it could; False where the C library is not glibc, and nothing has changed.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(name, value) == 1 for name, value in SETTINGS.values())
