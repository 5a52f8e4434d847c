"""EmoDB, the Berlin database of emotional speech (Burkhardt et al. 2005): 535 utterances of ten actors.

Layout: ``<root>/wav/03a01Wa.wav``. Characters 1 and 2 of a name are the speaker, 3 to 5 the sentence, 6
the emotion's German initial, 7 the take. Any subset of the files will do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from sertransfer.corpora.collection import check_root
from sertransfer.corpora.recordings import check_headers
from sertransfer.corpora.splits import paper_split, shared_speakers, speaker_split
from sertransfer.corpora.tables import check_choices, leave_out_labels, records
from sertransfer.errors import BadInput, Faults, nearest
from sertransfer.manifest import AudioSource, Manifest, make_table

EMOTIONS = {
    "W": "angry",
    "L": "bored",
    "E": "disgusted",
    "A": "fearful",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
}
"""Wut, Langeweile, Ekel, Angst, Freude, Trauer, neutral."""

SPEAKERS = {
    "03": ("male", "31"),
    "08": ("female", "34"),
    "09": ("female", "21"),
    "10": ("male", "32"),
    "11": ("male", "26"),
    "12": ("male", "30"),
    "13": ("female", "32"),
    "14": ("female", "35"),
    "15": ("male", "25"),
    "16": ("female", "31"),
}
"""Gender and age of the actors, as the corpus's own documentation gives them."""

_NAME = re.compile(r"(?P<speaker>\d\d)(?P<sentence>[a-z]\d\d)(?P<emotion>[A-Z])(?P<take>[a-z]?)")

_COLUMNS = ("id", "audio", "speaker", "label", "gender", "age", "corpus", "sentence", "start", "end")


@dataclass(frozen=True)
class Options:
    """Options of EmoDB.

    Attributes:
        task: ``four`` emotions of the paper, or ``all`` seven.
        split: ``speaker`` (disjoint) or ``paper`` (utterances shuffled, speakers on both sides).
        test_speakers: Speakers of the test set; empty = drawn with ``seed``.
        dev_speakers: Speakers of the development set; empty = ``dev_share`` drawn.
        test_share: Share of the test set where it is drawn.
        dev_share: Share of the development set where it is drawn.
        seed: Of the draw.
    """

    task: Literal["four", "all"] = "four"
    split: Literal["speaker", "paper"] = "speaker"
    test_speakers: tuple[str, ...] = ()
    dev_speakers: tuple[str, ...] = ()
    test_share: float = 0.2
    dev_share: float = 0.0
    seed: int = 0


def read(root: Path, options: Options, faults: Faults) -> Manifest:
    """Read EmoDB at *root*; the split is made over the labels of the task.

    Raises:
        BadInput: If the root is not one of EmoDB.
    """
    check_choices(options)
    options = replace(
        options,
        test_speakers=tuple(name.zfill(2) for name in options.test_speakers),
        dev_speakers=tuple(name.zfill(2) for name in options.dev_speakers),
    )
    check_root(root, _is_root, "wav/ and in it files such as 03a01Wa.wav")
    notes: dict[str, Any] = {"task": options.task, "assumptions": [], "errata": [], "left_out": []}
    rows = pd.DataFrame(_rows(root / "wav", faults, notes), columns=_COLUMNS)
    if options.task == "four":
        rows = leave_out_labels(rows, "four", notes)
    if len(rows):
        rows = _split(rows, options, notes, faults)
    sources = {audio: AudioSource(root / audio) for audio in rows["audio"]}
    rows = check_headers(rows, sources, None, faults, notes=notes)
    return Manifest(make_table(records(rows)), root, notes)


def _is_root(folder: Path) -> bool:
    wav = folder / "wav"
    return wav.is_dir() and any(_NAME.fullmatch(path.stem) for path in wav.iterdir())


def _rows(folder: Path, faults: Faults, notes: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for path in sorted(folder.iterdir()):
        match = _NAME.fullmatch(path.stem)
        if path.suffix.lower() != ".wav" or path.name.startswith("."):
            notes["left_out"].append({"item": f"wav/{path.name}", "reason": "not a recording (.wav)"})
        elif match is None:
            faults.add(
                path,
                found=f"the name '{path.name}'",
                expected="speaker, sentence, emotion, take, as in 03a01Wa.wav",
                remedy="rename the file, or move it out of the folder",
                skippable=True,
            )
        elif match["speaker"] not in SPEAKERS or match["emotion"] not in EMOTIONS:
            code, known = ("emotion", EMOTIONS) if match["speaker"] in SPEAKERS else ("speaker", SPEAKERS)
            faults.add(
                path,
                found=f"{code} '{match[code]}'",
                expected=f"an {code} of EmoDB" if code == "emotion" else f"a {code} of EmoDB",
                remedy=nearest(match[code], known),
                skippable=True,
            )
        else:
            gender, age = SPEAKERS[match["speaker"]]
            values = (path.stem, f"wav/{path.name}", match["speaker"], EMOTIONS[match["emotion"]])
            row = (*values, gender, age, "emodb", match["sentence"], float("nan"), float("nan"))
            rows.append(dict(zip(_COLUMNS, row, strict=True)))
    return rows


def _split(rows: pd.DataFrame, options: Options, notes: dict[str, Any], faults: Faults) -> pd.DataFrame:
    named = {"test": options.test_speakers, "dev": options.dev_speakers}
    _check_named(rows, options, faults)
    split = pd.Series("train", index=rows.index, dtype=object)
    for name, speakers in named.items():
        split[rows["speaker"].isin(speakers)] = name
    free = split == "train"
    test_share = 0.0 if options.test_speakers else options.test_share
    dev_share = 0.0 if options.dev_speakers else options.dev_share
    remarks: list[str] = []
    if test_share or dev_share:
        shares = {"test_share": test_share, "dev_share": dev_share}
        try:
            if options.split == "paper":
                split[free] = paper_split(rows[free], **shares, seed=options.seed)
            else:
                split[free] = speaker_split(rows[free], **shares, seed=options.seed, remarks=remarks)
        except BadInput as error:
            faults.extend(error.faults)
    elif options.seed:
        remarks.append(f"the seed {options.seed} has no effect: nothing is drawn")
    rows = rows.assign(split=split)
    notes["split"] = {
        "rule": options.split,
        "test_share": options.test_share,
        "dev_share": options.dev_share,
        "seed": options.seed,
        **({"seed_without_effect": "; ".join(remarks)} if remarks else {}),
        "speakers_in_two_splits": len(shared_speakers(rows)),
        **{f"{name}_speakers": sorted(rows.loc[rows["split"] == name, "speaker"].unique()) for name in named},
    }
    return rows


def _check_named(rows: pd.DataFrame, options: Options, faults: Faults) -> None:
    """Add a fault for each speaker that is named but absent, or named twice, or named for no use."""
    present = sorted(rows["speaker"].unique())
    for option, speakers in (
        ("test_speakers", options.test_speakers),
        ("dev_speakers", options.dev_speakers),
    ):
        for speaker in speakers:
            if speaker not in present:
                faults.add(
                    f"option {option}",
                    found=f"speaker '{speaker}'",
                    expected="a speaker that is there",
                    remedy=nearest(speaker, present),
                )
        if speakers and options.split == "paper":
            faults.add(
                f"option {option}",
                found="speakers named for the split 'paper'",
                expected="the split 'speaker'",
                remedy=f"say --split speaker, or leave --{option} out",
            )
    for speaker in sorted({*options.test_speakers} & {*options.dev_speakers}):
        faults.add(
            "option dev_speakers",
            found=f"speaker '{speaker}', also among the test speakers",
            expected="each speaker in one split",
            remedy="name it once",
        )
