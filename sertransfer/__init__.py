"""Transfer learning from speech emotion recognition to depression detection.

The public API loads lazily, so that ``import sertransfer`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sertransfer.encoders.registry import embed_file, encode_file, open_encoder
    from sertransfer.manifest import Manifest, read_manifest
    from sertransfer.models.checkpoint import load_model
    from sertransfer.reporting.runs import OpenedRun, open_run

__version__ = "0.1.0"
__all__ = [
    "Manifest",
    "OpenedRun",
    "__version__",
    "embed_file",
    "encode_file",
    "load_model",
    "open_encoder",
    "open_run",
    "read_manifest",
]

_HOMES = {
    "embed_file": "sertransfer.encoders.registry",
    "encode_file": "sertransfer.encoders.registry",
    "open_encoder": "sertransfer.encoders.registry",
    "OpenedRun": "sertransfer.reporting.runs",
    "open_run": "sertransfer.reporting.runs",
    "load_model": "sertransfer.models.checkpoint",
    "Manifest": "sertransfer.manifest",
    "read_manifest": "sertransfer.manifest",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sertransfer' has no attribute '{name}'")
