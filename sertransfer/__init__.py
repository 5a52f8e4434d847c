"""Transfer learning from speech emotion recognition to depression detection.

The public API loads lazily, so that ``import sertransfer`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sertransfer.manifest import Manifest, read_manifest
    from sertransfer.models.checkpoint import load_model

__version__ = "0.1.0"
__all__ = ["Manifest", "__version__", "load_model", "read_manifest"]

_HOMES = {
    "load_model": "sertransfer.models.checkpoint",
    "Manifest": "sertransfer.manifest",
    "read_manifest": "sertransfer.manifest",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sertransfer' has no attribute '{name}'")
