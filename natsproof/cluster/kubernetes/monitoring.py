"""One GET of a monitoring path on a local port."""

from __future__ import annotations

import http.client
import json
from typing import Any

from natsproof.errors import ClusterError


def get_json(port: int, path: str, *, label: str, timeout_s: float) -> Any:
    """The JSON that `path` answers. Raises ClusterError, with `label`, unless it is a 200 with JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as problem:
        raise ClusterError(f"{label}{path}: no answer ({type(problem).__name__}: {problem})") from None
    finally:
        connection.close()
    if answer.status != 200:
        text = body[:200].decode(errors="replace")
        raise ClusterError(f"{label}{path}: answered {answer.status}, not 200: {text}")
    try:
        return json.loads(body)
    except ValueError:
        raise ClusterError(f"{label}{path}: answered 200 with no JSON: {body[:80]!r}") from None
