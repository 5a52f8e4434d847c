"""The recordings that are to be scored: paired with their transcripts, and cut into sentences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sertransfer.audio.reading import AudioInfo, inspect, read_segment
from sertransfer.audio.voice_activity import find_speech
from sertransfer.corpora.daic_level import speech_gain
from sertransfer.corpora.daic_segments import Utterance
from sertransfer.corpora.daic_sessions import TRANSCRIPT_LIMIT
from sertransfer.corpora.new_interview import CutOptions, cut_transcript
from sertransfer.errors import BadInput, Faults, bad_input
from sertransfer.io.files import regular_file
from sertransfer.manifest import AudioSource

TRANSCRIPT, ACTIVITY = "transcript", "voice activity"

KEEPS_ALL = (
    "cut by voice activity, which keeps everyone's speech: the interviewer's is scored too,"
    " and the run was trained on participants alone"
)


@dataclass(frozen=True)
class Recording:
    """A recording cut into sentences.

    Attributes:
        name: What it is called in the results.
        audio: The file.
        info: Its header.
        sentences: In the order of their times, one at least.
        cut_by: :data:`TRANSCRIPT` or :data:`ACTIVITY`.
        gain: Factor on the samples, 1 unless a level was asked for.
        left_out: What was left out of the transcript by rule or fault, and why; no text of it.
        warnings: What must be known before its score is read.
    """

    name: str
    audio: Path
    info: AudioInfo
    sentences: list[Utterance]
    cut_by: str
    gain: float
    left_out: list[str]
    warnings: list[str]


def find_transcript(audio: Path) -> Path | None:
    """Return the transcript beside *audio*: ``X_TRANSCRIPT.csv`` for ``X_AUDIO.wav`` or ``X.wav``."""
    stem = re.sub(r"_audio$", "", audio.stem, flags=re.IGNORECASE)
    wanted = f"{stem}_transcript.csv".casefold()
    return next((file for file in sorted(audio.parent.iterdir()) if file.name.casefold() == wanted), None)


def pair(recordings: dict[str, Path], transcripts: Sequence[Path]) -> dict[str, Path | None]:
    """Return the transcript of each recording: those given, in order, else what lies beside it.

    Raises:
        BadInput: If transcripts are given, and not one for each recording.
    """
    if transcripts and len(transcripts) != len(recordings):
        raise bad_input(
            "--transcript",
            found=f"{len(transcripts)} transcript(s) for {len(recordings)} recording(s)",
            expected="one for each recording, in their order, or none",
            remedy="leave it out where transcripts lie beside the recordings as X_TRANSCRIPT.csv",
        )
    if transcripts:
        return dict(zip(recordings, transcripts, strict=True))
    return {name: find_transcript(audio) for name, audio in recordings.items()}


def cut_recording(
    name: str, audio: Path, transcript: Path | None, options: CutOptions, faults: Faults
) -> Recording | None:
    """Cut a recording by its transcript, or by voice activity without one.

    Args:
        name: What to call it.
        audio: The file.
        transcript: Its transcript, if there is one.
        options: How transcripts are cut.
        faults: Receives what is wrong with this recording, and holds nothing else.

    Returns:
        The sentences, or ``None`` where something is wrong with the whole recording.
    """
    try:
        info = inspect(AudioSource(audio))
        if transcript is None:
            return _by_activity(name, audio, info, options)
        data = _read(transcript)
        cuts = cut_transcript(data, str(transcript), options, faults, duration=info.duration)
        if cuts is None:
            return None
        gain = 1.0
        if options.level_normalise:
            gain = speech_gain(AudioSource(audio), cuts.utterances, options.level_dbfs)
    except BadInput as error:
        faults.extend(error.faults, skippable=True)
        return None
    left_out = [f"{transcript.name}, row {line}: {reason}" for line, reason in cuts.left_out]
    return Recording(name, audio, info, cuts.utterances, TRANSCRIPT, gain, [*left_out, *map(str, faults)], [])


def _read(transcript: Path) -> bytes:
    try:
        with regular_file(transcript).open("rb") as stream:
            data = stream.read(TRANSCRIPT_LIMIT + 1)
    except OSError as error:
        raise bad_input(
            transcript,
            found=f"no file that can be read ({error.strerror})",
            expected="the transcript of a recording",
            remedy="check the path",
        ) from None
    if len(data) > TRANSCRIPT_LIMIT:
        raise bad_input(
            transcript, found="a file of over 64 MiB", expected="a transcript", remedy="check the path"
        )
    return data


def _by_activity(name: str, audio: Path, info: AudioInfo, options: CutOptions) -> Recording:
    pieces = find_speech(read_segment(AudioSource(audio)))
    kept = [
        Utterance(number, 1, number, number, start, min(end, info.duration), None, "")
        for number, (start, end) in enumerate(pieces, start=1)
        if min(end, info.duration) - start >= options.minimum
    ]
    if not kept:
        raise bad_input(
            audio,
            found="no speech that the detector hears",
            expected="speech",
            remedy="check the recording, or give its transcript",
        )
    gain = speech_gain(AudioSource(audio), kept, options.level_dbfs) if options.level_normalise else 1.0
    return Recording(name, audio, info, kept, ACTIVITY, gain, [], [KEEPS_ALL])
