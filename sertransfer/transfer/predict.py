"""``sertransfer predict``: a run of stage 2 on new interviews, with what is known of its scores' worth."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sertransfer import __version__
from sertransfer.audio.fingerprint import recording_prints
from sertransfer.audio.quality import measure_condition
from sertransfer.audio.reading import AudioInfo, inspect, listen, read_segment
from sertransfer.audio.recordings import find_audio, name_others, readable_path
from sertransfer.config import load_config
from sertransfer.corpora.interviews.interview import speech_gain
from sertransfer.corpora.interviews.new_interview import CutOptions, cut_transcript, find_speech
from sertransfer.corpora.interviews.segments import Utterance
from sertransfer.corpora.interviews.sessions import TRANSCRIPT_LIMIT
from sertransfer.corpora.recordings import sound_warnings
from sertransfer.errors import BadInput, Fault, Faults, bad_input
from sertransfer.evaluation.aggregation import ATTENTION, TOP_K, aggregate
from sertransfer.evaluation.calibration import bin_edges, bins_of, reliability
from sertransfer.evaluation.metrics import clopper_pearson
from sertransfer.io.files import regular_file
from sertransfer.io.scratch import scratch_folder
from sertransfer.io.spelling import printable
from sertransfer.manifest import AudioSource, Manifest, make_table
from sertransfer.reporting.runs import read_table
from sertransfer.timebase import SAMPLE_RATE
from sertransfer.training_audio import compare_audio
from sertransfer.transfer.apply import Predictor, open_predictor
from sertransfer.transfer.checks.groups import BINS
from sertransfer.transfer.checks.population import population_text, unlike

FEWEST = 5
"""Under so many subjects of a like score nothing is said about it."""

Bins = dict[str, list[dict[str, float | int]]]


def read_precedents(run_dir: Path, metrics: dict[str, Any]) -> Bins:
    """Return what came true of subjects' scores, in equal parts of [0, 1].

    Args:
        run_dir: Of a finished run of stage 2.
        metrics: Its metrics.

    Returns:
        Bins, see :func:`sertransfer.evaluation.calibration.reliability`, of the reported subjects
        (``SPLIT subjects``) and of those of the training subjects that were scored out of fold.

    Raises:
        BadInput: If a table of the run cannot be read.
    """
    positive = metrics["classes"][1]
    found: Bins = {}
    for whose, subjects in (
        (f"{metrics['split']} subjects", read_table(run_dir / "subjects.csv", ["label", "score"])),
        ("training subjects (scored out of fold)", _out_of_fold(run_dir, metrics)),
    ):
        truth = (subjects["label"] == positive).to_numpy(bool)
        scores = pd.to_numeric(subjects["score"]).to_numpy(float)
        found[whose] = reliability(truth, scores, bins=BINS["subject"])
    return found


def _out_of_fold(run_dir: Path, metrics: dict[str, Any]) -> pd.DataFrame:
    columns = ["subject", "split", "label", "score", "duration"]
    method = metrics["aggregation"]
    columns += [ATTENTION] * (method == ATTENTION)
    sentences = read_table(run_dir / "out_of_fold.csv", columns)
    for name in {"score", "duration", ATTENTION} & set(columns):
        sentences[name] = pd.to_numeric(sentences[name])
    return aggregate(sentences, method, top_k=metrics.get("top_k", TOP_K))


def precedents_of(score: float, bins: Bins) -> list[dict[str, Any]]:
    """Return, of each group of subjects, how many with a score like *score* were positive.

    Returns:
        ``group``, ``low``, ``high`` (of the bin), ``n``, ``positive`` (their share), ``ci95`` (exact, of
        that share) and ``text``. With fewer than :data:`FEWEST` subjects the share and its interval are
        ``None``: not calibrated there.
    """
    rows = []
    for group, entries in bins.items():
        edges = bin_edges(BINS["subject"])
        place = int(bins_of([score], BINS["subject"])[0])
        low, high = float(edges[place]), float(edges[place + 1])
        entry = next((row for row in entries if row["low"] == low), None)
        n = 0 if entry is None else int(entry["n"])
        row: dict[str, Any] = {
            "group": group,
            "low": low,
            "high": high,
            "n": n,
            "positive": None,
            "ci95": None,
        }
        span = f"a score from {low:.1f} to {high:.1f}"
        if entry is None or n < FEWEST:
            row["text"] = f"not calibrated: only {n} {group} had {span}, and {FEWEST} are needed"
        else:
            share = float(entry["positive"])
            bounds = clopper_pearson(round(share * n), n)
            row |= {"positive": share, "ci95": None if bounds is None else list(bounds)}
            interval = "" if bounds is None else f", 95 % interval {bounds[0]:.0%} to {bounds[1]:.0%}"
            row["text"] = f"of {n} {group} with {span}, {share:.0%} were positive{interval}"
        rows.append(row)
    return rows


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


NOTE = (
    "Research software, no diagnostic device: no score here may be used to diagnose, to treat, or to decide"
    " about a person."
)
"""Stands in every result."""

NO_POPULATION = (
    "the run has no record of its training data (made by an older version): nothing can be flagged"
)


def predict(
    run_dir: Path,
    audio: Sequence[Path],
    *,
    transcripts: Sequence[Path] = (),
    checkpoint: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    voice_activity: bool = False,
    with_text: bool = False,
    skip_bad: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Score recordings with a finished run of stage 2.

    Args:
        run_dir: Folder of the run.
        audio: Recordings, or folders of them.
        transcripts: One for each recording, in order; without, those that lie beside the recordings as
            ``X_TRANSCRIPT.csv``. A recording without one is cut by voice activity.
        checkpoint: The encoder's weights, if they are no longer where the run found them.
        overrides: Settings of :class:`~sertransfer.corpora.interviews.new_interview.CutOptions`; the others
            are those that the training corpus was cut with.
        voice_activity: Cut by voice activity, whatever transcripts there are.
        with_text: Keep what was said, which is clinical data.
        skip_bad: Leave out rows and sentences that cannot be used, and record them, instead of stopping.
        progress: Whether bars are shown.

    Returns:
        ``run, encoder, mode, classes, aggregation, threshold, generated, note, population`` (a sentence),
        ``unlike_note``, and ``recordings``: of each ``recording, audio, cut_by, seconds, sample_rate,
        score, decision, sentences_scored, precedents`` (see
        :func:`~sertransfer.transfer.predict.precedents_of`), ``flags``
        (:func:`~sertransfer.transfer.checks.population.unlike`), ``audio_shared`` and
        ``encoder_audio_shared`` (whether it was trained on: ``shared``, ``none`` or ``unknown``),
        ``warnings``, ``left_out`` and ``sentences``, a list of ``sentence, start, end, score``, perhaps
        ``attention`` and ``text``; times in seconds. Under *skip_bad*, ``not_scored`` says what is wrong with
        recordings that are not among
        them.

    Raises:
        BadInput: With everything that is wrong with run, recordings and transcripts.
    """
    predictor = open_predictor(run_dir, checkpoint=checkpoint)
    options = _cut_options(predictor, overrides)
    recordings, not_scored = _cut(
        audio, transcripts, options, voice_activity=voice_activity, skip_bad=skip_bad
    )
    with scratch_folder("predict") as folder, scratch_folder("links") as links:
        manifest = _manifest(recordings, links)
        scores = predictor.score(manifest, folder, skip_bad, progress)
    metrics = predictor.metrics
    scored = manifest.table[["id", "speaker", "start", "end"]].merge(scores.table, on="id", how="inner")
    scored = scored.rename(columns={"speaker": "subject"}).assign(split="", label="")
    subjects = aggregate(scored, metrics["aggregation"], top_k=metrics.get("top_k", TOP_K))
    by_name = subjects.set_index("subject")["score"]
    bins = read_precedents(predictor.run_dir, dict(metrics))
    results = []
    for one in recordings:
        own = scored[scored["subject"] == one.name]
        shared = _shared(one, predictor)
        left_out = [*one.left_out, *_left_out(one, scores.left_out)]
        score = float(by_name[one.name]) if one.name in by_name else None
        results.append(
            {
                **_about(one),
                "score": score,
                "decision": None if score is None else predictor.classes[int(score >= predictor.threshold)],
                "sentences_scored": len(own),
                "precedents": [] if score is None else precedents_of(score, bins),
                "flags": _flags(one, own, predictor),
                **shared,
                "warnings": [*_shared_warnings(shared), *one.warnings, *_heard(one, own)],
                "left_out": left_out,
                "sentences": _sentences(one, own, with_text),
            }
        )
    return {
        "run": str(run_dir),
        "encoder": metrics["encoder"],
        "mode": metrics["mode"],
        "classes": list(predictor.classes),
        "aggregation": metrics["aggregation"],
        "threshold": predictor.threshold,
        "generated": bool(metrics.get("generated")),
        "note": NOTE,
        "population": population_text(predictor.population, metrics),
        "unlike_note": NO_POPULATION if predictor.population is None else None,
        "sertransfer": __version__,
        "recordings": results,
        "not_scored": [*not_scored, *name_others(audio)],
    }


def _cut_options(predictor: Predictor, overrides: Mapping[str, Any] | None) -> CutOptions:
    cutting = {} if predictor.population is None else predictor.population["cutting"]
    return load_config(CutOptions, None, {**cutting, **(overrides or {})})


def _cut(
    audio: Sequence[Path],
    transcripts: Sequence[Path],
    options: CutOptions,
    *,
    voice_activity: bool,
    skip_bad: bool,
) -> tuple[list[Recording], list[str]]:
    """Return the recordings cut into sentences, and what is wrong with those that could not be."""
    files = find_audio(audio)
    pairs = dict.fromkeys(files) if voice_activity else pair(files, transcripts)
    recordings: list[Recording] = []
    bad: list[Fault] = []
    every = Faults(skip_bad=skip_bad)
    for name in files:
        faults = Faults(skip_bad=skip_bad)
        one = cut_recording(name, files[name], pairs[name], options, faults)
        every.extend(faults, skippable=True)
        if one is None:
            bad += faults
        else:
            recordings.append(one)
    if not recordings:
        raise BadInput(bad)
    every.raise_if_any()
    return recordings, [str(fault) for fault in bad]


def _manifest(recordings: Sequence[Recording], links: Path) -> Manifest:
    audio = {one.name: readable_path(one.audio, links, one.name) for one in recordings}
    rows = [
        {
            "id": _id(one, number),
            "audio": audio[one.name],
            "start": sentence.start,
            "end": sentence.end,
            "speaker": one.name,
            "gain": one.gain,
            "corpus": "predict",
        }
        for one in recordings
        for number, sentence in enumerate(one.sentences, start=1)
    ]
    return Manifest(make_table(rows), Path("/"))


def _id(one: Recording, number: int) -> str:
    return f"{one.name}-{number:04d}"


def _left_out(one: Recording, entries: Sequence[dict[str, str]]) -> list[str]:
    own = {_id(one, number) for number in range(1, len(one.sentences) + 1)}
    return [f"sentence {entry['item']}: {entry['reason']}" for entry in entries if entry["item"] in own]


def _about(one: Recording) -> dict[str, Any]:
    return {
        "recording": one.name,
        "audio": printable(str(one.audio)),
        "cut_by": one.cut_by,
        "seconds": one.info.duration,
        "sample_rate": one.info.sample_rate,
    }


def _shared(one: Recording, predictor: Predictor) -> dict[str, str]:
    """Return whether the run, and its encoder, were trained on this recording, under whatever name."""
    heard = {"audio_shared": predictor.heard.run, "encoder_audio_shared": predictor.heard.encoder}
    prints: list[bytes] = []
    if any(heard.values()):
        with contextlib.suppress(BadInput):  # its sentences can be read, or it would not be here
            prints = recording_prints(AudioSource(one.audio))
    return {key: compare_audio(trained_on, {one.name: prints}).status for key, trained_on in heard.items()}


def _shared_warnings(shared: Mapping[str, str]) -> list[str]:
    whose = {"audio_shared": "the run", "encoder_audio_shared": "the run's encoder"}
    return [
        f"{who} was trained on this recording: its score says nothing about new recordings"
        for key, who in whose.items()
        if shared[key] == "shared"
    ]


def _flags(one: Recording, scored: pd.DataFrame, predictor: Predictor) -> list[dict[str, Any]]:
    if predictor.population is None or scored.empty:
        return []
    source = AudioSource(one.audio)
    condition = measure_condition(
        (read_segment(source, start, end) for start, end in zip(scored["start"], scored["end"], strict=True)),
        SAMPLE_RATE,
    )
    return unlike(
        predictor.population,
        {
            **vars(condition),
            "sample_rate": one.info.sample_rate,
            "median_seconds": float(np.median(scored["duration"])),
            "sentences": len(scored),
        },
    )


def _heard(one: Recording, scored: pd.DataFrame) -> list[str]:
    """Return what must be known of the sound that was scored: silence, a channel taken, an odd file."""
    source = AudioSource(one.audio)
    heard = [listen(source, start, end) for start, end in zip(scored["start"], scored["end"], strict=True)]
    return sound_warnings(heard, "sentence")


def _sentences(one: Recording, scored: pd.DataFrame, with_text: bool) -> list[dict[str, Any]]:
    values = [name for name in ("score", ATTENTION) if name in scored]
    rows = scored.set_index("id")[values].to_dict("index")
    found = []
    for number, sentence in enumerate(one.sentences, start=1):
        name = _id(one, number)
        if name not in rows:
            continue
        row = {
            "sentence": number,
            "start": sentence.start,
            "end": sentence.end,
            **{str(key): float(value) for key, value in rows[name].items()},
        }
        found.append({**row, "text": sentence.text} if with_text else row)
    return found
