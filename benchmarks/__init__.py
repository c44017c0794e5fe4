"""Benchmarks: python -m benchmarks, and each by itself."""

import os

# As the command line asks for it, before torch takes any memory.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
