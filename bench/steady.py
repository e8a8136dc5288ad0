"""What scripts beside it share: an allocator that keeps its blocks"""

import os, sys

KEEP = dict(
    MALLOC_MMAP_THRESHOLD_='33554432', MALLOC_TRIM_THRESHOLD_='4000000000'
)  # glibc reads them when a process starts


def steady(**more):
    """Start this script anew with KEEP, and more, in its environment, unless they are there. glibc returns large blocks
    to the system and takes them again, page by page, at every step: a good part of its time, and most of the noise."""
    want = {**KEEP, **more}
    if not want.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **want})
