"""On whom and on what sound a run was trained: what ``population.json`` keeps, and what differs from it.

No subject is named in it. Ranges are those of a sample of the training subjects, spread evenly over them.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from sertransfer.audio.fingerprint import TRAINING_PRINTS, utterance_prints
from sertransfer.audio.quality import measure_condition
from sertransfer.audio.reading import inspect, read_segment
from sertransfer.corpora.interviews.new_interview import known_options
from sertransfer.encoders.base import Encoder
from sertransfer.io.checksums import with_hash
from sertransfer.io.files import write_json
from sertransfer.manifest import Manifest
from sertransfer.timebase import SAMPLE_RATE
from sertransfer.training_audio import RunTrainingAudio, compare_audio, make_training_audio
from sertransfer.transfer.data import SubjectSplit

_log = logging.getLogger(__name__)

FILE = "population.json"
FORMAT = 1

SUBJECTS, SENTENCES = 64, 8
"""Subjects, and sentences of each, whose sound is measured."""

QUANTILES = {"low": 0.0, "q05": 0.05, "median": 0.5, "q95": 0.95, "high": 1.0}

TOLERANCE = {"level_dbfs": 3.0, "bandwidth_hz": 500.0, "clipped": 0.001}
"""How far beyond the range of the training subjects a recording may lie before it is flagged."""


def write_population(folder: Path, manifest: Manifest, train: SubjectSplit) -> None:
    """Write :data:`FILE` into the run folder *folder*.

    Args:
        folder: The run's.
        manifest: Of the run; its notes say how the corpus was cut.
        train: Training part, usable sentences with their ``duration``.
    """
    write_json(folder / FILE, with_hash(describe_population(manifest, train)))


def describe_population(manifest: Manifest, train: SubjectSplit) -> dict[str, Any]:
    """Return the content of :data:`FILE`.

    Raises:
        BadInput: If a sentence of the sample cannot be read.
    """
    people = manifest.table.drop_duplicates("speaker").set_index("speaker")
    genders = train.subjects["subject"].map(people["gender"]).fillna("").replace("", "unknown")
    spoken = train.sentences.groupby("subject")["duration"].agg(["size", "median"])
    conditions, rates = _listen(manifest, train)
    return {
        "format": FORMAT,
        "corpus": sorted(manifest.table["corpus"].unique().tolist()),
        "generated": manifest.generated,
        "subjects": {
            "n": len(train.subjects),
            "by_label": _counts(train.subjects["label"]),
            "by_gender": _counts(genders),
        },
        "sentences": len(train.sentences),
        "sample": {"subjects": len(conditions), "sentences_each": SENTENCES},
        "sample_rates": rates,
        "ranges": {
            "level_dbfs": _range(conditions["level_dbfs"]),
            "bandwidth_hz": _range(conditions["bandwidth_hz"]),
            "clipped": _range(conditions["clipped"]),
            "median_seconds": _range(spoken["median"]),
            "sentences": _range(spoken["size"]),
        },
        "cutting": known_options(manifest.notes.get("options", {})),
    }


def training_audio(
    manifest: Manifest,
    train: SubjectSplit,
    reported: SubjectSplit,
    encoder: Encoder,
    run: str,
    *,
    cache: Path,
) -> tuple[RunTrainingAudio, dict[str, Any]]:
    """Fingerprint the training part, and look for the reported part in it and in the encoder's training.

    Args:
        manifest: Of the run.
        train: Training part.
        reported: SubjectSplit that is scored.
        encoder: What the run is built on.
        run: Hash of the run's settings and inputs.
        cache: Where prints of the audio are kept.

    Returns:
        The fingerprints, and what ``metrics.json`` says: ``audio_shared`` (with the training part) and
        ``encoder_audio_shared``, each with ``status``, ``utterances`` and ``speakers``.
    """
    rows = {name: _rows(manifest, part) for name, part in (("train", train), ("reported", reported))}
    own = make_training_audio(
        utterance_prints(rows["train"], most=TRAINING_PRINTS, cache=cache).values(), run
    )
    prints = utterance_prints(rows["reported"], cache=cache)
    speakers = dict(zip(rows["reported"].table["id"], rows["reported"].table["speaker"], strict=True))
    facts = {}
    for key, heard, whose in (
        ("audio_shared", own, "the training subjects'"),
        ("encoder_audio_shared", encoder.training_audio, "the encoder's training"),
    ):
        facts[key] = found = compare_audio(heard, prints).figures(speakers)
        if found["status"] == "shared":
            _log.warning(
                "%s audio holds %d of the %d sentences that are scored, of %d subjects, whatever their names",
                whose,
                found["utterances"],
                len(prints),
                found["speakers"],
            )
    return RunTrainingAudio(own, encoder.training_audio), facts


def _rows(manifest: Manifest, part: SubjectSplit) -> Manifest:
    table = manifest.table
    return manifest.with_table(table[table["id"].isin(part.sentences["id"])].reset_index(drop=True))


def _counts(values: pd.Series[Any]) -> dict[str, int]:
    return {str(name): int(count) for name, count in values.value_counts().items()}


def _range(values: ArrayLike) -> dict[str, float]:
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return {}
    return {name: float(np.quantile(finite, share)) for name, share in QUANTILES.items()}


def _listen(manifest: Manifest, train: SubjectSplit) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the condition of a sample of the training subjects, and the rates of their recordings."""
    rows = manifest.table.set_index("id")
    names = sorted(train.sentences["subject"].unique())
    rates: Counter[str] = Counter()
    found = []
    for name in (names[place] for place in _spread(len(names), SUBJECTS)):
        own = train.sentences.loc[train.sentences["subject"] == name, "id"].tolist()
        taken = rows.loc[[own[place] for place in _spread(len(own), SENTENCES)]]
        sources = {audio: manifest.source(audio) for audio in taken["audio"]}
        rates.update(str(inspect(source).sample_rate) for source in sources.values())
        pieces = (
            read_segment(sources[audio], None if np.isnan(start) else start, None if np.isnan(end) else end)
            for audio, start, end in zip(taken["audio"], taken["start"], taken["end"], strict=True)
        )
        found.append(vars(measure_condition(pieces, SAMPLE_RATE)))
    return pd.DataFrame(found, columns=["level_dbfs", "bandwidth_hz", "clipped"]), dict(sorted(rates.items()))


def _spread(items: int, wanted: int) -> list[int]:
    """Return at most *wanted* places among *items*, evenly spread."""
    return sorted({int(place) for place in np.linspace(0, items - 1, min(items, wanted))})


def unlike(population: Mapping[str, Any], recording: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return in what a recording is unlike the training data.

    Args:
        population: Content of :data:`FILE`.
        recording: ``sample_rate``, ``level_dbfs``, ``bandwidth_hz``, ``clipped``, ``median_seconds`` and
            ``sentences`` of the recording.

    Returns:
        Of each difference ``what``, ``found``, ``low``, ``high`` and ``text``, a sentence.
    """
    flags = []
    rates = [int(rate) for rate in population["sample_rates"]]
    if rates and recording["sample_rate"] not in rates:
        rate = int(recording["sample_rate"])
        known = " and ".join(map(str, rates))
        flags.append(_flag("sample_rate", rate, min(rates), max(rates), f"{rate} Hz; trained on {known} Hz"))
    for name, (title, show) in _SHOWN.items():
        span = population["ranges"].get(name)
        if not span:
            continue
        value, slack = recording[name], TOLERANCE.get(name, 0.0)
        # the least clipped recording is unlike nothing
        below = name != "clipped" and value < span["low"] - slack
        if below or value > span["high"] + slack:
            text = f"{title} {show(value)}; training subjects {show(span['low'])} to {show(span['high'])}"
            flags.append(_flag(name, value, span["low"], span["high"], text))
    return flags


def _flag(what: str, found: float, low: float, high: float, text: str) -> dict[str, Any]:
    return {
        "what": what,
        "found": found if np.isfinite(found) else None,
        "low": low,
        "high": high,
        "text": text,
    }


_SHOWN: dict[str, tuple[str, Callable[[float], str]]] = {
    "level_dbfs": ("level", lambda value: f"{value:.1f} dB of full scale"),
    "bandwidth_hz": ("bandwidth", lambda value: f"{value / 1000:.1f} kHz"),
    "clipped": ("clipped samples", lambda value: f"{100 * value:.2f} %"),
    "median_seconds": ("median length of a sentence", lambda value: f"{value:.2f} s"),
    "sentences": ("number of sentences", lambda value: f"{value:.0f}"),
}
"""How each range is named and shown."""


def population_text(population: Mapping[str, Any] | None, metrics: Mapping[str, Any]) -> str:
    """Return a sentence about whom the run was trained on.

    Args:
        population: Content of :data:`FILE`; ``None`` for a run that has none.
        metrics: Of the run.
    """
    counts = metrics["counts"]["train"]["subjects"]
    labels = ", ".join(f"{count} {label}" for label, count in counts.items())
    genders = "gender not recorded"
    if population is not None:
        genders = ", ".join(f"{count} {name}" for name, count in population["subjects"]["by_gender"].items())
    people = f"{sum(counts.values())} subjects of {metrics['corpus']} ({labels}; {genders})"
    if metrics.get("generated"):
        return (
            f"trained on {people}, which is generated and no real speech: its scores say nothing about people"
        )
    return f"trained on {people}"
