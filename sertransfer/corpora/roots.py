"""Is this folder a corpus's root, or is the root one level up or down?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sertransfer.errors import bad_input


def check_root(root: Path, is_root: Callable[[Path], bool], layout: str) -> None:
    """Refuse a *root* that does not hold the corpus, saying where it seems to be.

    Args:
        root: The folder that the user named.
        is_root: Whether a folder looks like the corpus's root.
        layout: What the root holds, for the message.

    Raises:
        BadInput: If the folder is missing, or one level too high or too low, or something else.
    """
    if not root.is_dir():
        raise bad_input(
            root,
            found="a file" if root.exists() else "no such folder",
            expected=f"the corpus root, a folder with {layout}",
            remedy="name the corpus root",
        )
    if is_root(root):
        return
    inside = [child for child in sorted(root.iterdir()) if child.is_dir() and is_root(child)]
    parent = root.absolute().parent
    if inside:
        found, remedy = "a folder one level too high", f"name {' or '.join(map(str, inside[:3]))}"
    elif is_root(parent):
        found, remedy = "a folder one level too low", f"name {parent}"
    else:
        names = sorted(child.name for child in root.iterdir())
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        found = f"a folder with {shown}" if names else "an empty folder"
        remedy = "name the corpus root, or set the options that name its parts"
    raise bad_input(root, found=found, expected=f"the corpus root, a folder with {layout}", remedy=remedy)
