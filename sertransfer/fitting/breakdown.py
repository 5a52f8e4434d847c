"""The error of a training that broke down."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sertransfer.errors import SertransferError

_log = logging.getLogger(__name__)


class NonFiniteLoss(SertransferError):
    """Training broke down: the loss is NaN or infinite."""


def breakdown(what: str, names: Sequence[str], resume_point: str, setting: str) -> NonFiniteLoss:
    """Return the exception that says *what* broke down, on which utterances, and what to do; log it whole.

    Args:
        what: What is not finite, and when.
        names: The utterances of the batch.
        resume_point: Where the last good state lies.
        setting: The learning rate's name.
    """
    _log.error("%s; utterances of the batch: %s", what, ", ".join(names))
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more (see log.txt)" if names[10:] else "")
    return NonFiniteLoss(
        f"{what}; utterances of the batch: {shown}; last good checkpoint: {resume_point}; "
        f"lower {setting}, or train in 32-true or bf16-mixed precision, in another --run-dir"
    )
