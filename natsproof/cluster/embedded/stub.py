"""What the loopback fallback starts a program through: `python -I -S stub.py PARENT GATE PROGRAM ...`.

Dies with its parent thread, waits until the pipe GATE (-1: none) is closed, then becomes the program.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, gate, argv = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the call
        sys.exit(1)
    if gate >= 0:
        os.read(gate, 1)
        os.close(gate)
    try:
        os.execvp(argv[0], argv)
    except OSError as problem:
        print(f"{argv[0]}: {problem.strerror}", file=sys.stderr)
        sys.exit(127)


if __name__ == "__main__":
    main()
