"""The ``sertransfer`` of the tests of pages: the command as written, with less to do.

It goes before the true one on the ``PATH``, changes the words below, and hands them on. What it changes:

- ``pretrain``: a config that is not the page's own becomes the smallest network's; no ``--model``; one epoch.
- ``transfer``, ``tune``: few resamples, folds, epochs and trials, no shortcuts.
- ``demo``, ``demo-recogniser``: the corpora and the recogniser that the tests have made already are copied.
- ``import-checkpoint``: nothing.
"""

from __future__ import annotations

import os
import shutil
import sys

CONFIGS = ("paper", "small", "field", "demo", "pyresnet50", "pyresnet101", "pyresnet152")
SETTINGS = {
    "pretrain": "--epochs 1 --batch_size 16 --accumulate 1",
    "transfer": "--resamples 20 --folds 2 --shortcuts false --finetune.epochs 1 --finetune.batch_size 64",
    "tune": "--trials 2 --transfer.resamples 20 --transfer.folds 2 --transfer.shortcuts false",
}
HEAD = "--outer_folds 2 --space.heads [logistic] --space.pca [0]"
FINETUNE = "--transfer.finetune.epochs 1 --transfer.finetune.batch_size 64"


def quicker(words: list[str], prepared: str) -> list[str]:
    """Return the words with less to do; *prepared* is the folder of what was made before."""
    command = words[0] if words else ""
    if command not in SETTINGS or {"-h", "--help"} & set(words):
        return words
    words = list(words)
    if command == "pretrain":
        if "--model" in words:
            place = words.index("--model")
            del words[place : place + 2]
        if "--config" not in words:
            words[1:1] = ["--config", f"{prepared}/quick.yaml"]
        place = words.index("--config") + 1
        if os.path.basename(words[place]).removesuffix(".yaml") in CONFIGS:  # noqa: PTH119  (starts quicker)
            words[place] = f"{prepared}/quick.yaml"
    words += SETTINGS[command].split()
    if command == "tune":
        words += (FINETUNE if "finetune" in words else HEAD).split()
    return words


def copied(words: list[str], prepared: str) -> bool:
    """Whether the command's result was made before, and has been copied to where it belongs."""
    if words[:1] == ["demo"] and len(words) > 1 and not words[1].startswith("-"):
        shutil.copytree(f"{prepared}/corpora", words[1], dirs_exist_ok=True)
        return True
    if words[:1] == ["demo-recogniser"] and len(words) > 1 and not words[1].startswith("-"):
        shutil.copytree(f"{prepared}/recogniser", words[1], dirs_exist_ok=True)
        return True
    return False


if __name__ == "__main__":
    prepared, true, *words = sys.argv[1:]
    if not copied(words, prepared):
        os.execv(true, [true, *quicker(words, prepared)])
