"""The manifests under test, as typed values that know where they were written."""

from natsproof.contract.model import Contract, Place

__all__ = ["Contract", "Place"]
