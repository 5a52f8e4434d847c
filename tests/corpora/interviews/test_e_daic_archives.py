"""Archives of E-DAIC: every kind that circulates, bounded, no links, extracted again when they change."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.speech_trees import WORDS, faults_of, load, pack_e_daic, write_e_daic

from sertransfer.audio.reading import read_segment
from sertransfer.corpora.interviews import sessions
from sertransfer.manifest import Manifest

WAV, TRANSCRIPT = "302_P/302_AUDIO.wav", "302_P/302_Transcript.csv"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A corpus whose session 302 is a folder still."""
    return write_e_daic(tmp_path / "e")


def packed(root: Path, name: str = "302_P.tar.gz", form: str = "w:gz", slash: str = "/") -> Path:
    """Put session 302 into an archive and remove its folder."""
    folder = root / "data/302_P"
    members: dict[str, bytes | Path] = {
        item.replace("/", slash): root / "data" / item for item in (WAV, TRANSCRIPT)
    }
    archive = pack_e_daic(root / "data" / name, members, form)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
    return archive


def sound(manifest: Manifest) -> list[float]:
    (audio,) = manifest.table.loc[manifest.table["session"] == "302", "audio"].unique()
    samples: list[float] = read_segment(manifest.source(audio), 0.5, 1.25).tolist()
    return samples


@pytest.mark.parametrize("slash", ["/", "\\"])
@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("302_P.tar.gz", "w:gz"),
        ("302_P.tar.gz", "w"),  # unpacked by a browser that kept the name
        ("302_P.tar", "w"),
        ("302_P.tar", "w:gz"),
        ("302_P.tgz", "w:gz"),
        ("302_P.zip", "zip"),
        ("302_P.tar.gz", "zip"),
    ],
)
def test_archives_of_any_kind_are_read(root: Path, tmp_path: Path, name: str, form: str, slash: str) -> None:
    expected = load("e-daic", root)
    heard = sound(expected)
    packed(root, name, form, slash)
    manifest = load("e-daic", root, audio_folder=str(tmp_path / "audio"))
    assert manifest.table.drop(columns="audio").equals(expected.table.drop(columns="audio"))
    assert sound(manifest) == heard
    assert (tmp_path / "audio/302_P/302_AUDIO.wav").is_file()
    assert not list((tmp_path / "audio").rglob("*.csv"))


@pytest.mark.parametrize("form", ["w:gz", "w", "zip"])
@pytest.mark.parametrize("folder", ["../", "../../data/302_P/", "/302_P/", "301_P/", "C:\\", "..\\302_P\\"])
def test_whole_files_under_names_that_lead_elsewhere_are_not_taken(
    root: Path, tmp_path: Path, folder: str, form: str
) -> None:
    wav = (root / "data" / WAV).read_bytes()
    archive = packed(root, form=form)
    pack_e_daic(archive, {f"{folder}302_AUDIO.wav": wav, f"{folder}302_Transcript.csv": WORDS}, form)
    faults = faults_of("e-daic", root, audio_folder=str(tmp_path / "audio"))
    assert [fault.partition(": found ")[2].partition(";")[0] for fault in faults] == [
        "no 302_AUDIO.wav", "no 302_Transcript.csv",
    ]  # fmt: skip
    assert not list((tmp_path / "audio").rglob("*.wav"))


def tar_links(archive: Path, kind: bytes, wav: bytes) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in (("302_P/other.wav", wav), ("302_P/other.csv", WORDS)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, target in ((WAV, "other.wav"), (TRANSCRIPT, "other.csv")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target if kind == tarfile.SYMTYPE else f"302_P/{target}"
            tar.addfile(member)


def zip_links(archive: Path, wav: bytes) -> None:
    with zipfile.ZipFile(archive, "w") as target:
        for name, content in ((WAV, wav), (TRANSCRIPT, WORDS)):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, 0o120777 << 16
            target.writestr(info, content)


@pytest.mark.parametrize(
    "write",
    [
        lambda archive, wav: tar_links(archive, tarfile.SYMTYPE, wav),
        lambda archive, wav: tar_links(archive, tarfile.LNKTYPE, wav),
        zip_links,
    ],
    ids=["symbolic", "hard", "zip"],
)
def test_links_are_not_followed(root: Path, tmp_path: Path, write: Callable[[Path, bytes], None]) -> None:
    # What they lead to is whole: only the rule against links keeps it out.
    wav = (root / "data" / WAV).read_bytes()
    write(packed(root), wav)
    faults = faults_of("e-daic", root, audio_folder=str(tmp_path / "audio"))
    assert [fault.partition(": found ")[2].partition(";")[0] for fault in faults] == [
        "302_AUDIO.wav as a link", "302_Transcript.csv as a link",
    ]  # fmt: skip
    assert not list((tmp_path / "audio").rglob("*.wav"))


@pytest.mark.parametrize("form", ["w:gz", "zip"])
@pytest.mark.parametrize(
    ("limit", "size_of", "named"),
    [
        ("AUDIO_LIMIT", "wav", "302_AUDIO.wav"),
        ("TRANSCRIPT_LIMIT", "words", "302_Transcript.csv"),
        ("LARGEST_ARCHIVE", "both", "302_Transcript.csv"),
    ],
)
def test_sizes_are_bounded(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    size_of: str,
    named: str,
    form: str,
) -> None:
    wav = (root / "data" / WAV).stat().st_size
    size = {"wav": wav, "words": len(WORDS), "both": wav + len(WORDS)}[size_of]
    packed(root, form=form)
    monkeypatch.setattr(sessions, limit, size)
    assert faults_of("e-daic", root, audio_folder=str(tmp_path / "audio")) == []
    monkeypatch.setattr(sessions, limit, size - 1)
    (fault,) = faults_of("e-daic", root, audio_folder=str(tmp_path / "other"))
    assert "an archive that cannot be extracted" in fault
    assert f"{size} bytes" in fault
    assert named in fault
    if size_of == "wav":
        assert not list((tmp_path / "other").rglob("*.wav"))


def test_the_true_limits() -> None:
    limits = sessions.AUDIO_LIMIT, sessions.TRANSCRIPT_LIMIT, sessions.LARGEST_ARCHIVE
    assert limits == (4 * 2**30, 64 * 2**20, 64 * 2**30)


def repack(archive: Path, samples: int, level: float) -> None:
    wav = archive.parent / "new.wav"
    soundfile.write(wav, np.full(samples, level), 16_000, subtype="FLOAT")
    pack_e_daic(archive, {WAV: wav, TRANSCRIPT: WORDS})
    wav.unlink()


@pytest.mark.parametrize("age", [-10, 0, 10])
def test_audio_is_extracted_again_when_the_archive_is_another_one(
    root: Path, tmp_path: Path, age: int
) -> None:
    archive = packed(root)
    repack(archive, 64_000, 0.25)
    read = partial(load, "e-daic", root, audio_folder=str(tmp_path / "audio"))
    assert sound(read())[100] == pytest.approx(0.25)
    wav = tmp_path / "audio/302_P/302_AUDIO.wav"
    written = wav.stat().st_mtime_ns
    assert sound(read())[100] == pytest.approx(0.25)
    assert wav.stat().st_mtime_ns == written
    repack(archive, 64_000, 0.5)
    os.utime(archive, ns=(written - age * 10**9,) * 2)
    assert sound(read())[100] == pytest.approx(0.5)


def test_audio_that_was_extracted_and_is_damaged_is_extracted_again(root: Path, tmp_path: Path) -> None:
    packed(root)
    wav = tmp_path / "audio/302_P/302_AUDIO.wav"
    before = sound(load("e-daic", root, audio_folder=str(tmp_path / "audio")))
    size = wav.stat().st_size
    wav.write_bytes(wav.read_bytes()[:20].ljust(size, b"x"))
    assert sound(load("e-daic", root, audio_folder=str(tmp_path / "audio"))) == before


def test_audio_is_not_written_through_links_in_the_folder(root: Path, tmp_path: Path) -> None:
    packed(root)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio/302_P").symlink_to(tmp_path / "elsewhere")
    faults = faults_of("e-daic", root, audio_folder=str(tmp_path / "audio"))
    assert "audio/302_P: found a symbolic link" in faults[0]
    assert list((tmp_path / "elsewhere").iterdir()) == []
