"""E-DAIC (AVEC 2019): 275 clinical interviews, those of DAIC-WOZ among them, cut into sentences.

Layout::

    <root>/labels/{train,dev,test}_split.csv       Participant_ID, Gender, PHQ_Binary, PHQ_Score, ...
    <root>/data/<id>_P/<id>_AUDIO.wav              or all of a session in data/<id>_P.tar.gz (.tar, .zip)
    <root>/data/<id>_P/<id>_Transcript.csv         Start_Time, End_Time, Text, Confidence

Transcripts are automatic and name no speaker: their rows stand for the participant, though some carry words
of the interviewer. The label files may lie one folder deeper, in ``labels/labels/``.

Identity: as in DAIC-WOZ, the ``speaker`` of session 300 is ``daic300``, on purpose: sessions 300 to 492 are
in both corpora, in different splits, so a check for subjects on both sides of a split holds across them.

The manifest's root is the corpus root; where audio had to be extracted from archives, it is the audio folder,
and sessions that lie unpacked in the corpus are named relative to that.

Source: Ringeval et al., "AVEC 2019 workshop and challenge", 2019.
"""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sertransfer.corpora.collection import check_root
from sertransfer.corpora.interviews.archives import (
    SessionOpener,
    archive_extraction,
    find_sessions,
    needed_archive,
)
from sertransfer.corpora.interviews.daic_woz import FRAME, gender_notes
from sertransfer.corpora.interviews.e_daic_splits import SPLITS, SplitReader, find_label_file, split_name
from sertransfer.corpora.interviews.errata import ErrataLog, Erratum
from sertransfer.corpora.interviews.interview import Interview, InterviewReader
from sertransfer.corpora.interviews.reading import SessionsRead
from sertransfer.corpora.interviews.segments import Rules
from sertransfer.corpora.interviews.sessions import Session
from sertransfer.corpora.interviews.split_files import LABEL_NOTES, LabelRule, check_label_rule
from sertransfer.corpora.video import Extraction, find_audio_folder
from sertransfer.errors import Faults
from sertransfer.manifest import WITHOUT_SENTENCES, Manifest, make_table

CORPUS = "e-daic"


@dataclass(frozen=True)
class Options:
    """How E-DAIC is read; the interviewer's speech is not in its transcripts, so overlaps are not known.

    Attributes:
        labels: Where a label comes from: ``score`` (depressed exactly where PHQ-8 is 10 or more; each label
            that this changes is an erratum ``label-<id>``), or ``released`` (PHQ_Binary, which contradicts
            the score in 20 subjects).
        audio_folder: Folder, outside the corpus, for the audio of sessions that are there only as archives.
        without_errata: Errata to switch off, by name (``interruption-373``), kind (``interruption``,
            ``label``, ``spanning-row``) or ``all``. Those about DAIC-WOZ's transcripts do not apply here.
        merge: Merge consecutive rows.
        merge_gap: Longest silence in seconds that merging bridges.
        minimum: Shortest utterance in seconds; the default is one frame.
        keep_nonverbal: Keep rows of nothing but non-verbal (``<laughter>``) or unclear (``xxx``) marks.
        keep_text: Keep what was said, in a column ``text``. It is clinical data: off by default.
        female_code: Which Gender code, 0 or 1, means female, in copies that have codes and not words.
        level_normalise: Write a gain per session that brings the participant's rows to one level.
        level_dbfs: That level: RMS in dB of full scale.
    """

    labels: str = "score"
    audio_folder: str = ""
    without_errata: tuple[str, ...] = ()
    merge: bool = False
    merge_gap: float = 1.0
    minimum: float = FRAME
    keep_nonverbal: bool = False
    keep_text: bool = False
    female_code: int = 0
    level_normalise: bool = False
    level_dbfs: float = -26.0


class _Errata(ErrataLog):
    """The errata of DAIC-WOZ that hold here: E-DAIC's transcripts are others, without an interviewer."""

    def find(self, kind: str, session: int) -> Erratum | None:
        if kind == "no-interviewer":
            return Erratum(kind, session, "no transcript of E-DAIC has interviewer rows")
        return None if kind == "shift" else super().find(kind, session)

    def record(self, erratum: Erratum, rows: int) -> None:
        if erratum.kind != "no-interviewer":  # the corpus is so, nothing was corrected
            super().record(erratum, rows)


def read(root: Path, options: Options, faults: Faults) -> Manifest:
    """Read the corpus at *root*; with faults, the manifest holds what could be read all the same.

    Raises:
        BadInput: If the root is not one of E-DAIC.
    """
    root = Path(root)
    layout = "labels/train_split.csv (also dev, test) and data/, in it 300_P/ or 300_P.tar.gz and so on"
    check_root(root, _is_root, layout)
    errata = _Errata(options.without_errata, faults)
    options = _check(options, faults)
    rule = LabelRule(options.labels, errata)
    splits = SplitReader(options.female_code, rule, faults)
    subjects, named = splits.read(root)
    errata.check_sessions(named)
    sessions = find_sessions(root)
    if not sessions:
        remedy = "put the sessions there, unpacked or as archives"
        faults.add(root / "data", found="no session", expected="300_P/ or 300_P.tar.gz ...", remedy=remedy)
    folder = None
    if options.audio_folder:
        folder = find_audio_folder(options.audio_folder, CORPUS, root, faults)
    rules = Rules("keep", options.merge, options.merge_gap, options.minimum)
    level = options.level_dbfs if options.level_normalise else None
    reader = InterviewReader(rules, options.keep_nonverbal, level, errata, faults)
    reading = _Reading(root / "data", reader, options.keep_text, audio_folder=folder)
    reading.add_all(subjects if sessions else [], sessions)
    for number in sorted(sessions.keys() - named):
        reading.leave_out(f"{number}_P", "no split file names this session")
    label_notes = {
        "split_files": splits.files,
        LABEL_NOTES: [*rule.named(), *splits.differences],
        "assumptions": [
            *rule.assumptions(),
            *gender_notes(options.female_code),
            "a session is a subject, and DAIC-WOZ's session of the same number is the same subject",
            "the audio of a session that DAIC-WOZ has too is the same, so its interruptions are cut out",
            "transcripts are automatic and name no speaker: rows may carry words of the interviewer",
        ],
    }
    return reading.manifest(root, options, label_notes)


def extractions(root: Path, options: Options) -> list[Extraction]:
    """Return the sessions whose audio has to be extracted: those that are there only as archives."""
    root = Path(root)
    ignored = Faults()  # the reader reports them
    _, named = SplitReader(0, LabelRule("score", ErrataLog((), ignored)), ignored).read(root)
    sessions = find_sessions(root)
    found = {number: needed_archive(number, sessions.get(number, [])) for number in named}
    return [archive_extraction(number, archive) for number, archive in sorted(found.items()) if archive]


def _is_root(folder: Path) -> bool:
    files = (find_label_file(folder, split_name(split)) for split in SPLITS)
    return any(path is not None for path in files) or bool(find_sessions(folder))


def _check(options: Options, faults: Faults) -> Options:
    """Return the options with the default for each that is out of range, so that reading can go on."""
    check_label_rule(options.labels, faults)
    sound = {
        "merge_gap": (0 <= options.merge_gap < math.inf, "seconds from 0 on"),
        "minimum": (0 <= options.minimum < math.inf, "seconds from 0 on"),
        "female_code": (options.female_code in (0, 1), "0 or 1"),
        "level_dbfs": (-120 <= options.level_dbfs <= 0, "a level from -120 to 0 dB of full scale"),
    }
    for name, (right, expected) in sound.items():
        if not right:
            found = f"'{getattr(options, name)}'"
            faults.add(f"option {name}", found=found, expected=expected, remedy="correct the option")
            options = replace(options, **{name: getattr(Options, name)})
    return options


@dataclass
class _Reading(SessionsRead):
    """What has been read so far; ``audio`` of a row is its session, until all of them have been opened."""

    corpus = CORPUS
    prefix = "edaic"
    distributed = "tar.gz"
    automatic = True

    audio_folder: Path | None = None
    wavs: dict[str, Path] = field(default_factory=dict)
    extracted: bool = False

    def open_session(self, number: int, containers: list[Path]) -> Session | None:
        """Open a session's folder, or extract the audio of its archive."""
        return SessionOpener(self.audio_folder, self.reader.faults).open(number, containers)

    def note_audio(self, session: Session, interview: Interview) -> str:
        """Note where the audio lies; what that is relative to depends on all sessions."""
        self.extracted |= session.archived
        self.wavs[session.name] = session.audio_source.path
        return session.name

    def manifest(self, corpus_root: Path, options: Options, label_notes: dict[str, Any]) -> Manifest:
        """Return the rows with their audio, relative to the corpus or to the folder of what was extracted."""
        root = self.audio_folder if self.extracted and self.audio_folder is not None else corpus_root
        places = {
            session: Path(os.path.relpath(wav.resolve(), root.resolve())).as_posix()
            for session, wav in self.wavs.items()
        }
        rows = [{**row, "audio": places[row["audio"]]} for row in self.rows]
        errata = self.reader.errata
        notes = {
            "corpus": CORPUS,
            "options": asdict(options),
            **label_notes,
            "errata": errata.applied(),
            "errata_off": errata.switched_off(),
            **self.rate_notes(),
            "channels": self.channels,
            "cut_at_end": self.cut_at_end,
            "left_out": self.left_out,
            WITHOUT_SENTENCES: self.silent,
        }
        return Manifest(make_table(rows), root, notes)
