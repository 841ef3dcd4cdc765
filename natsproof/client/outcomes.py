"""Which answer to a write means that it happened, did not happen, or may have happened.

| answer to a write | outcome | because |
|---|---|---|
| PubAck with a sequence | OK | a quorum has it in its log |
| 503 no responders (NoRespondersError) | FAILED | nobody subscribed to the subject got it |
| 10071, 10164 wrong last sequence | FAILED | refused before or at apply, by every replica alike |
| 10077 with a limit's text (`maximum ... exceeded`) | FAILED | limits are checked alike by every replica |
| 10077 with any other text (an I/O error) | UNKNOWN | the log is committed, the others may have stored it |
| 10023, 10002 insufficient resources | FAILED | checked by the leader before it proposes |
| 10039, 10076 JetStream not enabled | FAILED | nothing was proposed |
| 10054 message too large, 10097 header too large | FAILED | refused before it is proposed |
| 10109 sealed stream, 10111 roll-up not permitted | FAILED | refused before it is proposed |
| 10165, 10166 time to live wrong or not enabled | FAILED | refused before it is proposed |
| not connected; payload or subject refused by nats-py | FAILED | it was never sent |
| timeout; connection closed while in flight; cancelled | UNKNOWN | it may be applied now or later |
| an answer that is no PubAck; any other error code | UNKNOWN | no source says that nothing was stored |

Read in nats-server 2.12.8 (jetstream_cluster.go processClusteredInboundMsg, jetstream_batching.go
checkMsgHeadersPreClusteredProposal, stream.go processJetStreamMsg). An acknowledgement that names
another stream counts as UNKNOWN too. The client never sends a write twice.

A read has no effect, so one without an answer is FAILED, with the moment the client gave up.
"""

from __future__ import annotations

from typing import Any

from natsproof.history import Outcome

#: Definite refusals by the server's error code.
REFUSED = frozenset({10002, 10023, 10039, 10054, 10071, 10076, 10097, 10109, 10111, 10164, 10165, 10166})
STORE_FAILED = 10077
CONFLICTS = frozenset({10071, 10164})
#: What `words` makes of 10071.
WRONG_LAST = "400/10071 wrong last sequence"
NO_MESSAGE = 10037


def of_error(error: dict[str, Any]) -> Outcome:
    """The outcome of a write answered by this error object."""
    code = error.get("err_code")
    if code in REFUSED:
        return Outcome.FAILED
    text = str(error.get("description", ""))
    if code == STORE_FAILED and text.startswith("maximum ") and text.endswith("exceeded"):
        return Outcome.FAILED
    return Outcome.UNKNOWN


def words(error: dict[str, Any]) -> str:
    """One text for all errors of a kind: numbers that differ from write to write are left out."""
    code = error.get("err_code")
    text = str(error.get("description", ""))
    if code == 10071:
        text = "wrong last sequence"
    return f"{error.get('code')}/{code} {text}"
