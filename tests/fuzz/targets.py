"""What is fuzzed: every reader of files that somebody else made, or that a disk may have damaged."""

from __future__ import annotations

import io
import json
import shutil
import sys
import wave
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import optuna
import soundfile
import torch
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from sertransfer.errors import Faults


@dataclass(frozen=True)
class Target:
    """A reader, and files that it can read.

    Attributes:
        name: Of the target.
        seeds: Content of whole files.
        name_of_file: What the file is called that is read.
        read: Reads it; given its path.
        home: Folder with what must stand beside it, if anything.
    """

    name: str
    seeds: tuple[bytes, ...] = field(repr=False)
    name_of_file: str
    read: Callable[[Path], object]
    home: Path | None = None


def make_targets(work: Path) -> dict[str, Target]:
    """Write whole files into *work*, and return the targets by name."""
    torch.manual_seed(0)
    made = [*_tables(work), *_sound(work), *_settings(work), *_weights(work), *_espnet(work), *_stored(work)]
    return {target.name: target for target in made}


def _rated(faults: Faults) -> None:
    """See that every fault can be said."""
    for fault in faults:
        str(fault)


def _tables(work: Path) -> list[Target]:
    from sertransfer.corpora.emotion import csv as csv_corpus
    from sertransfer.corpora.emotion import lssed
    from sertransfer.corpora.interviews.daic_woz import SPLIT_FILES
    from sertransfer.corpora.interviews.errata import ErrataLog
    from sertransfer.corpora.interviews.split_files import LabelRule, Splits
    from sertransfer.corpora.interviews.transcript import parse_transcript
    from sertransfer.demo.corpora import make_daic_woz
    from sertransfer.manifest import Manifest, make_table, read_manifest, write_manifest

    daic = work / "daic"
    make_daic_woz(daic, sessions=(3, 2, 1))
    transcripts = [path.read_bytes() for path in daic.rglob("*TRANSCRIPT.csv")]
    for archive in daic.rglob("*.zip"):
        with zipfile.ZipFile(archive) as opened:
            transcripts += [opened.read(name) for name in opened.namelist() if "TRANSCRIPT" in name]

    def transcript(path: Path) -> None:
        faults = Faults(skip_bad=True)
        parse_transcript(path.read_bytes(), str(path), faults, duration=100.0)
        _rated(faults)

    def split(path: Path) -> None:
        faults = Faults(skip_bad=True)
        read = Splits(LabelRule("score", ErrataLog((), faults)), faults)
        for part, name in SPLIT_FILES.items():
            read.add(path if part == "train" else daic / name, part)
        _rated(faults)

    def table(module: object, options: object) -> Callable[[Path], None]:
        def read(path: Path) -> None:
            faults = Faults(skip_bad=True)
            module.read(path.parent, options, faults)  # type: ignore[attr-defined]
            _rated(faults)

        return read

    csv = "\ufeffname,faces,speaker,gender,age\n" + "".join(
        f"a{row},{label},s{row % 3},{'MF'[row % 2]},{20 + row}\n"
        for row, label in enumerate(["angry", "neutral", "happy", "sad"] * 3)
    )
    plain = "\n".join(
        f"{line},{'split' if not row else ('train', 'test')[row % 2]}"
        for row, line in enumerate(csv.replace("\ufeffname,faces", "audio,label").splitlines())
    )
    rows = [
        {"id": f"u{n}", "audio": f"{n}.wav", "start": 0.5 * n, "end": 0.5 * n + 0.4, "speaker": f"s{n}"}
        | {
            "label": "sad",
            "split": ("train", "dev", "test")[n % 3],
            "gender": "m",
            "age": "31",
            "corpus": "x",
        }
        for n in range(6)
    ]
    home = work / "manifest"
    (home / "root").mkdir(parents=True)
    write_manifest(Manifest(make_table(rows), home / "root", {"corpus": "x"}), home / "manifest.csv")
    manifest, notes = (home / "manifest.csv").read_bytes(), (home / "manifest.json").read_bytes()
    unheaded = lssed.Options(check_audio=False)
    return [
        Target("transcript", tuple(transcripts), "300_TRANSCRIPT.csv", transcript),
        Target(
            "split file",
            tuple((daic / name).read_bytes() for name in SPLIT_FILES.values()),
            "split.csv",
            split,
        ),
        Target("LSSED table", (csv.encode(),), unheaded.metadata, table(lssed, unheaded)),
        Target("CSV corpus", (plain.encode(),), "metadata.csv", table(csv_corpus, _csv_options(csv_corpus))),
        Target("manifest", (manifest,), "manifest.csv", read_manifest, home),
        Target(
            "manifest notes",
            (notes,),
            "manifest.json",
            lambda path: read_manifest(path.with_suffix(".csv")),
            home,
        ),
    ]


def _csv_options(module: object) -> object:
    return module.Options(check_audio=False)  # type: ignore[attr-defined]


def _sound(work: Path) -> list[Target]:
    from sertransfer.audio.reading import inspect, read_segment
    from sertransfer.manifest import AudioSource

    noise = 0.1 * np.random.default_rng(0).normal(size=800)
    kinds = [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("WAVEX", "PCM_16")]
    kinds += [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("AIFF", "PCM_16"), ("W64", "PCM_16"), ("AU", "PCM_16")]
    sounds = []
    for form, subtype in kinds:
        stream = io.BytesIO()
        channels = noise if form != "WAVEX" else np.stack([noise, noise], 1)
        soundfile.write(stream, channels, 16000, format=form, subtype=subtype)
        sounds.append(stream.getvalue())
    other = io.BytesIO()
    with wave.open(other, "wb") as opened:
        opened.setnchannels(2)
        opened.setsampwidth(2)
        opened.setframerate(44100)
        opened.writeframes((noise * 20000).astype("<i2").tobytes())
    sounds.append(other.getvalue())

    def read(path: Path) -> None:
        source = AudioSource(path)
        info = inspect(source)
        read_segment(source, 0.0, min(0.02, info.duration))
        read_segment(source)

    archives = []
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", kind) as archive:
            archive.writestr("300_AUDIO.wav", sounds[0])
        archives.append(packed.getvalue())

    def read_member(path: Path) -> None:
        inspect(AudioSource(path, "300_AUDIO.wav"))
        read_segment(AudioSource(path, "300_AUDIO.wav"))

    return [
        Target("sound", tuple(sounds), "a.wav", read),
        Target("sound in an archive", tuple(archives), "300_P.zip", read_member),
    ]


def _settings(work: Path) -> list[Target]:
    from sertransfer.config import load_config
    from sertransfer.pretraining.settings import PretrainConfig
    from sertransfer.transfer.settings import TransferConfig
    from sertransfer.transfer.tuning.space import TuneConfig

    configs = Path(__file__).parents[2] / "configs"
    pretrain = tuple(path.read_bytes() for path in sorted((configs / "pretrain").glob("*.yaml")))
    others = tuple(path.read_bytes() for path in sorted((configs / "transfer").glob("*.yaml")))
    return [
        Target("config of stage 1", pretrain, "a.yaml", lambda path: load_config(PretrainConfig, path)),
        Target("config of stage 2", others, "a.yaml", lambda path: load_config(TransferConfig, path)),
        Target("config of tuning", others, "a.yaml", lambda path: load_config(TuneConfig, path)),
    ]


def _weights(work: Path) -> list[Target]:
    from safetensors.torch import save_file

    from sertransfer.encoders.base import read_weights
    from sertransfer.encoders.sentence_model import load_sentence_model
    from sertransfer.front_end import Cropping, FrontEnd
    from sertransfer.io.checksums import SEAL
    from sertransfer.models.checkpoint import Checkpoint, load_model, read_checkpoint, write_checkpoint
    from sertransfer.models.registry import build_model
    from sertransfer.models.safe_pickle import read_pickled
    from sertransfer.training.callbacks import AtomicCheckpointIO
    from sertransfer.transfer.probe.probe import fit_path, read_probe, write_probe
    from sertransfer.transfer.settings import ProbeConfig

    home = work / "weights"
    home.mkdir()
    options = {"width": 0.0625}
    state = build_model("pyresnet_tiny", 4, **options).state_dict()
    names, front_end = ("angry", "neutral", "happy", "sad"), FrontEnd(mels=32)
    checkpoint = Checkpoint("pyresnet_tiny", options, names, front_end, Cropping(0.2), state, {"corpus": "x"})
    write_checkpoint(checkpoint, home / "sealed")
    sealed = (home / "sealed").read_bytes()
    # a seal that is not one, so that changes reach what lies behind it
    unsealed = sealed.replace(SEAL.encode(), b"seal_sha255")
    vectors = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    truth = np.arange(12) % 2 == 0
    probe, _ = next(iter(fit_path(vectors, truth, np.ones(12), (0.1,), ProbeConfig())))
    write_probe(probe, home / "probe")
    probed = (home / "probe").read_bytes()
    small = {"a.weight": torch.randn(3, 4), "b": torch.arange(5), "c": torch.ones(2, dtype=torch.bfloat16)}
    save_file(small, home / "small")
    other = (home / "small").read_bytes()
    saved = []
    for legacy in (False, True):
        stream = io.BytesIO()
        torch.save(small, stream, _use_new_zipfile_serialization=not legacy)
        saved.append(stream.getvalue())
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    for legacy in (False, True):
        stream = io.BytesIO()
        torch.save(network, stream, _use_new_zipfile_serialization=not legacy)
        saved.append(stream.getvalue())
    point = io.BytesIO()
    torch.save({"state_dict": small, "global_step": 3, "callbacks": {"x": {"rows": [1.5]}}}, point)

    from sertransfer.encoders.ssl import read_ssl
    from sertransfer.models.image_weights import _read as read_image_weights
    from sertransfer.transfer.apply import _read_population as read_population
    from sertransfer.transfer.checks.population import FILE as POPULATION

    ssl = home / "ssl"
    ssl.mkdir()
    save_file(small, ssl / "model.safetensors")
    described = {
        "family": "hubert",
        "model": {"extractor_conv_layer_config": [[4, 10, 5]], "encoder_num_layers": 1},
    }
    (ssl / "config.yaml").write_text(yaml.safe_dump(described))
    whole = {"ranges": {}, "sample_rates": {"16000": 3}, "subjects": {"train": 2}, "cutting": "rows"}

    def in_ssl(path: Path) -> None:
        read_ssl(path.parent)

    def population(path: Path) -> None:
        read_population(path.parent)

    def stream(path: Path) -> None:
        with path.open("rb") as opened:
            read_weights(opened, path)

    return [
        Target("checkpoint", (sealed, unsealed, other), "m.safetensors", read_checkpoint),
        Target("model", (unsealed,), "m.safetensors", load_model),
        Target("fine-tuned network", (unsealed, probed), "m.safetensors", load_sentence_model),
        Target("probe", (probed, probed.replace(SEAL.encode(), b"seal_sha255")), "p.safetensors", read_probe),
        Target("published file", tuple(saved), "m.pth", read_pickled),
        Target("ImageNet weights", tuple(saved[:2]), "m.pth", read_image_weights),
        Target("wav2vec 2.0 config", ((ssl / "config.yaml").read_bytes(),), "config.yaml", in_ssl, ssl),
        Target("wav2vec 2.0 weights", (other,), "model.safetensors", in_ssl, ssl),
        Target("training data of a run", (json.dumps(whole).encode(),), POPULATION, population),
        Target("weights of torch.save", tuple(saved), "m.pth", stream),
        Target("resume point", (point.getvalue(),), "r.ckpt", AtomicCheckpointIO().load_checkpoint),
    ]


def _espnet(work: Path) -> list[Target]:
    from sertransfer.encoders.espnet.folder import read_experiment

    home = work / "espnet"
    folder = home / "exp"
    folder.mkdir(parents=True)
    config = {
        "encoder": "conformer",
        "encoder_conf": {"output_size": 8},
        "normalize": None,
        "token_list": ["a"],
    }
    config |= {
        "best_model_criterion": [["valid", "acc", "max"]],
        "frontend_conf": {"fs": "16k", "n_fft": 512},
    }
    text = yaml.safe_dump(config).encode()
    (folder / "config.yaml").write_bytes(text)
    torch.save({"a": torch.ones(2)}, folder / "valid.acc.best.pth")
    meta = {"files": {"asr_model_file": "m.pth"}, "yaml_files": {"asr_train_config": "config.yaml"}}
    archives = []
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", kind) as archive:
            archive.writestr("meta.yaml", yaml.safe_dump(meta))
            archive.writestr("config.yaml", text)
            archive.writestr("m.pth", (folder / "valid.acc.best.pth").read_bytes())
        archives.append(packed.getvalue())
    weights = (folder / "valid.acc.best.pth").read_bytes()

    def in_folder(path: Path) -> None:
        read_experiment(path.parent)

    return [
        Target("ESPnet config", (text,), "config.yaml", lambda path: read_experiment(path.parent), folder),
        Target(
            "ESPnet weights",
            (weights,),
            "valid.acc.best.pth",
            lambda path: read_experiment(path.parent),
            folder,
        ),
        Target("ESPnet archive", tuple(archives), "model.zip", read_experiment),
    ]


def _stored(work: Path) -> list[Target]:
    from sertransfer.audio.store import FeatureStore, build_store
    from sertransfer.errors import Fault
    from sertransfer.front_end import FrontEnd
    from sertransfer.io.run_folder import RunFolder
    from sertransfer.manifest import Manifest, make_table
    from sertransfer.reporting.paper_tables import tables_of
    from sertransfer.reporting.runs import read_runs
    from sertransfer.transfer.embedding_store import EmbeddedChunk, open_set, write_set
    from sertransfer.transfer.finetune.data import FrameStore, take_store
    from sertransfer.transfer.tuning.storage import open_storage
    from sertransfer.transfer.tuning.study import open_study

    home = work / "stored"
    sound = home / "sound"
    sound.mkdir(parents=True)
    soundfile.write(sound / "a.wav", 0.1 * np.random.default_rng(0).normal(size=16000), 16000)
    rows = [
        {"id": f"u{n}", "audio": "a.wav", "start": 0.2 * n, "end": 0.2 * n + 0.2, "speaker": "s"}
        | {"corpus": "x"}
        for n in range(4)
    ]
    manifest = Manifest(make_table(rows), sound, {})
    store = build_store(manifest, FrontEnd(mels=16), home / "features", progress=False).path
    values = [(f"u{n}", 0.2, np.ones((3, 2), np.float32)) for n in range(4)]
    values += [("bad", 0.1, Fault("a", "b", "c", "d"))]
    frames = take_store(home / "frames", "key", 2, values, skip_bad=True).path
    chunk = EmbeddedChunk(
        ["a", "b"], np.ones(2), np.ones((2, 3), np.float32), [("c", Fault("a", "b", "c", "d"))]
    )
    chunk.write(home / "chunk.npz")
    vectors = home / "set" / "key"
    vectors.mkdir(parents=True)
    write_set(vectors, "key", [home / "chunk.npz"], {"pooling": "mean"})
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = open_study(open_storage(home / "study.db"), "s", {"a": 1}, seed=0, random_trials=1)
    for value in (0.25, 0.5):
        distribution = {"c": optuna.distributions.FloatDistribution(0.1, 1.0, log=True)}
        study.optuna.add_trial(
            optuna.create_trial(value=value, params={"c": value}, distributions=distribution)
        )
    run = home / "run"
    with RunFolder(run).claim({"seed": 0, "model": {"name": "x"}}, {"manifest": "0"}) as claimed:
        claimed.write_metrics(_metrics())

    def recorded(path: Path) -> None:
        folder = RunFolder(path.parent)
        folder.read_metrics()
        with folder.claim({"seed": 0, "model": {"name": "x"}}, {"manifest": "0"}):
            pass

    def listed(path: Path) -> None:
        tables_of(read_runs([path.parent]))

    def part(name: str, folder: Path, seed: str, read: Callable[[Path], object]) -> Target:
        return Target(name, ((folder / seed).read_bytes(),), seed, read, folder)

    def studied(path: Path) -> None:
        open_study(open_storage(path), "s", {"a": 1}, seed=0, random_trials=1).trials()

    def opened_set(path: Path) -> None:
        open_set(path.parent, "key")

    return [
        part("store's record", store, "meta.json", lambda path: FeatureStore(path.parent)),
        part("store's index", store, "index.csv", lambda path: FeatureStore(path.parent)),
        part("frame store's record", frames, "meta.json", lambda path: FrameStore(path.parent)),
        part("frame store's index", frames, "index.csv", lambda path: FrameStore(path.parent)),
        part("embeddings' record", vectors, "embedding.json", opened_set),
        part("embeddings' vectors", vectors, "vectors.npy", opened_set),
        part("chunk of embeddings", home, "chunk.npz", EmbeddedChunk.read),
        part("study's database", home, "study.db", studied),
        part("run's metrics", run, "metrics.json", listed),
        part("run's config", run, "config.yaml", recorded),
        part("run's inputs", run, "inputs.json", recorded),
    ]


def _metrics() -> dict[str, object]:
    scores = {"n": 4, "wa": 0.5, "ua": 0.5, "wa_ci95": [0.1, 0.9], "ua_ci95": [0.1, 0.9]}
    confusion = {"confusion": [[1, 1], [1, 1]], "classes": ["a", "b"]}
    return {
        "utterance": {**scores, **confusion},
        "majority": {"wa": 0.5, "ua": 0.5},
        "split": "test",
        "corpus": "x",
        "model": "pyresnet_tiny",
        "generated": True,
    }


def place_input(target: Target, data: bytes, folder: Path) -> Path:
    """Write *data* into *folder*, made anew, as the file that *target* reads; return its path."""
    shutil.rmtree(folder, ignore_errors=True)
    if target.home is None:
        folder.mkdir(parents=True)
    else:
        shutil.copytree(target.home, folder)
    path = folder / target.name_of_file
    path.write_bytes(data)
    return path
