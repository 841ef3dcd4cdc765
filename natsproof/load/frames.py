"""Messages between a generator process and the process that steers it, over one socket pair.

Down (one JSON value a line): {"rate_hz": 500, "at_ns": ..., "weights": [...]},
{"saturate": 64} (closed loop of so many clients), {"stop": true}.
Up (frames: one byte of type, four of length, the content): R ready, S samples, E the end's summary.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

HEAD = struct.Struct("<cI")
READY, SAMPLES, END = b"R", b"S", b"E"


def frame(kind: bytes, content: bytes) -> bytes:
    return HEAD.pack(kind, len(content)) + content


class FrameReader:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        self._buffer += data
        while len(self._buffer) >= HEAD.size:
            kind, length = HEAD.unpack_from(self._buffer)
            if len(self._buffer) < HEAD.size + length:
                return
            content = bytes(self._buffer[HEAD.size : HEAD.size + length])
            del self._buffer[: HEAD.size + length]
            yield kind, content
