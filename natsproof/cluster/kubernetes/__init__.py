"""Kubernetes clusters: `KindCluster` (made and removed by us) and `KubernetesCluster` (the user's own)."""
