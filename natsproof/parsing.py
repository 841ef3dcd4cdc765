"""Reading Python sources while other threads may, too."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: Before 3.11.8 and 3.12.2 `ast.parse` mixes up two threads that parse (python/cpython#106905).
VERSION = sys.version_info[:3]


@contextmanager
def undisturbed() -> Iterator[None]:
    """No garbage collection, where Python needs that: only a collection lets another thread in while one
    parses. SystemError otherwise, seldom, in Hypothesis or in pytest (docs/findings.md, 51 and 59)."""
    sound = VERSION >= (3, 12, 2) or (3, 11, 8) <= VERSION < (3, 12)
    if sound or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
