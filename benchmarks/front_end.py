"""From a recording to log-mels, against what one would write without this package."""

from __future__ import annotations

import importlib.util
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import torchaudio
from decisions import compare_decisions
from measure import Options, Turns, by_turns, one_core, seconds, skipped_row, timed_row

from sertransfer.audio.logmel import MelFrontEnd
from sertransfer.audio.reading import read_segment
from sertransfer.audio.store import build_store
from sertransfer.front_end import Denoise, FrontEnd
from sertransfer.io.array_store import hash_onto_disk
from sertransfer.manifest import AudioSource, Manifest, make_table

RATE = 16000
LENGTH = 5 * RATE
STARTS = [7 * place for place in range(24)]
"""Seconds; one turn handles a segment of 5 s from each."""

UTTERANCES = 147_025
"""Of LSSED: so many go into a store at once."""


def recording(options: Options) -> tuple[Path, str]:
    """Return a 16-minute recording, and what it is: EmoDB's files in a row, or generated sound."""
    path = options.work / "recording.wav"
    if options.emodb is not None:
        kind = "real speech: EmoDB's files in a row"
        files = sorted((options.emodb / "wav").glob("*.wav"))
        speech = np.concatenate([soundfile.read(file, dtype="float32")[0] for file in files])
        wave = np.resize(speech, 16 * 60 * RATE)
    else:
        kind = "generated sound, no speech"
        rng = np.random.default_rng(0)
        time = np.arange(16 * 60 * RATE) / RATE
        loudness = np.clip(np.sin(2 * np.pi * 0.7 * time), 0, 1)
        voice = sum(np.sin(2 * np.pi * 130 * harmonic * time) / harmonic for harmonic in (1, 2, 3, 5, 8, 13))
        wave = 0.2 * loudness * voice + 0.005 * rng.standard_normal(len(time))
    if not path.exists():
        soundfile.write(path, wave, RATE)
    return path, kind


def our_chain(path: Path, front_end: FrontEnd) -> Callable[[], list[torch.Tensor]]:
    mel, source = MelFrontEnd(front_end), AudioSource(path)
    return lambda: [mel(torch.from_numpy(read_segment(source, start, start + 5))) for start in STARTS]


def read_plainly(path: Path, start: int) -> np.ndarray:
    with soundfile.SoundFile(path) as sound:
        sound.seek(start * RATE)
        return sound.read(LENGTH, dtype="float32")


def plain_torch() -> Callable[[np.ndarray], torch.Tensor]:
    """Spectral subtraction with inverse transform, gain, mel, log and scaling, as one would write it."""
    window = torch.hann_window(1024)
    to_mel = torchaudio.transforms.MelSpectrogram(
        RATE, 1024, hop_length=512, n_mels=128, norm="slaney", mel_scale="slaney", pad_mode="constant"
    )

    def features(samples: np.ndarray) -> torch.Tensor:
        wave = torch.from_numpy(samples)
        spectrum = torch.stft(wave, 1024, 512, window=window, pad_mode="constant", return_complex=True)
        power = spectrum.abs() ** 2  # (bins, frames)
        quietest = power.sum(dim=0).argsort()[: power.shape[1] // 10]
        noise = power[:, quietest].mean(dim=1, keepdim=True)
        kept = torch.maximum(power - 2 * noise, 0.02 * noise)
        cleaned = torch.polar(kept.sqrt(), spectrum.angle())
        wave = 2 * torch.istft(cleaned, 1024, 512, window=window, length=len(wave))
        mel = to_mel(wave).clamp_min(1e-10).log()
        return (mel - mel.mean()) / mel.std()

    return features


def librosa_and_noisereduce(path: Path, **gate: Any) -> Callable[[], list[np.ndarray]]:
    """Load, denoise, gain, mel, log, scaling; *gate* are settings over noisereduce's defaults."""
    import librosa
    import noisereduce

    def segment(start: int) -> np.ndarray:
        wave, _ = librosa.load(path, sr=RATE, offset=start, duration=5)
        wave = 2 * noisereduce.reduce_noise(y=wave, sr=RATE, **gate)
        mel = librosa.feature.melspectrogram(y=wave, sr=RATE, n_fft=1024, hop_length=512, n_mels=128)
        mel = np.log(np.maximum(mel, 1e-10))
        return (mel - mel.mean()) / mel.std()

    return lambda: [segment(start) for start in STARTS]


def transform_share(chain: Callable[[], Any]) -> float:
    """Return the share of *chain*'s time that the bare Fourier transforms of its frames need."""
    frames = torch.randn(1 + LENGTH // 512, 1024)

    def transforms() -> None:
        for _ in STARTS:
            torch.fft.rfft(frames)

    transforms()
    pairs = sorted(seconds(transforms) / seconds(chain) for _ in range(9))
    return pairs[4]


LIMIT_NOTE = "limit: the bare Fourier transforms of the frames over the whole chain"


def segment_out_of_a_long_recording(options: Options) -> dict[str, Any]:
    path, kind = recording(options)
    source = AudioSource(path)

    # each segment is let go before the next is read, as anything does that uses them one by one: kept, the
    # first touch of fresh memory would be most of the time of either
    def ours() -> None:
        for start in STARTS:
            read_segment(source, start, start + 5)

    def theirs() -> None:
        for start in STARTS:
            read_plainly(path, start)

    with one_core():
        turns = by_turns(ours, theirs)
    return timed_row(
        "5 s segment out of a 16-minute wav",
        "soundfile open + seek + read",
        turns,
        items=len(STARTS),
        unit="segment",
        goal=5,
        note=f"{kind}; ours checks that the file is whole",
    )


def segments_to_features_against_librosa(options: Options) -> dict[str, Any]:
    return _against_librosa(options, "librosa + noisereduce", 60, "noisereduce as it comes: its moving gate")


def segments_to_features_against_librosa_stationary(options: Options) -> dict[str, Any]:
    """The same with the fastest settings that noisereduce has for our framing."""
    gate = {"stationary": True, "n_fft": 1024, "win_length": 1024, "hop_length": 512}
    kind = "no goal of its own: noisereduce's stationary gate on our framing, its fastest variant"
    return _against_librosa(options, "librosa + noisereduce, stationary", None, kind, **gate)


def _against_librosa(
    options: Options, peer: str, goal: float | None, about: str, **gate: Any
) -> dict[str, Any]:
    work = "read, denoise, gain, mel, log of 5 s segments, one core"
    missing = [name for name in ("librosa", "noisereduce") if importlib.util.find_spec(name) is None]
    if missing:
        return skipped_row(
            work, peer, goal, f"{' and '.join(missing)} not installed; 'make bench' installs them"
        )
    path, kind = recording(options)
    with one_core():
        chain = our_chain(path, FrontEnd())
        turns = by_turns(chain, librosa_and_noisereduce(path, **gate), pairs=9)
        limit = transform_share(chain)
    return timed_row(
        work,
        peer,
        turns,
        items=len(STARTS),
        unit="segment",
        goal=goal,
        limit_fraction=limit,
        note=f"{kind}; {about}; {LIMIT_NOTE}",
    )


def segments_to_features_against_torch(options: Options) -> dict[str, Any]:
    path, kind = recording(options)
    with one_core():
        chain, features = our_chain(path, FrontEnd()), plain_torch()

        def plain() -> list[torch.Tensor]:
            return [features(read_plainly(path, start)) for start in STARTS]

        turns = by_turns(chain, plain)
        limit = transform_share(chain)
        resynthesised = our_chain(path, FrontEnd(denoise=Denoise(resynthesis=True)))
        one_pass, two_pass, theirs = (torch.stack(each()).flatten() for each in (chain, resynthesised, plain))
    agreement = torch.corrcoef(torch.stack([one_pass, two_pass, theirs]))
    decisions = (
        "decisions not compared without real speech"
        if options.emodb is None
        else compare_decisions(options.emodb, MelFrontEnd(FrontEnd()), features)
    )
    return timed_row(
        "read, denoise, gain, mel, log of 5 s segments, one core",
        "plain torch chain with inverse STFT",
        turns,
        items=len(STARTS),
        unit="segment",
        goal=5,
        limit_fraction=limit,
        note=f"{kind}; correlation of the features with the plain chain's {agreement[0, 2]:.4f} "
        f"(our variant with inverse transform: {agreement[1, 2]:.4f}); {decisions}; {LIMIT_NOTE}",
    )


def log_mel_alone(options: Options) -> dict[str, Any]:
    path, kind = recording(options)
    waves = [torch.from_numpy(read_segment(AudioSource(path), start, start + 5)) for start in STARTS]
    mel = MelFrontEnd(FrontEnd(denoise=Denoise("none"), gain=1.0, normalise="none"))
    to_mel = torchaudio.transforms.MelSpectrogram(
        RATE, 1024, hop_length=512, n_mels=128, norm="slaney", mel_scale="slaney", pad_mode="constant"
    )
    with one_core():

        def chain() -> list[torch.Tensor]:
            return [mel(wave) for wave in waves]

        turns = by_turns(chain, lambda: [to_mel(wave).clamp_min(1e-10).log() for wave in waves])
        limit = transform_share(chain)
    return timed_row(
        "log-mel alone, one core",
        "torchaudio per file",
        turns,
        items=len(STARTS),
        unit="segment of 5 s",
        goal=2.3,
        limit_fraction=limit,
        note=f"{kind}; {LIMIT_NOTE}",
    )


def front_end_on_two_processes(options: Options) -> dict[str, Any]:
    """Build a feature store of LSSED's size with two worker processes, against building it with one."""
    path, kind = recording(options)
    common = {"audio": path.name, "speaker": "one", "label": "neutral", "split": "train", "corpus": "none"}
    folder = options.work / "stores"

    def fresh(workers: int, utterances: int = UTTERANCES) -> float:
        shutil.rmtree(folder, ignore_errors=True)
        starts = [950 * number / utterances for number in range(utterances)]
        rows = [
            {"id": f"segment{number}", "start": start, "end": start + 5, **common}
            for number, start in enumerate(starts)
        ]
        manifest = Manifest(make_table(rows), path.parent)
        return seconds(lambda: build_store(manifest, FrontEnd(), folder, workers=workers, progress=False))

    turns = Turns([], [])
    for _ in range(2):
        turns.ours.append(fresh(2))
        turns.peer.append(fresh(1))
    (features,) = folder.glob("*/features.bin")
    checksum = seconds(lambda: hash_onto_disk(features))
    two, one = fresh(2, 64), fresh(1, 64)
    shutil.rmtree(folder)
    limit = two_at_once(path)
    included = (
        f"included, in seconds: start of two processes {two:.1f}, of one {one:.1f}, checksum {checksum:.1f}"
    )
    return timed_row(
        "front end on two worker processes, into a feature store of LSSED's size",
        "one worker process",
        turns,
        items=UTTERANCES,
        unit="segment of 5 s",
        goal=1.8,
        limit_fraction=statistics.median(turns.ratios) / limit,
        note=f"{kind}; {UTTERANCES} segments; {included}; limit: {limit:.2f}, two processes that compute the "
        "same features, share nothing and write nothing, against one of them alone",
    )


def two_at_once(path: Path) -> float:
    """Return how many times as much two independent processes compute as one."""

    def speeds(count: int) -> list[float]:
        command = [sys.executable, __file__, str(path)]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
        return [float(process.communicate()[0]) for process in running]

    return sum(speeds(2)) / sum(speeds(1))


ROWS = [
    segment_out_of_a_long_recording,
    segments_to_features_against_librosa,
    segments_to_features_against_librosa_stationary,
    segments_to_features_against_torch,
    log_mel_alone,
    front_end_on_two_processes,
]


def main() -> None:
    """Compute features on one thread for a while, and print how many segments a second."""
    torch.set_num_threads(1)
    chain, done = our_chain(Path(sys.argv[1]), FrontEnd()), 0
    start = time.perf_counter()
    while time.perf_counter() - start < 1:  # until the other one is under way as well
        chain()
    start = time.perf_counter()
    while time.perf_counter() - start < 8:
        chain()
        done += len(STARTS)
    print(done / (time.perf_counter() - start))


if __name__ == "__main__":
    main()
