"""What Kubernetes would not start either, told apart from what only the embedded cluster cannot do."""

from __future__ import annotations

from natsproof.errors import ClusterError

#: Event of a pod that a kubelet would hold too; evidence about the manifests.
HELD = "held"
#: Event of a pod that embedded cannot run, for a reason of its own or of the host; evidence about nothing.
NOT_POSSIBLE = "not-possible-here"


class PodRefused(ClusterError):
    """Kubernetes would not start this pod or container (CreateContainerConfigError, missing volume)."""


def kept_back(problem: ClusterError) -> str:
    """The event for a container that was not started."""
    return HELD if isinstance(problem, PodRefused) else NOT_POSSIBLE
