"""``sertransfer predict``: a run of stage 2 on new interviews, with what is known of its scores' worth."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sertransfer import __version__
from sertransfer.audio.condition import measure_condition
from sertransfer.audio.files import find_audio, name_others, readable_path
from sertransfer.audio.prints import recording_prints
from sertransfer.audio.reading import listen, read_segment
from sertransfer.config import load_config
from sertransfer.corpora.listening import heard_warnings
from sertransfer.corpora.new_interview import CutOptions
from sertransfer.errors import BadInput, Fault, Faults
from sertransfer.evaluation.aggregation import ATTENTION, TOP_K, aggregate
from sertransfer.io.scratch import scratch_folder
from sertransfer.io.spelling import printable
from sertransfer.manifest import AudioSource, Manifest, make_table
from sertransfer.timebase import SAMPLE_RATE
from sertransfer.training_audio import compare_audio
from sertransfer.transfer.interviews import Recording, cut_recording, pair
from sertransfer.transfer.population import population_text, unlike
from sertransfer.transfer.precedents import precedents_of, read_precedents
from sertransfer.transfer.predictor import Predictor, open_predictor

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
        overrides: Settings of :class:`~sertransfer.corpora.new_interview.CutOptions`; the others are those
            that the training corpus was cut with.
        voice_activity: Cut by voice activity, whatever transcripts there are.
        with_text: Keep what was said, which is clinical data.
        skip_bad: Leave out rows and sentences that can not be used, and record them, instead of stopping.
        progress: Whether bars are shown.

    Returns:
        ``run, encoder, mode, classes, aggregation, threshold, generated, note, population`` (a sentence),
        ``unlike_note``, and ``recordings``: of each ``recording, audio, cut_by, seconds, sample_rate,
        score, decision, sentences_scored, precedents`` (see
        :func:`~sertransfer.transfer.precedents.precedents_of`), ``flags``
        (:func:`~sertransfer.transfer.population.unlike`), ``audio_shared`` and ``encoder_audio_shared``
        (whether it was trained on: ``shared``, ``none`` or ``unknown``), ``warnings``, ``left_out`` and
        ``sentences``, a list of ``sentence, start, end, score``, perhaps ``attention`` and ``text``; times
        in seconds. Under *skip_bad*, ``not_scored`` says what is wrong with recordings that are not among
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
                **_about(one, predictor),
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
    options = load_config(CutOptions, None, {**cutting, **(overrides or {})})
    options.check()
    return options


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


def _about(one: Recording, predictor: Predictor) -> dict[str, Any]:
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
    return heard_warnings(heard, "sentence")


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
