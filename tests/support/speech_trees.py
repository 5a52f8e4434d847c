"""Small trees in the layouts of the field's corpora, and an ``ffmpeg`` that only pretends."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import soundfile

from sertransfer.corpora.prepare import read_corpus
from sertransfer.corpora.registry import CORPORA
from sertransfer.errors import BadInput, Faults
from sertransfer.manifest import Manifest
from support.corpus_trees import write_table, write_wav
from support.daic_tree import noise, silence


def load(corpus: str, root: Path, *, skip_bad: bool = False, **options: object) -> Manifest:
    """Extract what a corpus needs and read it; raises all its faults."""
    entry = CORPORA[corpus]
    faults = Faults(skip_bad=skip_bad)
    manifest = read_corpus(entry, root, entry.options(**options), faults)
    faults.raise_if_any()
    return manifest


def faults_of(corpus: str, root: Path, **options: object) -> list[str]:
    try:
        load(corpus, root, **options)
    except BadInput as refusal:
        return [str(fault) for fault in refusal.faults]
    return []


def labels_of(manifest: Manifest) -> dict[str, str]:
    return dict(zip(manifest.table["id"], manifest.table["label"], strict=True))


def reasons(manifest: Manifest) -> dict[str, str]:
    return {entry["item"]: entry["reason"] for entry in manifest.notes["left_out"]}


def write_ravdess(root: Path, actors: Iterable[int] = range(1, 6)) -> Path:
    for actor in actors:
        for emotion in range(1, 9):
            name = f"03-01-{emotion:02d}-01-01-01-{actor:02d}.wav"
            write_wav(root / f"Actor_{actor:02d}" / name)
    return root


def write_crema_d(root: Path, actors: Iterable[int] = range(1001, 1006)) -> Path:
    actors = list(actors)
    for actor in actors:
        for emotion in ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"):
            write_wav(root / "AudioWAV" / f"{actor}_IEO_{emotion}_XX.wav")
    rows = [
        {"ActorID": actor, "Age": 20 + actor % 50, "Sex": ("Male", "Female")[actor % 2], "Race": "Asian"}
        for actor in actors
    ]
    write_table(root / "VideoDemographics.csv", rows)
    return root


EMO_HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
IEMOCAP_CODES = ("neu", "hap", "exc", "ang", "sad", "fru", "sur", "fea", "dis", "oth", "xxx")


def write_iemocap(root: Path, sessions: Iterable[int] = range(1, 6)) -> Path:
    """Write a dialog a session, in whose name stands F; M says every second turn."""
    for session in sessions:
        dialog = f"Ses{session:02d}F_impro01"
        lines = []
        for number, code in enumerate(IEMOCAP_CODES):
            turn = f"{dialog}_{'FM'[number % 2]}{number:03d}"
            lines.append(f"[{number}.5000 - {number + 1}.2500]\t{turn}\t{code}\t[2.5000, 2.5000, 2.5000]")
            lines.append("C-E2:\tNeutral;\t()")
            write_wav(root / f"Session{session}/sentences/wav/{dialog}/{turn}.wav")
        folder = root / f"Session{session}/dialog/EmoEvaluation"
        folder.mkdir(parents=True)
        (folder / f"{dialog}.txt").write_text(EMO_HEADER + "\n".join(lines) + "\n")
        (folder / "Categorical").mkdir()
    return root


def write_aibo(root: Path, children: int = 3) -> Path:
    five, two = [], []
    for school in ("Ohm", "Mont"):
        for child in range(1, children + 1):
            for number, code in enumerate("AENPR"):
                name = f"{school}_{child:02d}_{number:03d}_00"
                write_wav(root / "wav" / f"{name}.wav")
                five.append(f"{name} {code} 0.8")
                two.append(f"{name} {'NEG' if code in 'AE' else 'IDL'} 0.6")
    (root / "chunk_labels_5cl_corpus.txt").write_text("\n".join(five) + "\n")
    (root / "chunk_labels_2cl_corpus.txt").write_text("\n".join(two) + "\n")
    return root


MELD_EMOTIONS = ("neutral", "joy", "anger", "sadness", "surprise", "fear", "disgust")
MELD_CLIPS = {
    "train": "train_splits",
    "dev": "dev_splits_complete",
    "test": "output_repeated_splits_test",
}


def write_video(path: Path, content: str = "sound") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content + "\n")
    return path


def meld_row(dialogue: object, utterance: object, emotion: str, speaker: str) -> dict[str, object]:
    return {
        "Sr No.": 1,
        "Utterance": '"Well, no, a ""secret"""',
        "Speaker": speaker,
        "Emotion": emotion,
        "Sentiment": "neutral",
        "Dialogue_ID": dialogue,
        "Utterance_ID": utterance,
    }


def write_meld(root: Path) -> Path:
    for part, folder in MELD_CLIPS.items():
        rows = []
        for number, emotion in enumerate(MELD_EMOTIONS):
            rows.append(meld_row(number, 0, emotion, ("Monica", "Ross", "Waiter", "Joey")[number % 4]))
            write_video(root / folder / f"dia{number}_utt0.mp4")
        write_table(root / f"{part}_sent_emo.csv", rows)
    return root


ENTERFACE_FOLDERS = {
    "anger": "an",
    "disgust": "di",
    "fear": "fe",
    "happiness": "ha",
    "sadness": "sa",
    "surprise": "su",
}


def write_enterface(root: Path, subjects: Iterable[int] = (1, 2, 3, 6)) -> Path:
    for subject in subjects:
        for folder, code in ENTERFACE_FOLDERS.items():
            for sentence in (1, 2):
                inside = "" if subject == 6 else f"sentence {sentence}/"
                write_video(root / f"subject {subject}/{folder}/{inside}s{subject}_{code}_{sentence}.avi")
    return root


def write_rml(root: Path, speakers: int = 4) -> Path:
    for speaker in range(1, speakers + 1):
        for code in ENTERFACE_FOLDERS.values():
            write_video(root / f"s{speaker}" / f"{code}1.avi")
    return root


def write_afew(root: Path) -> Path:
    for part in ("Train_AFEW", "Val_AFEW"):
        for emotion in ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"):
            for number in (1, 2):
                write_video(root / part / emotion / f"00{number}123.avi")
    return root


E_DAIC_HEADER = "Participant_ID,Gender,PHQ_Binary,PHQ_Score,PCL-C (PTSD),PTSD Severity"
WORDS = b'Start_Time,End_Time,Text,Confidence\n0.5,1.25,hello there,0.91\n2.0,3.5,"well, fine",0.8\n'


def e_daic_session(root: Path, number: int, words: bytes = WORDS, *, packed: bool = False) -> Path:
    """Write ``data/<id>_P``, or its archive."""
    folder = root / "data" / f"{number}_P"
    (folder / "features").mkdir(parents=True)
    (folder / "features" / f"{number}_vgg16.csv").write_text("0\n")
    noise(folder / f"{number}_AUDIO.wav", 4.0, 0.1)
    (folder / f"{number}_Transcript.csv").write_bytes(words)
    if not packed:
        return folder
    archive = root / "data" / f"{number}_P.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(folder, arcname=folder.name)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
    return archive


def e_daic_split(root: Path, split: str, rows: Sequence[str], header: str = E_DAIC_HEADER) -> Path:
    path = root / "labels" / f"{split}_split.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def write_e_daic(root: Path, *, packed: bool = False) -> Path:
    for split, number, row in (
        ("train", 302, "302,male,0,4,28,0"),
        ("dev", 300, "300,female,0,2,25,0"),
        ("test", 600, "600,female,1,12,40,1"),
    ):
        e_daic_session(root, number, packed=packed)
        e_daic_split(root, split, [row])
    return root


E_DAIC_ABSENT = {
    342, 394, 398, 460, 610, 611, 613, 614, 616, 621, 630, 639, *range(642, 649), 665, 668, 671, 672, 674,
    675, 678, 681, 685, 686, 690, 694, 700, 701, 704, 706, 711, 714,
}  # fmt: skip
"""Ids from 300 to 492 and 600 to 718 that do not exist."""
E_DAIC_TRAIN = {
    601,
    603,
    608,
    612,
    628,
    633,
    641,
    654,
    660,
    662,
    673,
    677,
    680,
    684,
    692,
    695,
    697,
    702,
    703,
    707,
}
E_DAIC_DEV = {617, 627, 632, 653, 657, 667, 670, 687, 698, 713}
E_DAIC_MISFITS = {
    "train": (325, 335, 352, 356, 380, 386, 409, 413, 418, 422, 459, 483, 633),
    "dev": (320, 344, 433),
    "test": (682, 691, 696, 709),
}
"""Subjects with PHQ_Binary 0 although their score is 10 or more."""
E_DAIC_RELEASED = {"train": 37, "dev": 12, "test": 17}
"""Subjects with PHQ_Binary 1."""


def e_daic_parts() -> dict[str, list[int]]:
    """Return the 275 subjects by part; which older sessions are dev is made up but for the misfits."""
    numbers = [n for n in (*range(300, 493), *range(600, 719)) if n not in E_DAIC_ABSENT]
    older = [n for n in numbers if n < 600]
    fixed = set(E_DAIC_MISFITS["train"]) | set(E_DAIC_MISFITS["dev"]) | {300, 302}
    dev = sorted([302, *E_DAIC_MISFITS["dev"], *[n for n in older if n not in fixed][::4][:42]])
    return {
        "train": sorted({*older, *E_DAIC_TRAIN}.difference(dev)),
        "dev": sorted([*dev, *E_DAIC_DEV]),
        "test": [n for n in numbers if n >= 600 and n not in E_DAIC_TRAIN | E_DAIC_DEV],
    }


def write_e_daic_labels(
    root: Path, folder: str = "labels", *, detailed: bool = False
) -> dict[str, list[int]]:
    """Write label files with the true ids, counts and quirks, and made-up scores; return the parts.

    With *detailed* the two further files are written too.
    """
    parts = e_daic_parts()
    home = root / folder
    home.mkdir(parents=True, exist_ok=True)
    details, items = [], []
    for split, members in parts.items():
        misfits = set(E_DAIC_MISFITS[split])
        positive = set([n for n in members if n not in misfits][: E_DAIC_RELEASED[split]])
        lines = [E_DAIC_HEADER]
        for n in members:
            score = 10 + n % 8 if n in positive | misfits else n % 10
            gender = "male" if n % 5 else "female"
            blank = " " if n in (307, 308, 309, 315) else ""
            severity = "NaN" if n in (669, 683) else str(17 + n % 40)
            lines.append(f"{n},{gender}{blank},{int(n in positive)},{score},{n % 2},{severity}")
            other = {431: "female", 485: "female", 486: "female", 656: "female", 713: "unknown"}.get(
                n, gender
            )
            details.append(f"{n},{score},{other},{20 + n % 50},{int(n in positive)},{split}")
            exchanged = {485: 486, 486: 485}.get(n, n)
            total = 10 + exchanged % 8 if exchanged in positive | misfits else exchanged % 10
            items += [f"{n},{total}"] if split != "test" else []
        # The test split has no line end at its end.
        text = "\n".join(lines) + ("" if split == "test" else "\n")
        (home / f"{split}_split.csv").write_text(text)
    if detailed:
        head = "Participant,Depression_severity,gender,age,Depression_label,split\n"
        (home / "detailed_lables.csv").write_text(head + "\n".join(details) + "\n")
        head = "Participant_ID,PHQ_8Total\n"
        (home / "Detailed_PHQ8_Labels.csv").write_text(head + "\n".join(items) + "\n")
    return parts


def write_whole_e_daic(root: Path, *, without: Iterable[str] = (), **labels: object) -> dict[str, list[int]]:
    """Write E-DAIC with its 275 sessions, each of four seconds; *without* names parts without folders."""
    parts = write_e_daic_labels(root, **labels)  # type: ignore[arg-type]
    for split, members in parts.items():
        for n in members if split not in set(without) else ():
            folder = root / "data" / f"{n}_P"
            folder.mkdir(parents=True)
            silence(folder / f"{n}_AUDIO.wav", 4.0)
            (folder / f"{n}_Transcript.csv").write_bytes(WORDS)
    return parts


def pack_e_daic(archive: Path, members: Mapping[str, bytes | Path], form: str = "w:gz") -> Path:
    """Write an archive of *members* by name; *form* is one of tarfile, or ``zip``."""
    contents = {name: item.read_bytes() if isinstance(item, Path) else item for name, item in members.items()}
    if form == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in contents.items():
                packed.writestr(zipfile.ZipInfo(name), content)
        return archive
    with tarfile.open(archive, form) as tar:  # type: ignore[call-overload]
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive


_FAKE = """#!/bin/sh
here=$(dirname "$0")
echo "$@" >> "$here/calls"
while [ $# -gt 1 ]; do
    [ "$1" = -i ] && video=$2
    shift
done
read -r content < "$video"
case $content in
    broken) echo "moov atom not found" >&2; printf half > "$1"; exit 1 ;;
    mute) exit 234 ;;
    short) head -c 1000 "$here/sound.wav" > "$1" ;;
    stereo) cp "$here/stereo.wav" "$1" ;;
    odd) echo "a remark" >&2; cp "$here/sound.wav" "$1" ;;
    *) cp "$here/sound.wav" "$1" ;;
esac
"""


def write_ffmpeg(folder: Path) -> Path:
    """Write a pretended ``ffmpeg`` that gives noise for a video, unless the video's text asks otherwise.

    It notes its arguments in the file ``calls`` beside itself.
    """
    folder.mkdir(parents=True)
    noise(folder / "sound.wav", 0.1, 0.1)
    sound, rate = soundfile.read(folder / "sound.wav")
    soundfile.write(folder / "sound.wav", sound, rate, subtype="PCM_16")
    soundfile.write(folder / "stereo.wav", sound.reshape(-1, 2), rate)
    program = folder / "ffmpeg"
    program.write_text(_FAKE)
    program.chmod(0o755)
    return folder


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []
