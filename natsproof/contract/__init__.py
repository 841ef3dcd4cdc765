"""The manifests under test, as typed values that know where they were written."""

from natsproof.contract.loader import load, load_documents
from natsproof.contract.model import Contract, Place

__all__ = ["Contract", "Place", "load", "load_documents"]
