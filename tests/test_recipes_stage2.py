"""Stage 2's recipes with every encoder, mode and head tuning, the framing ablation, on generated speech."""

import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch
import torchaudio
import yaml
from support.espnet_fakes import make_config, make_experiment, pack
from support.speech_trees import write_e_daic
from support.warm_cli import warm_recipes

from sertransfer.config import load_config
from sertransfer.demo.corpora import make_daic_woz, make_lssed
from sertransfer.front_end import Cropping, FrontEnd
from sertransfer.models.checkpoint import Checkpoint, write_checkpoint
from sertransfer.models.registry import build_model
from sertransfer.transfer.tuning.space import TuneConfig

PROJECT = Path(__file__).parents[1]
CONFIGS = PROJECT / "configs/transfer"
ENCODERS = ("ser", "asr", "ssl")
QUICK = ("--resamples", "20", "--folds", "2", "--shortcuts", "false")
PROBE = ("--probe.c_grid", "[0.01]")
FINETUNE = ("--finetune.epochs", "1", "--finetune.batch_size", "64")
TUNE = ("--outer_folds", "2", "--space.heads", "[logistic]", "--space.pca", "[0]")


def write_ser(path):
    torch.manual_seed(0)
    options = {"width": 0.0625}
    state = build_model("pyresnet_tiny", 4, **options).state_dict()
    classes, front_end = ("angry", "neutral", "happy", "sad"), FrontEnd(mels=32)
    write_checkpoint(
        Checkpoint("pyresnet_tiny", options, classes, front_end, Cropping(0.2), state, {"corpus": "x"}), path
    )
    return path


def write_ssl(folder):
    """Write a HuBERT of one narrow block, with fewer and shorter convolutions than the published."""
    options = {
        **torchaudio.pipelines.HUBERT_BASE._params,
        "extractor_conv_layer_config": [[4, 10, 5], [4, 8, 8], [4, 4, 4]],
        "encoder_embed_dim": 8,
        "encoder_pos_conv_kernel": 8,
        "encoder_pos_conv_groups": 4,
        "encoder_num_layers": 1,
        "encoder_num_heads": 2,
        "encoder_ff_interm_features": 8,
    }
    torch.manual_seed(0)
    state = torchaudio.models.wav2vec2_model(**options).state_dict()
    folder.mkdir()
    safetensors.torch.save_file(state, str(folder / "model.safetensors"))
    (folder / "config.yaml").write_text(yaml.safe_dump({"family": "hubert", "model": options}))
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("stage2")
    make_daic_woz(place / "daic", sessions=(10, 4, 1))
    return place


@pytest.fixture(scope="module")
def weights(place):
    return {
        "ser": write_ser(place / "ser.safetensors"),
        "asr": make_experiment(place / "asr", make_config("conformer"))[0],
        "ssl": write_ssl(place / "ssl"),
    }


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    with warm_recipes(tmp_path_factory.mktemp("bin")) as run:
        yield run


@pytest.fixture(scope="module")
def stage_2(place, weights, recipe):
    """Return what runs the recipe for an encoder; its first two stages are shared, being the same."""
    done = recipe(
        "daic_transfer.sh", "--encoder", "ser", "--checkpoint", weights["ser"],
        "--daic-root", place / "daic", "--run-dir", place / "first", "--stop-stage", 2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    def run(encoder, *words, name, settings=()):
        folder = place / name
        folder.mkdir(exist_ok=True)
        for file in ("manifest.csv", "manifest.json"):
            shutil.copy2(place / "first" / file, folder / file)
        return recipe(
            "daic_transfer.sh", "--encoder", encoder, "--checkpoint", weights[encoder],
            "--daic-root", place / "daic", "--run-dir", folder, "--stage", 3, *words,
            "--", "--embeddings", place / "embeddings", *settings,
        )  # fmt: skip

    return run


def tuned(settings):
    return [word.replace("--", "--transfer.") for word in settings]


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("mode", ["probe", "finetune"])
def test_each_encoder_in_each_mode(place, stage_2, encoder, mode):
    if not (CONFIGS / f"{encoder}_{mode}.yaml").exists():
        pytest.skip(f"configs/transfer has no {encoder}_{mode}.yaml yet")
    name = f"{encoder}_{mode}"
    done = stage_2(encoder, "--mode", mode, name=name, settings=(*QUICK, *PROBE, *FINETUNE))
    assert done.returncode == 0, done.stderr
    metrics = json.loads((place / name / "metrics.json").read_text())
    assert (metrics["encoder"], metrics["mode"], metrics["split"]) == (encoder, mode, "dev")
    assert metrics["subject"]["n"] == 4
    assert metrics["generated"] is True
    assert len(metrics["subject"]["wa_ci95"]) == 2
    again = stage_2(encoder, "--mode", mode, name=name, settings=(*QUICK, *PROBE, *FINETUNE))
    assert "stage 3: embed, train the head and score: done before with the same inputs" in again.stdout


@pytest.mark.parametrize("encoder", ENCODERS)
def test_each_encoder_with_head_tuning(place, stage_2, encoder):
    name = f"{encoder}_tune"
    done = stage_2(encoder, "--tune", 2, name=name, settings=(*TUNE, *tuned(QUICK)))
    assert done.returncode == 0, done.stderr
    metrics = json.loads((place / name / "metrics.json").read_text())
    assert (metrics["encoder"], metrics["mode"]) == (encoder, "probe")
    trials = pd.read_csv(place / name / "trials.csv")
    assert trials.groupby("study").size().to_dict() == {"final": 2, "outer-1": 2, "outer-2": 2}
    assert yaml.safe_load((place / name / "best.yaml").read_text())["probe"]["head"] == "logistic"


def test_encoders_are_searched_alike():
    ser, *others = (load_config(TuneConfig, CONFIGS / f"{encoder}_tune.yaml", {}) for encoder in ENCODERS)
    assert all(other == ser for other in others)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_each_encoder_with_tuning_of_fine_tuning(place, stage_2, encoder):
    name = f"{encoder}_finetune_tune"
    settings = tuned((*QUICK, *FINETUNE))
    done = stage_2(encoder, "--mode", "finetune", "--tune", 1, name=name, settings=settings)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((place / name / "metrics.json").read_text())
    assert (metrics["encoder"], metrics["mode"]) == (encoder, "finetune")
    assert len(pd.read_csv(place / name / "trials.csv")) == 1
    assert yaml.safe_load((place / name / "best.yaml").read_text())["mode"] == "finetune"


def test_e_daic_is_prepared_in_place_of_daic_woz(tmp_path, weights, recipe):
    done = recipe(
        "daic_transfer.sh", "--encoder", "ser", "--checkpoint", weights["ser"], "--corpus", "e-daic",
        "--daic-root", write_e_daic(tmp_path / "e"), "--run-dir", tmp_path / "run", "--stop-stage", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(pd.read_csv(tmp_path / "run/manifest.csv")["corpus"]) == {"e-daic"}


def test_changed_weights_are_seen_inside_a_folder(place, weights, stage_2):
    words = ("asr", "--mode", "probe")
    assert stage_2(*words, name="changed", settings=(*QUICK, *PROBE)).returncode == 0
    file = weights["asr"] / "valid.acc.ave_10best.pth"
    before = file.read_bytes()
    state = torch.load(file, weights_only=True)
    try:
        torch.save(
            {name: tensor + 0.1 if "encoder" in name else tensor for name, tensor in state.items()}, file
        )
        done = stage_2(*words, name="changed", settings=(*QUICK, *PROBE))
    finally:
        file.write_bytes(before)
    assert "done before" not in done.stdout
    assert done.returncode == 2  # the folder is another encoder's
    assert "inputs.json: found encoder = " in done.stderr
    again = stage_2(*words, name="changed", settings=(*QUICK, *PROBE))
    assert "done before" in again.stdout


def hashed(path):
    command = f'source "{PROJECT}/recipes/stages.sh"; hash_weights "$1"'
    done = subprocess.run(
        ["bash", "-c", command, "recipes/x", path], capture_output=True, text=True, check=True
    )
    assert not done.stderr
    return done.stdout.strip()


def test_weights_are_hashed_by_content(tmp_path):
    config = make_config("rnn")
    folder = tmp_path / "a/exp/asr_train"
    statistics = tmp_path / "a/exp/asr_stats/train/feats_stats.npz"
    for file in (folder / "sub/model.pth", statistics):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"1")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    first = hashed(folder)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert hashed(tmp_path / "b/exp/asr_train") == first
    seen = {first}
    for change in (
        lambda: (folder / "sub/model.pth").write_bytes(b"2"),
        lambda: statistics.write_bytes(b"2"),
        lambda: (folder / "sub/model.pth").rename(folder / "sub/other.pth"),
        lambda: statistics.unlink(),
    ):
        change()
        assert hashed(folder) not in seen
        seen.add(hashed(folder))


def test_an_archive_is_hashed_by_content(tmp_path, weights):
    root = weights["asr"].parents[1]
    archives = [pack(root, tmp_path / f"{name}.zip") for name in "ab"]
    assert hashed(archives[0]) == hashed(archives[1])
    with archives[0].open("ab") as file:
        file.write(b"x")
    assert hashed(archives[0]) != hashed(archives[1])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--tune", "0"), "--tune: found '0'"),
        (("--tune", "many"), "--tune: found 'many'"),
        (("--tune",), "--tune: found no value"),
        (("--corpus", "lssed"), "--corpus: found 'lssed'"),
        (("--mode", "guess"), "found no config"),
    ],
)
def test_bad_options_are_refused(recipe, place, weights, words, expected):
    done = recipe(
        "daic_transfer.sh",
        "--encoder",
        "ser",
        "--checkpoint",
        weights["ser"],
        "--daic-root",
        place / "daic",
        *words,
    )
    assert done.returncode == 2
    assert expected in done.stderr


@pytest.fixture(scope="module")
def ablation(place, weights, recipe):
    make_lssed(place / "lssed", speakers=6, utterances_per_speaker=8)
    # without a config for the recogniser's fine-tuning its rows cannot be asked for
    asr = ("--asr", weights["asr"]) if (CONFIGS / "asr_finetune.yaml").exists() else ()
    words = (
        "--lssed-root", place / "lssed", "--daic-root", place / "daic", "--run-dir", place / "grid",
        "--framings", "40/20ms 65ms", "--model", "pyresnet_tiny", *asr,
        "--pretrain-config", PROJECT / "configs/pretrain/demo.yaml",
    )  # fmt: skip
    settings = (
        "--", *QUICK, *PROBE, *FINETUNE, "--pretrain.epochs", 1, "--pretrain.front_end.mels", 32,
        "--prepare-a.split", "speaker",
    )  # fmt: skip

    def run(*more):
        return recipe("framing_ablation.sh", *words, *more, *settings)

    return run, run()


def test_the_grid_of_framings_ends_in_one_table(place, ablation):
    run, done = ablation
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(place / "grid/tables.csv")
    ser = table[table["encoder"] == "SER"]
    assert list(zip(ser["framing"], ser["mode"], ser["run"], strict=True)) == [
        ("40/20ms", "probe", "ser_40-20ms_probe"),
        ("40/20ms", "finetune", "ser_40-20ms_finetune"),
        ("65ms", "probe", "ser_65ms_probe"),
        ("65ms", "finetune", "ser_65ms_finetune"),
    ]
    if (CONFIGS / "asr_finetune.yaml").exists():
        asr = table[table["encoder"] == "ASR"]
        assert list(zip(asr["framing"], asr["mode"], strict=True)) == [
            ("25ms", "probe"),
            ("25ms", "finetune"),
        ]
    assert list(table["encoder"])[-1] == "majority class"
    assert table["remark"].str.contains("generated data").all()
    assert table["wa_low"].notna().sum() == len(table) - 1
    for name in ("tables.tex", "tables.html"):
        assert "SER" in (place / "grid" / name).read_text()
    assert "Subjects by encoder, framing and mode" in done.stdout
    again = run("--stop-stage", 4)
    assert again.returncode == 0
    assert again.stdout.count("done before with the same inputs") == 2 + 2 + len(table) - 1


def test_a_checkpoint_of_another_framing_stops_its_row_alone(place, ablation):
    run, _ = ablation
    checkpoint = "checkpoints/model.safetensors"
    own = place / "grid/ser_40-20ms" / checkpoint
    before = own.read_bytes()
    shutil.copy(place / "grid/ser_65ms" / checkpoint, own)
    try:
        done = run("--stage", 4, "--modes", "probe")
    finally:
        own.write_bytes(before)
    assert done.returncode == 2
    assert "a model trained with framing 65ms" in done.stderr
    assert "expected framing 40/20ms" in done.stderr
    assert "failed, and not in the table: ser_40-20ms_probe" in done.stderr
    table = pd.read_csv(place / "grid/tables.csv")
    assert "ser_40-20ms_probe" not in set(table["run"])
    assert "ser_65ms_probe" in set(table["run"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--lssed-root", "/"), "--lssed-root or --daic-root is missing"),
        (("--lssed-root", "/", "--daic-root", "/no/such"), "found no folder '/no/such'"),
        (("--lssed-root", "/", "--daic-root", "/", "--framings", "65ms wide"), "--framings: found 'wide'"),
        (("--lssed-root", "/", "--daic-root", "/", "--asr", "/no/such"), "--asr: found nothing"),
        (("--lssed-root", "/", "--daic-root", "/", "--modes", "guess"), "ser_guess.yaml"),
        (("--lssed-root", "/", "--daic-root", "/", "--pretrain-config", "x.yaml"), "--pretrain-config"),
        (("--roots", "/"), "found '--roots'"),
    ],
)
def test_bad_options_of_the_ablation_are_refused(recipe, words, expected):
    done = recipe("framing_ablation.sh", *words)
    assert done.returncode == 2
    assert expected in done.stderr


def test_help(recipe):
    done = recipe("framing_ablation.sh", "--help")
    assert done.returncode == 0
    assert "--stop-stage" in done.stdout
