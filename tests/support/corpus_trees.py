"""Small corpora in their real layouts, made of silence-free noise, for the tests of the readers."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from sertransfer.errors import BadInput, Faults
from sertransfer.manifest import Manifest

RATE = 8000


def load_with(corpus: ModuleType, root: Path, /, **options: object) -> Manifest:
    """Read the corpus of a reader's module, faults raised."""
    faults = Faults()
    manifest: Manifest = corpus.read(root, corpus.Options(**options), faults)
    faults.raise_if_any()
    return manifest


def faults_with(corpus: ModuleType, root: Path, /, **options: object) -> list[str]:
    """Return the faults that the corpus is refused for."""
    with pytest.raises(BadInput) as refusal:
        load_with(corpus, root, **options)
    return [str(fault) for fault in refusal.value.faults]


def write_wav(path: Path, seconds: float = 0.05) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_wav(seconds))
    return path


@cache
def _wav(seconds: float) -> bytes:
    samples = np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE))
    stream = io.BytesIO()
    soundfile.write(stream, samples, RATE, subtype="PCM_16", format="WAV")
    return stream.getvalue()


def write_table(path: Path, rows: Sequence[Mapping[str, object]], delimiter: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [delimiter.join(rows[0]), *(delimiter.join(map(str, row.values())) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def lssed_rows(labels: Iterable[str], speakers: int = 5) -> list[dict[str, object]]:
    return [
        {
            "name": f"utt{index:03d}",
            "faces": label,
            "gender": "F" if index % speakers % 2 else "M",
            "age": ("young", "middle-aged", "old")[index % speakers % 3],
            "speaker": f"s{index % speakers}",
        }
        for index, label in enumerate(labels)
    ]


def write_lssed(root: Path, rows: Sequence[Mapping[str, object]], *, audio: bool = True) -> Path:
    write_table(root / "metadata_english_all.csv", rows)
    if audio:
        for name in dict.fromkeys(str(row["name"]) for row in rows):
            write_wav(root / "wav_all" / f"{name}.wav")
    return root


def write_emodb(root: Path, names: Iterable[str]) -> Path:
    for name in names:
        write_wav(root / "wav" / f"{name}.wav")
    return root
