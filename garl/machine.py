"""What training asks of the process it runs in: threads, and memory that stays."""

from __future__ import annotations

import ctypes
import sys
from concurrent.futures import ThreadPoolExecutor

import torch

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h
MIB = 1 << 20


def use_threads(threads: int) -> None:
    """Let the networks use this many CPU threads; 0: one per core."""
    if threads:
        torch.set_num_threads(threads)


def workers(count: int) -> ThreadPoolExecutor:
    """Threads that each have their share of torch's. Where torch's own would share every operation, and wait for each
    other in it, these share the work as a whole."""
    share = max(1, torch.get_num_threads() // count)
    return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(share,))


def keep_freed_memory() -> None:
    """Have glibc keep what is freed for the next tensor of that size, instead of giving it back to the system.

    What it gives back returns page by page, zeroed, at the first touch: at the thesis's sizes a fifth of the time of
    a PPO step. The process keeps the memory of its peak. Elsewhere than on Linux with glibc, nothing happens.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((M_MMAP_THRESHOLD, 1024 * MIB), (M_TRIM_THRESHOLD, 2047 * MIB), (M_TOP_PAD, 64 * MIB)):
            mallopt(option, value)
