"""Copies of training recordings played faster and slower, for a folder in LSSED's layout.

    copies.py FOLDER --speeds 0.9,1.1

A copy's pitch, formants and tempo all change by the factor, as if another voice had said it; it keeps its
label and its speaker, and stands in the training split beside the original. The test split is left as it is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import soundfile
import torch
import torchaudio.functional as F

from sertransfer.errors import BadInput, bad_input
from sertransfer.io.files import write_text
from sertransfer.timebase import SAMPLE_RATE

METADATA = "metadata_english_all.csv"


def add_copies(folder: Path, speeds: Sequence[float]) -> int:
    """Add a copy of each training recording of *folder* at each speed, and return their number.

    Raises:
        BadInput: If the folder is not one of ``arrange.py lssed``, or a speed is out of range.
    """
    wrong = [speed for speed in speeds if not 0.5 <= speed <= 2 or speed == 1]
    if wrong:
        raise bad_input(
            "--speeds", found=wrong, expected="factors from 0.5 to 2, not 1", remedy="correct them"
        )
    path = folder / METADATA
    if not path.is_file():
        raise bad_input(
            folder, found=f"no {METADATA}", expected="LSSED's layout", remedy="run arrange.py lssed"
        )
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    training = table[(table["split"] == "train") & ~table["name"].str.contains("_speed")]
    added = []
    for speed in speeds:
        for row in training.to_dict("records"):
            name = f"{row['name']}_speed{round(100 * speed):03d}"
            sound, rate = soundfile.read(folder / "wav_all" / f"{row['name']}.wav", dtype="float32")
            # taken for a recording at speed * rate: fewer samples at the common rate, and so faster
            copy = F.resample(torch.from_numpy(sound), round(speed * rate), SAMPLE_RATE).numpy()
            soundfile.write(folder / "wav_all" / f"{name}.wav", copy, SAMPLE_RATE, subtype="PCM_16")
            added.append({**row, "name": name})
    whole = pd.concat([table, pd.DataFrame(added, columns=table.columns)], ignore_index=True)
    write_text(path, whole.to_csv(index=False, lineterminator="\n"))
    return len(added)


def main(argv: Sequence[str] | None = None) -> int:
    """Add the copies."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="what arrange.py lssed wrote")
    parser.add_argument("--speeds", required=True, help="factors, such as 0.9,1.1")
    args = parser.parse_args(argv)
    try:
        print(add_copies(args.folder, [float(part) for part in args.speeds.split(",")]), "copies")
    except BadInput as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
