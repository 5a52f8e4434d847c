"""What every way into stage 2 is given besides its settings and the manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Required, TypedDict

from sertransfer.timebase import Framing


class RunOptions(TypedDict, total=False):
    """The keyword options of :func:`sertransfer.transfer.workflow.transfer`, which tuning passes on to it.

    Attributes:
        encoder: Name of the encoder, ``ser`` for instance.
        checkpoint: Its weights.
        run_dir: Folder of the run; a finished one of the same settings and inputs is not run again.
        framing: Framing asked for; another one than the checkpoint's is refused.
        embeddings: Folder of stored embeddings or features, ``run_dir/embeddings`` if not given.
        skip_bad: Leave out sentences that can not be read, and record them, instead of stopping.
        progress: Whether bars are shown; true if not given.
    """

    encoder: Required[str]
    checkpoint: Required[Path]
    run_dir: Required[Path]
    framing: Framing | None
    embeddings: Path | None
    skip_bad: bool
    progress: bool
