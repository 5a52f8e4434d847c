"""The weights of the best epoch so far of a run under way, in a file of their own."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sertransfer.errors import bad_input
from sertransfer.io.checksums import SEAL, UNSEALED, check_seal, seal
from sertransfer.io.files import atomic_path, regular_file


def keep_best(network: nn.Module, path: Path) -> None:
    """Write the weights of *network* to *path*, whole or not at all."""
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(state, temporary, {SEAL: UNSEALED})
        seal(temporary)


def read_best(path: Path) -> dict[str, Tensor]:
    """Return the weights that :func:`keep_best` wrote.

    Raises:
        BadInput: If they are not there, or were changed since.
    """
    try:
        check_seal(path)
        return dict(load_file(regular_file(path)))
    except (FileNotFoundError, SafetensorError) as error:
        raise bad_input(
            path,
            found=f"no weights that can be read ({type(error).__name__})",
            expected="those of the best epoch, which this run wrote",
            remedy="remove the resume point beside it, to train from the start",
        ) from error
