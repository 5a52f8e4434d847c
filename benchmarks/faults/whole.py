"""Whether everything that a run left can be read, and what of its work is finished."""

from __future__ import annotations

import hashlib
import json
import xml.etree.ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

VOLATILE = {"seconds"}
"""Keys and columns that differ between two runs of the same settings."""


def _json(path: Path) -> None:
    json.loads(path.read_text(encoding="utf-8"))


def _csv(path: Path) -> None:
    import pandas as pd

    pd.read_csv(path)


def _yaml(path: Path) -> None:
    import yaml

    yaml.safe_load(path.read_text(encoding="utf-8"))


def _tensors(path: Path) -> None:
    from safetensors.numpy import load_file

    from sertransfer.io.checksums import check_seal

    check_seal(path)
    load_file(path)


def _resume_point(path: Path) -> None:
    from sertransfer.training.callbacks import AtomicCheckpointIO

    AtomicCheckpointIO().load_checkpoint(path)


def _chunk(path: Path) -> None:
    import numpy as np

    from sertransfer.transfer.embedding_store import EmbeddedChunk

    if path.parent.name == "prints":  # fingerprints of audio, not embeddings
        with np.load(path, allow_pickle=False) as prints:
            if len(prints["values"]) != 16 * prints["counts"].sum():
                raise ValueError("no fingerprints of audio")
        return
    if EmbeddedChunk.read(path) is None:
        raise ValueError("no chunk")


def _features(path: Path) -> None:
    from sertransfer.audio.store import FeatureStore

    FeatureStore(path.parent).verify()


def _values(path: Path) -> None:
    from sertransfer.transfer.finetune.data import FrameStore

    FrameStore(path.parent).verify()


def _embeddings(path: Path) -> None:
    from sertransfer.transfer.embedding_store import _open

    _open(path.parent, path.parent.name, json.loads(path.read_text(encoding="utf-8")))


def _vectors(path: Path) -> None:
    import numpy as np

    np.load(path, allow_pickle=False)


def _studies(path: Path) -> None:
    import sqlite3

    with sqlite3.connect(path) as database:
        found = database.execute("PRAGMA integrity_check").fetchall()
    if found != [("ok",)]:
        raise ValueError(f"a damaged database: {found}")


def _figure(path: Path) -> None:
    xml.etree.ElementTree.parse(path)


def _page(path: Path) -> None:
    if not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
        raise ValueError("a page without an end")


def _text(path: Path) -> None:
    path.read_text(encoding="utf-8")


READERS: dict[str, Callable[[Path], None]] = {
    "features.bin": _features,
    "values.bin": _values,
    "embedding.json": _embeddings,
    ".json": _json,
    ".csv": _csv,
    ".yaml": _yaml,
    ".safetensors": _tensors,
    ".ckpt": _resume_point,
    ".npz": _chunk,
    ".npy": _vectors,
    ".db": _studies,
    ".db-journal": lambda path: None,  # what SQLite takes back is gone once the database was read
    ".svg": _figure,
    ".html": _page,
    ".txt": _text,
}
"""By the whole name, or by its end."""


def unreadable(place: Path) -> tuple[int, list[str]]:
    """Return how many files under *place* were read, and what is wrong with those that could not be.

    Temporary files, locks and TensorBoard's events are passed over; a file of a kind unknown here is wrong.
    """
    count, wrong = 0, []
    for path in sorted(place.rglob("*")):
        inside = path.relative_to(place).parts
        passed = (
            any(part.startswith(".") for part in inside) or "tfevents" in path.name or "tensorboard" in inside
        )
        if not path.is_file() or passed:
            continue
        reader = READERS.get(path.name) or READERS.get(path.suffix)
        count += 1
        try:
            if reader is None:
                raise ValueError("a file of a kind that is not known")
            reader(path)
        except Exception as error:
            wrong.append(
                f"{path.relative_to(place)}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            )
    return count, wrong


def temporaries(place: Path) -> list[str]:
    """Return the temporary files and folders under *place*."""
    return [str(path.relative_to(place)) for path in place.rglob(".*.tmp")]


def finished(place: Path) -> dict[str, Any]:
    """Return what is finished under *place*: it must only ever grow.

    That is stores and embeddings by name, chunks whose set is not yet joined, steps of the resume point,
    complete trials, and runs with their metrics.
    """
    found: dict[str, Any] = {
        "stores": sorted(path.parent.name for path in place.rglob("meta.json") if _visible(path, place)),
        "embeddings": sorted(path.parent.name for path in place.rglob("embedding.json")),
        "chunks": sorted(path.name for path in place.rglob("chunks/*.npz") if _visible(path, place)),
        "runs": sorted(path.parent.name for path in place.rglob("metrics.json")),
        "trials": 0,
        "steps": 0,
    }
    for studies in place.rglob("*.db"):
        from sertransfer.transfer.tuning.storage import open_storage

        storage = open_storage(studies)
        for study in storage.get_all_studies():
            found["trials"] += sum(one.state.is_finished() and one.value is not None
                                   for one in storage.get_all_trials(study._study_id))  # fmt: skip
    for point in place.rglob("resume.ckpt"):
        from sertransfer.training.callbacks import AtomicCheckpointIO

        found["steps"] = max(found["steps"], int(AtomicCheckpointIO().load_checkpoint(point)["global_step"]))
    return found


def _visible(path: Path, place: Path) -> bool:
    return not any(part.startswith(".") for part in path.relative_to(place).parts)


def lost(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return what was finished *before* and is not *after*; what a later step replaced is not lost."""
    missing = []
    for kind in ("stores", "embeddings", "runs"):
        missing += [f"{kind}: {name}" for name in before[kind] if name not in after[kind]]
    if not after["embeddings"]:
        missing += [f"chunk {name}" for name in before["chunks"] if name not in after["chunks"]]
    if after["trials"] < before["trials"]:
        missing.append(f"trials: {before['trials']} became {after['trials']}")
    if not after["runs"] and after["steps"] < before["steps"]:
        missing.append(f"steps: {before['steps']} became {after['steps']}")
    return missing


def result(run: Path) -> dict[str, str]:
    """Return the hashes of what a finished run found: weights tensor by tensor, metrics, tables, curve."""
    from safetensors.numpy import load_file

    found: dict[str, str] = {}
    for path in sorted((run / "checkpoints").glob("*.safetensors")):
        for name, value in load_file(path).items():
            content = f"{value.dtype} {value.shape} ".encode() + value.tobytes()
            found[f"{path.name} {name}"] = hashlib.sha256(content).hexdigest()
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    found["metrics.json"] = json.dumps(_lasting(metrics), sort_keys=True)
    for path in sorted(run.glob("*.csv")):
        import pandas as pd

        table = pd.read_csv(path)
        kept = [name for name in table.columns if name not in VOLATILE]
        if path.name == "trials.csv":  # a trial that was killed has a number of its own
            kept = [name for name in kept if name != "trial"]
        found[path.name] = table[kept].to_csv(index=False)
    return found


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _lasting(below) for name, below in value.items() if name not in VOLATILE}
    return [_lasting(below) for below in value] if isinstance(value, list) else value


def hashes(folder: Path) -> dict[str, str]:
    """Return the hash of every file under *folder*."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
