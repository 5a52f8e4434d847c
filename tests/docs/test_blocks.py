"""Every block of the README and of the pages runs, on small generated corpora; what does not says why.

A page's blocks run one after the other in a folder of the page's own, in which ``configs`` and ``recipes``
are copies of the project's, and ``exp/demo`` is what ``make demo`` leaves, unless the page makes it. What is
the reader's own is replaced by stand-ins: see :data:`STAND_INS`. Commands run as written,
with less to do: see ``quick.py``. A block that names a file (``# file: NAME`` in its first line) becomes that
file.

What is not run: ``make TARGET``, which installs; the Makefile must have the target. And what stands behind
``<!-- not run: REASON -->``. Both are counted aloud.
"""

import json
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import soundfile
import yaml
from blocks import PAGES, PLAIN, PROJECT, Block, blocks_of
from support.espnet_fakes import make_config, make_experiment
from support.finetune_fakes import make_ssl
from support.published_files import make_network, save
from support.warm_cli import warm_cli

from sertransfer.demo.corpora import make_daic_woz, make_iemocap, make_lssed

STAND_INS = {
    "/data/LSSED": "corpora/lssed",
    "/data/IEMOCAP": "corpora/iemocap",
    "/data/DAIC-WOZ": "corpora/daic-woz",
    "/data/mine": "mine",
    "/data/my_recordings": "recordings",
    "/models/espnet/exp/asr_train": "recogniser/exp/asr_train",
    "/models/hubert_base": "ssl",
    "some_speech/": "speech",
    "PyResNet152.pth": "published.pth",
    "exp/ser/checkpoints/model.safetensors": "model.safetensors",
    "exp/demo/corpora/daic-woz/306_P": "interview/306_P",
    "--tune 30": "--tune 2",
    "--onnx": "",
}
"""What a page says, and what stands for it: a path in the folder of what is prepared, or an option.

The packages that ``--onnx`` takes are an extra, which these tests do without.
"""

SECONDS = 240
"""After so long a block has hung."""

NOTEBOOKS = sorted((PROJECT / "docs").glob("**/*.ipynb"))

SHELLS = ("bash", "sh", "shell")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Small corpora, models and files for all pages, each made once."""
    place = tmp_path_factory.mktemp("prepared")
    make_lssed(place / "corpora/lssed", speakers=6, utterances_per_speaker=8)
    make_iemocap(place / "corpora/iemocap", dialogs=1, turns=9)
    make_daic_woz(place / "corpora/daic-woz", sessions=(10, 6, 1))
    make_experiment(place / "recogniser", make_config("conformer"))
    make_ssl(place / "ssl")
    recordings = sorted((place / "corpora/lssed/wav_all").glob("*.wav"))
    for number, name in enumerate(("anna", "bert", "carl", "dora", "emil")):
        for place_, code in enumerate(("ang", "neu", "joy", "sad")):
            target = place / "recordings" / f"{name}_{code}_{place_}.wav"
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(recordings[4 * number + place_].read_bytes())
    labels = {"ang": "angry", "neu": "neutral", "joy": "happy", "sad": "sad"}
    (place / "mine").mkdir()
    rows = ["audio,speaker,label,split"]
    for path in sorted((place / "recordings").glob("*.wav")):
        speaker, code, _ = path.stem.split("_")
        (place / "mine" / path.name).write_bytes(path.read_bytes())
        rows.append(f"{path.name},{speaker},{labels[code]},{'test' if speaker == 'emil' else 'train'}")
    (place / "mine" / "table.csv").write_text("\n".join(rows) + "\n")
    session = next((place / "corpora/daic-woz").glob("*_P"))
    (place / "interview/306_P").mkdir(parents=True)
    for path in session.iterdir():
        shutil.copy(path, place / "interview/306_P" / path.name.replace(session.name[:3], "306"))
    (place / "speech").mkdir()
    for path in recordings[:3]:
        samples, rate = soundfile.read(path)
        soundfile.write(place / "speech" / path.name, samples, rate)
    save(make_network(), place / "published.pth")
    for name in ("recipes", "configs"):
        (place / name).symlink_to(PROJECT / name)
    settings = {
        "model": {"name": "pyresnet_tiny", "width": 0.0625},
        "front_end": {"mels": 128},
        "cropping": {"seconds": 1.0},
        "epochs": 1,
        "batch_size": 16,
        "checkpoint_every": 0,
    }
    (place / "quick.yaml").write_text(yaml.safe_dump(settings))
    return place


@pytest.fixture(scope="module")
def environment(tmp_path_factory, prepared):
    """The environment of the blocks, in which ``sertransfer`` and ``python`` start at once."""
    folder, quick = tmp_path_factory.mktemp("warm"), tmp_path_factory.mktemp("quick")
    with warm_cli(folder) as given:
        words = [
            sys.executable,
            "-I",
            "-S",
            PROJECT / "tests/docs/quick.py",
            prepared,
            folder / "sertransfer",
        ]
        scripts = {
            "sertransfer": " ".join(shlex.quote(str(word)) for word in words),
            "python": shlex.quote(str(folder / "warm-python")),
        }
        for name, command in scripts.items():
            (quick / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (quick / name).chmod(0o755)
        yield {**given, "PATH": f"{quick}:{given['PATH']}", "NO_COLOR": "1"}


@pytest.fixture(scope="module")
def demo(prepared, environment):
    """What ``make demo`` leaves, for pages that begin with it, and a model of stage 1 for the others."""
    shell(
        """
        mkdir demo
        cp -r corpora demo/corpora
        cp -r recogniser demo/asr
        sertransfer prepare lssed demo/corpora/lssed -o lssed.csv --split speaker
        sertransfer pretrain --manifest lssed.csv --run-dir demo/ser
        cp demo/ser/checkpoints/model.safetensors model.safetensors
        transfer() {
            recipes/daic_transfer.sh --encoder $1 --checkpoint $2 --daic-root demo/corpora/daic-woz \\
                --run-dir demo/daic_$1
        }
        transfer ser $PWD/model.safetensors
        transfer asr $PWD/demo/asr/exp/asr_train
        """,
        prepared,
        environment,
    )
    return prepared / "demo"


MAKES_THE_DEMO = "sertransfer demo exp/demo/corpora"


def without_make(code: str) -> str:
    """Return the lines that call no target of the Makefile; a target must be there."""
    lines = []
    for line in code.splitlines():
        words = line.split()
        if words[:1] == ["make"]:
            assert f"\n{words[1]}:" in (PROJECT / "Makefile").read_text(), f"the Makefile has no {words[1]}"
        else:
            lines.append(line)
    return "\n".join(lines)


def shell(code, folder, environment):
    code = without_make(code)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    said = (done.stdout + done.stderr)[-3000:]
    assert done.returncode == 0, f"{code}\nended with status {done.returncode}:\n{said}"
    return done.stdout


def stood_in(text, prepared):
    for name, place in STAND_INS.items():
        text = text.replace(name, place if name.startswith("--") else str(prepared / place))
    return text


def run(block: Block, folder: Path, prepared: Path, environment: dict[str, str]) -> None:
    """Run a block in *folder*, or write the file that it is the content of."""
    code = stood_in(block.code, prepared)
    if block.file:
        target = folder / stood_in(block.file, prepared)
        if target.is_relative_to(prepared):
            return  # it shows what a reader's own file looks like
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("a" if block.added else "w") as file:
            file.write(code)
        if block.language == "yaml":
            assert isinstance(yaml.safe_load(code), dict), block.where
    elif block.language in SHELLS:
        shell(code, folder, environment)
    elif block.language == "python":
        script = folder / "block.py"
        script.write_text(code)
        shell("python block.py", folder, environment)
    elif block.language in ("yaml", "yml"):
        assert yaml.safe_load(code) is not None, block.where
    else:
        assert block.language in PLAIN, f"{block.where}: no way to run a block of '{block.language}'"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebooks_run(path, tmp_path, prepared, environment, demo):
    """The cells run in one namespace, in the folder that the notebook is started in."""
    (tmp_path / "exp").mkdir()
    shutil.copytree(demo, tmp_path / "exp/demo")
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    code = "\n\n".join("".join(cell["source"]) for cell in cells)
    script = tmp_path / "block.py"
    script.write_text('import matplotlib\n\nmatplotlib.use("Agg")\n' + code)
    shell("python block.py", tmp_path, environment)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebooks_are_kept_without_outputs(path):
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


def runs(page: Path) -> bool:
    return any(not block.reason and block.language not in PLAIN for block in blocks_of(page))


@pytest.mark.parametrize("page", filter(runs, PAGES), ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page, tmp_path, prepared, environment, demo):
    for name in ("configs", "recipes"):
        shutil.copytree(PROJECT / name, tmp_path / name)
    if MAKES_THE_DEMO not in page.read_text():
        shutil.copytree(demo, tmp_path / "exp/demo")
    for block in blocks_of(page):
        if not block.reason:
            run(block, tmp_path, prepared, environment)


def test_what_is_not_run_is_said(capsys):
    left_out = [block for page in PAGES for block in blocks_of(page) if block.reason]
    ran = [b for page in PAGES for b in blocks_of(page) if not b.reason and b.language not in PLAIN]
    with capsys.disabled():
        print(f"\nblocks of the pages: {len(ran)} run, {len(left_out)} not")
        for block in left_out:
            print(f"  {block.where}: {block.reason}")
    assert all(len(block.reason) > 10 for block in left_out)
    assert len(ran) > 2 * len(left_out)


def test_a_block_is_found_whatever_its_form():
    text = (
        "Words\n\n    sertransfer models\n    sertransfer corpora\n\n- item\n\n    its second paragraph\n\n"
        "<!-- not run: takes a GPU -->\n\n    make bench-gpu\n\n```python\n# file: a.py\nx = 1\n```\n"
    )
    found = blocks_of(PROJECT / "docs/index.md", text)
    assert [(b.language, b.code.strip(), b.file, b.reason) for b in found] == [
        ("bash", "sertransfer models\nsertransfer corpora", "", ""),
        ("bash", "make bench-gpu", "", "takes a GPU"),
        ("python", "x = 1", "a.py", ""),
    ]


def test_a_failing_block_fails(tmp_path, environment, prepared):
    block = Block(PROJECT / "README.md", 1, "bash", "sertransfer corpora no-such\necho on\n", "", "")
    with pytest.raises(AssertionError, match="ended with status 2"):
        run(block, tmp_path, prepared, environment)


def test_no_page_has_two_blocks_of_one_file():
    for page in PAGES:
        names = Counter(block.file for block in blocks_of(page) if block.file and not block.added)
        assert all(count == 1 for count in names.values()), (page, names)
