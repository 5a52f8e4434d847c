from dataclasses import dataclass, field
from typing import Literal

import pytest

from sertransfer.config import config_dict, describe_settings, load_config, setting_names
from sertransfer.errors import BadInput
from sertransfer.front_end import PRESETS, Cropping, Denoise, FrontEnd
from sertransfer.timebase import PRESETS as FRAMINGS


@dataclass(frozen=True)
class Settings:
    """Settings of a test."""

    front_end: FrontEnd = field(default_factory=FrontEnd)
    cropping: Cropping = field(default_factory=Cropping)
    classes: tuple[str, ...] = ("a", "b")
    options: dict[str, float] = field(default_factory=dict)
    kind: Literal["on", "off"] = "on"
    epochs: int = 3
    name: str = "x"


def test_defaults():
    assert load_config(Settings) == Settings()


def test_yaml_then_overrides(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "epochs: 5\ncropping: {seconds: 2}\nfront_end:\n  framing: 25ms\n  denoise: {method: none}\n"
    )
    config = load_config(Settings, path, {"cropping.seconds": "3", "name": "007", "kind": "off"})
    assert config.epochs == 5
    assert config.cropping == Cropping(seconds=3.0)
    assert config.front_end.framing == FRAMINGS["25ms"]
    assert config.front_end.denoise == Denoise(method="none")
    assert config.name == "007"
    assert config.kind == "off"


def test_lists_and_tables_on_the_command_line():
    config = load_config(Settings, None, {"classes": "03, no", "options": "{width: 0.5}"})
    assert config.classes == ("03", "no")
    assert config.options == {"width": 0.5}
    assert load_config(Settings, None, {"classes": "[c, d]"}).classes == ("c", "d")


def test_resolved_values_read_back(tmp_path):
    config = load_config(Settings, None, {"front_end.framing": "40/10ms", "cropping.pad": "true"})
    assert load_config(Settings, None, config_dict(config)) == config


def test_every_fault_with_the_nearest_key():
    with pytest.raises(BadInput) as caught:
        load_config(
            Settings, None, {"front_end.framin.hop": "1", "epochs": "many", "kind": "maybe", "front_end": "1"}
        )
    text = str(caught.value)
    assert len(caught.value.faults) == 4
    assert "did you mean 'front_end.framing.hop'" in text
    assert "epochs = 'many'; expected a whole number" in text
    assert "kind = 'maybe'" in text


def test_values_that_contradict_each_other():
    with pytest.raises(BadInput, match="hop <= window"):
        load_config(Settings, None, {"front_end.framing.hop": "5000"})


@pytest.mark.parametrize(
    "text", ["a: [", "- 1\n", "!!python/object/apply:os.system [echo]", "x: !!python/name:os.system"]
)
def test_what_is_not_plain_yaml_is_refused(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"c\.yaml"):
        load_config(Settings, path)


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(BadInput, match="no file"):
        load_config(Settings, tmp_path / "none.yaml")
    (tmp_path / "empty.yaml").touch()
    assert load_config(Settings, tmp_path / "empty.yaml") == Settings()


def test_a_config_of_the_project_is_named_where_its_name_alone_is_given(tmp_path):
    with pytest.raises(BadInput, match=r"current folder; did you mean /.*/configs/pretrain/small\.yaml\?"):
        load_config(Settings, tmp_path / "small")
    with pytest.raises(BadInput, match=r"starts from the current folder$"):
        load_config(Settings, tmp_path / "[s]mall.yaml")


def test_choices_are_listed_once():
    with pytest.raises(BadInput) as caught:
        load_config(Settings, None, {"kind": "onn"})
    assert str(caught.value).endswith("found kind = 'onn'; expected one of on, off; did you mean 'on'?")
    with pytest.raises(BadInput, match="expected one of on, off; choose one of them"):
        load_config(Settings, None, {"kind": "zzz"})


def test_a_broken_override_stays_text():
    assert load_config(Settings, None, {"name": "[a"}).name == "[a"
    with pytest.raises(BadInput, match="epochs"):
        load_config(Settings, None, {"epochs": "[a"})


def test_a_setting_taken_for_a_group():
    with pytest.raises(BadInput, match="epochs"):
        load_config(Settings, None, {"epochs": "1", "epochs.x": "2"})


def test_settings_are_described():
    text = describe_settings(Settings)
    assert text.startswith("Settings of a test.")
    assert "--front_end.framing.hop 512  (whole number)" in text
    assert "front_end.denoise.floor" in setting_names(Settings)


def test_front_end_reads_back_and_refuses_unknown_keys():
    front_end = FrontEnd(framing=FRAMINGS["25ms"], denoise=Denoise(method="none"), log="db")
    assert FrontEnd.from_dict(front_end.as_dict()) == front_end
    assert FrontEnd.from_dict({"framing": "25ms"}).framing == FRAMINGS["25ms"]
    with pytest.raises(BadInput, match=r"did you mean 'mels'"):
        FrontEnd.from_dict({"mel": 1})
    assert all(load_config(FrontEnd, None, preset) for preset in PRESETS.values())


@dataclass(frozen=True)
class Optimiser:
    """Nested settings."""

    lr: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class Training:
    """Settings with the same last part twice."""

    optimiser: Optimiser = field(default_factory=Optimiser)
    other: Optimiser = field(default_factory=Optimiser)
    cropping: Cropping = field(default_factory=Cropping)
    learning_rate_steps: int = 1
    rule: int = 1


def test_the_last_part_names_a_setting_where_only_one_ends_so():
    assert load_config(Training, None, {"seconds": "3"}).cropping.seconds == 3.0
    with pytest.raises(BadInput, match=r"did you mean 'optimiser.lr' or 'other.lr'"):
        load_config(Training, None, {"lr": "3"})
    both = load_config(Training, None, {"cropping.seconds": "2"})
    assert both.cropping.seconds == 2.0
    with pytest.raises(BadInput, match=r"did you mean 'cropping.seconds'"):
        load_config(Training, None, {"cropping.seconds": "2", "seconds": "3"})


def test_the_nearest_setting_compares_last_parts(tmp_path):
    with pytest.raises(BadInput, match=r"did you mean 'cropping.seconds'"):
        load_config(Training, None, {"secnds": "3"})
    for swapped in ("rl", "optimizer.rl"):
        with pytest.raises(BadInput, match=r"did you mean 'optimiser.lr' or 'other.lr'\?"):
            load_config(Training, None, {swapped: "3"})
    path = tmp_path / "c.yaml"
    path.write_text("training: {seconds: 3}\n")
    with pytest.raises(BadInput, match=r"setting 'training.seconds'.*did you mean 'cropping.seconds'"):
        load_config(Training, path)
