"""Keyed fingerprint of the audio that a model was trained on, and the comparison of other audio with it.

Names say little: the training recordings may turn up under another corpus, folder or speaker. A model
therefore keeps a few prints of each training utterance's samples (:mod:`sertransfer.audio.fingerprint`),
hashed with a key of its own. Whoever has a recording can ask whether the model has seen it; without the
recordings the hashes name nothing, and those of two models cannot be compared.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sertransfer.errors import bad_input
from sertransfer.io.files import regular_file, write_json
from sertransfer.io.plain_values import parse_json

FILE = "training_audio.json"
"""File of a run folder of stage 2. A checkpoint of stage 1 holds its fingerprint itself."""

FORMAT = 1
KEY_BYTES, HASH_BYTES = 16, 8

Status = Literal["shared", "none", "unknown"]


@dataclass(frozen=True)
class Prints:
    """Prints of one training set.

    Attributes:
        key: Of the hashes.
        hashes: Sorted, each once, shape ``(prints,)``, little-endian ``uint64``.
    """

    key: bytes
    hashes: NDArray[np.uint64]

    def knows(self, raw: Iterable[bytes]) -> bool:
        """Return whether one of the prints *raw*, not yet keyed, is among these."""
        keyed = _keyed(self.key, raw)
        return bool(np.isin(keyed, self.hashes).any())


@dataclass(frozen=True)
class TrainingAudio:
    """Fingerprint of all audio that a model has learnt from.

    Attributes:
        sets: Prints of each training set: the model's own, and that of the model it was made from.
        whole: Whether nothing is missing; ``False`` where the first model's training audio is not known.
    """

    sets: tuple[Prints, ...]
    whole: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        sets = [
            {"key": one.key.hex(), "hashes": base64.b64encode(one.hashes.tobytes()).decode("ascii")}
            for one in self.sets
        ]
        return {"format": FORMAT, "whole": self.whole, "sets": sets}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingAudio:
        """Return the fingerprint that :meth:`as_dict` gave.

        Raises:
            ValueError: If it is none.
        """
        try:
            if values["format"] != FORMAT:
                raise ValueError(f"format {values['format']!r}")
            sets = [
                Prints(
                    bytes.fromhex(one["key"]),
                    np.frombuffer(base64.b64decode(one["hashes"], validate=True), dtype="<u8"),
                )
                for one in values["sets"]
            ]
            return cls(tuple(sets), bool(values["whole"]))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"no fingerprint of training audio ({error})") from None

    def after(self, first: TrainingAudio | None) -> TrainingAudio:
        """Return the fingerprint of a model that was trained on this audio and made from the model *first*.

        Args:
            first: What that model had learnt from; ``None`` if it is not known.
        """
        if first is None:
            return TrainingAudio(self.sets, whole=False)
        return TrainingAudio((*self.sets, *first.sets), self.whole and first.whole)


@dataclass(frozen=True)
class Comparison:
    """Result of a comparison.

    Attributes:
        status: ``shared`` if any audio is in the training audio; ``none`` if nothing is; ``unknown`` if the
            model does not say what it was trained on, or there was no sound to compare.
        ids: Utterances (or recordings) that are shared, in their order.
    """

    status: Status
    ids: tuple[str, ...] = ()

    def figures(self, speakers: Mapping[str, object]) -> dict[str, Any]:
        """Return what ``metrics.json`` says: ``status``, and how many utterances and speakers are shared.

        Args:
            speakers: Who speaks, by utterance.
        """
        if self.status == "unknown":
            return {"status": self.status, "utterances": None, "speakers": None}
        people = {speakers[identity] for identity in self.ids}
        return {"status": self.status, "utterances": len(self.ids), "speakers": len(people)}


def make_training_audio(prints: Iterable[Sequence[bytes]], identity: str) -> TrainingAudio:
    """Return the fingerprint of a training set.

    Args:
        prints: Of each utterance.
        identity: Hash of the run. The key follows from it, so that the same run writes the same file.
    """
    key = hashlib.blake2b(f"training audio of {identity}".encode(), digest_size=KEY_BYTES).digest()
    hashes = _keyed(key, (one for own in prints for one in own))
    return TrainingAudio((Prints(key, np.unique(hashes)),))


def compare_audio(trained_on: TrainingAudio | None, prints: Mapping[str, Sequence[bytes]]) -> Comparison:
    """Compare utterances with the training audio of a model.

    Args:
        trained_on: The model's; ``None`` where it does not say.
        prints: Of each utterance, by id.
    """
    if trained_on is None or not any(prints.values()):
        return Comparison("unknown")
    shared = tuple(
        identity for identity, raw in prints.items() if any(one.knows(raw) for one in trained_on.sets)
    )
    if shared:
        return Comparison("shared", shared)
    return Comparison("none" if trained_on.whole else "unknown")


@dataclass(frozen=True)
class RunTrainingAudio:
    """Training audio of a run of stage 2 and, apart from it, of its encoder; ``None`` where not known."""

    run: TrainingAudio | None = None
    encoder: TrainingAudio | None = None


def write_training_audio(folder: Path, heard: RunTrainingAudio) -> None:
    """Write :data:`FILE` into a run folder."""
    parts = {"run": heard.run, "encoder": heard.encoder}
    write_json(folder / FILE, {name: None if one is None else one.as_dict() for name, one in parts.items()})


def read_training_audio(folder: Path) -> RunTrainingAudio:
    """Read :data:`FILE` of a run folder; nothing is known of a run of an older version.

    Raises:
        BadInput: If the file is damaged.
    """
    path = folder / FILE
    try:
        values = parse_json(regular_file(path).read_text(encoding="utf-8"))
        parts = [values[name] for name in ("run", "encoder")]
        return RunTrainingAudio(*(None if one is None else TrainingAudio.from_dict(one) for one in parts))
    except FileNotFoundError:
        return RunTrainingAudio()
    except (ValueError, KeyError, TypeError) as error:
        raise bad_input(
            path,
            found=f"a damaged file ({error})",
            expected="the fingerprint of the run's training audio",
            remedy="remove this file to go without it; the comparison then says 'unknown'",
        ) from None


def _keyed(key: bytes, raw: Iterable[bytes]) -> NDArray[np.uint64]:
    digests = [hashlib.blake2b(one, key=key, digest_size=HASH_BYTES).digest() for one in raw]
    return np.frombuffer(b"".join(digests), dtype="<u8")
