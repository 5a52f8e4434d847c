"""LSSED, the corpus of the paper (section 2): 147,025 English utterances of 820 speakers, eleven emotions.

Layout, as far as public code tells it::

    <root>/metadata_english_all.csv      name (without .wav), faces (the emotion), gender, age, speaker
    <root>/wav_all/<name>.wav

Only ``name`` and ``faces`` are confirmed; every column's name is an option. With ``start`` and ``end``
columns the utterances are cut from long recordings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sertransfer.corpora.collection import check_root
from sertransfer.corpora.tables import (
    TableOptions,
    assemble,
    audio_path,
    audio_stem,
    forward_slashes,
    pick_columns,
    roles,
    timed_ids,
)
from sertransfer.errors import Faults
from sertransfer.io.csv_tables import read_text_table
from sertransfer.manifest import Manifest


@dataclass(frozen=True)
class Options(TableOptions):
    """Options of LSSED, besides those of every table.

    Attributes:
        metadata: The metadata table, relative to the root.
        audio_folder: Folder of the recordings.
        audio_suffix: Ending of the recordings, added to a name that has none.
        name: Column with the utterance's name (and its file's, unless ``recording`` is given).
        recording: Column with the name of the long recording that the utterance is cut from.
    """

    label: str = "faces"
    metadata: str = "metadata_english_all.csv"
    audio_folder: str = "wav_all"
    audio_suffix: str = ".wav"
    name: str = "name"
    recording: str = ""


def read(root: Path, options: Options, faults: Faults) -> Manifest:
    """Read LSSED at *root*.

    Where several rows name the same recording and give times, the id is the name with the times.

    Raises:
        BadInput: If the root, the table or one of its columns is not there.
    """
    check_root(
        root,
        lambda folder: (folder / options.metadata).is_file(),
        f"{options.metadata} and {options.audio_folder}/",
    )
    path = root / options.metadata
    table = read_text_table(path, delimiter=options.delimiter, encoding=options.encoding, faults=faults)
    required, optional = roles(options, Options())
    required = {"id": options.name, **required}
    if options.recording:
        required["recording"] = options.recording
    rows = pick_columns(table, str(path), required, optional, faults, {"id": "name"})
    for role in required.keys() & {"id", "recording"}:
        rows[role] = forward_slashes(rows[role], root / options.audio_folder)
    recording = rows.pop("recording") if options.recording else rows["id"]
    rows["audio"] = audio_path(recording, options.audio_folder, options.audio_suffix)
    rows["id"] = audio_stem(rows["id"], options.audio_suffix)
    if not options.recording:
        rows["id"] = timed_ids(rows["id"], rows)
    return assemble(rows, root, options, corpus="lssed", where=str(path), faults=faults)
