"""Every error natsproof raises on purpose.

NatsproofError
├── ContractError        the manifests cannot be read or contradict their schema   exit code 4
├── UsageError           an option or a call of ours is wrong                      exit code 4
├── ClusterError         the platform could not be started, reached or steered     exit code 3
│   ├── NotAvailableHere the host cannot do this (missing kernel part, privilege)
│   └── NotUp            its manifests were applied and it did not come up: evidence, not trouble
├── DeadlineExceeded     a bounded wait ran out
├── FaultDidNotLand      the independent witness does not confirm the fault
├── HistoryError         a history file is damaged or of an unknown schema
├── ClaimBroken          a promise is refuted (raised in tests, pytest reports it)
└── EvidenceMissing      no statement is justified (UNKNOWN)
"""

from __future__ import annotations


class NatsproofError(Exception):
    """Base of all errors raised on purpose; its text is meant for the user."""


class ContractError(NatsproofError):
    """Manifests that cannot be read: `file:line: what is wrong. expected. what to do`."""


class UsageError(NatsproofError):
    """A wrong option or call; the text names the valid values."""


class ClusterError(NatsproofError):
    """The platform could not be started, reached or steered."""


class NotAvailableHere(ClusterError):
    """This host cannot do what was asked; the text says which part is missing."""


class NotUp(ClusterError):
    """The manifests were applied and the platform did not come up: this alone refutes that it starts.

    Every other ClusterError at a start says something about the host or about us, and decides nothing.
    """


class DeadlineExceeded(NatsproofError):
    """A bounded wait ran out; the text names what was awaited, the bound and the last value."""


class FaultDidNotLand(NatsproofError):
    """A fault was injected but its independent witness does not confirm it."""


class HistoryError(NatsproofError):
    """A history file is damaged, incomplete or of an unknown schema."""


class ClaimBroken(NatsproofError):
    """A promise is refuted. The text is the broken promise with its evidence."""


class EvidenceMissing(NatsproofError):
    """Too little evidence for a statement: the verdict is UNKNOWN."""
