"""Writes trees in DAIC-WOZ's layout. The sound is generated; long recordings are sparse files of silence."""

import struct
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from sertransfer.corpora.interviews.daic_woz import Options, read
from sertransfer.errors import Fault, Faults
from sertransfer.manifest import Manifest

HEADER = "start_time\tstop_time\tspeaker\tvalue"
TRAIN = "train_split_Depression_AVEC2017.csv"
DEV = "dev_split_Depression_AVEC2017.csv"
TEST = "test_split_Depression_AVEC2017.csv"
FULL = "full_test_split.csv"
LABELLED = "Participant_ID,PHQ8_Binary,PHQ8_Score,Gender,PHQ8_NoInterest"
PLAIN = "participant_ID,Gender"

Row = tuple[float | str, float | str, str, str]
ELLIE: Row = (0.5, 1.0, "Ellie", "how are you")
ANSWER: Row = (1.25, 2.5, "Participant", "i am okay")


def transcript(rows: Iterable[Row]) -> bytes:
    lines = [HEADER, *("\t".join(map(str, row)) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def silence(path: Path, seconds: float, *, rate: int = 16_000, channels: int = 1) -> None:
    """Write a WAV of digital silence; its data take no space on a disk that knows sparse files."""
    size = round(seconds * rate) * 2 * channels
    form = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * 2 * channels, 2 * channels, 16)
    with path.open("wb") as stream:
        stream.write(b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + form + b"data")
        stream.write(struct.pack("<I", size))
        stream.truncate(44 + size)


def noise(path: Path, seconds: float, rms: float) -> None:
    samples = np.random.default_rng(0).normal(0, rms, round(seconds * 16_000))
    soundfile.write(path, samples, 16_000, subtype="FLOAT")


@dataclass
class Tree:
    """A corpus root being written."""

    root: Path

    def session(
        self,
        number: int,
        rows: Iterable[Row] | bytes = (ELLIE, ANSWER),
        *,
        seconds: float = 10.0,
        rate: int = 16_000,
        channels: int = 1,
        rms: float = 0.0,
        inside: str = "",
    ) -> Path:
        """Write a session folder and return it; *inside* is a folder in it that holds the files."""
        folder = self.root / f"{number}_P"
        home = folder / inside
        home.mkdir(parents=True, exist_ok=True)
        audio = home / f"{number}_AUDIO.wav"
        if rms:
            noise(audio, seconds, rms)
        else:
            silence(audio, seconds, rate=rate, channels=channels)
        data = rows if isinstance(rows, bytes) else transcript(rows)
        (home / f"{number}_TRANSCRIPT.csv").write_bytes(data)
        return folder

    def zip(self, number: int, *, inside: str = "", keep: bool = False, junk: Sequence[str] = ()) -> Path:
        """Turn a session folder into ``<id>_P.zip``, its members in the folder *inside*."""
        folder = self.root / f"{number}_P"
        archive = self.root / f"{number}_P.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
            for name in junk:
                target.writestr(name, b"junk")
            for path in sorted(folder.iterdir()):
                target.write(path, f"{inside}{path.name}")
                if not keep:
                    path.unlink()
        if not keep:
            folder.rmdir()
        return archive

    def split(self, name: str, header: str, *rows: str) -> Path:
        path = self.root / name
        path.write_text("\n".join([header, *rows]) + "\n")
        return path

    def splits(
        self,
        train: Iterable[int] = (),
        dev: Iterable[int] = (),
        test: Iterable[int] = (),
        scores: dict[int, int] | None = None,
    ) -> None:
        """Write the three split files; a session without a score has 3 (not depressed)."""
        known = scores or {}
        for name, numbers in ((TRAIN, train), (DEV, dev)):
            rows = [f"{n},{int(known.get(n, 3) >= 10)},{known.get(n, 3)},1,0" for n in numbers]
            self.split(name, LABELLED, *rows)
        self.split(TEST, PLAIN, *(f"{n},0" for n in test))

    def read(self, *, skip_bad: bool = False, **options: object) -> Manifest:
        """Read the corpus; raises all its faults."""
        faults = Faults(skip_bad=skip_bad)
        manifest = read(self.root, Options(**options), faults)  # type: ignore[arg-type]
        faults.raise_if_any()
        return manifest

    def faults(self, **options: object) -> list[Fault]:
        faults = Faults()
        read(self.root, Options(**options), faults)  # type: ignore[arg-type]
        return list(faults)


def one(root: Path, rows: Iterable[Row] | bytes, number: int = 300, **session: object) -> Tree:
    """Return a tree of one training session with *rows*."""
    tree = Tree(root)
    tree.session(number, rows, **session)  # type: ignore[arg-type]
    tree.splits(train=[number])
    return tree


def spans(manifest: Manifest) -> list[tuple[float, float]]:
    return list(zip(manifest.table["start"], manifest.table["end"], strict=True))


def reasons(manifest: Manifest) -> dict[str, str]:
    return {entry["item"]: entry["reason"] for entry in manifest.notes["left_out"]}
