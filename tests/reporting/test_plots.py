import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from sertransfer.errors import BadInput
from sertransfer.reporting.plots import (
    INK,
    plot_confusion,
    plot_label_shares,
    plot_learning_curves,
    plot_subject_scores,
)
from sertransfer.reporting.rendering import inline_svg

SUBJECTS = pd.DataFrame(
    {
        "subject": ["300", "301", "302"],
        "label": ["depressed", "not depressed", "depressed"],
        "score": [0.2, 0.4, 0.9],
        "undecided": ["False", "True", "False"],
    }
)


def texts(path):
    """Return the texts of a figure."""
    found = re.findall(r"<text[^>]*>(.*?)</text>", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [match.strip() for match in found]


def test_a_confusion_matrix_shows_shares_of_the_truth_and_counts(tmp_path):
    plot_confusion([[3, 1], [0, 0]], ["calm", "angry"], tmp_path / "c.svg", title="Counts")
    found = texts(tmp_path / "c.svg")
    for text in ("75.0%", "3", "25.0%", "1", "no item", "calm", "angry", "Counts", "truth", "predicted"):
        assert text in found


@pytest.mark.parametrize("suffix", ["png", "svg", "PNG"])
def test_the_suffix_decides_the_format(tmp_path, suffix):
    path = tmp_path / f"c.{suffix}"
    plot_confusion([[1, 0], [0, 1]], ["a", "b"], path, title="t")
    assert path.read_bytes().startswith({"png": b"\x89PNG", "svg": b"<?xml"}[suffix.lower()])
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"suffix '\.jpg'"):
        plot_confusion([[1]], ["a"], tmp_path / "c.jpg", title="t")


def test_names_are_drawn_as_they_are(tmp_path):
    name = r"$\frac{1$ <b>"
    plot_confusion([[1, 0], [0, 1]], [name, "b"], tmp_path / "c.svg", title=name)
    assert "<b>" not in tmp_path.joinpath("c.svg").read_text()


def test_label_shares_are_of_their_sum_and_sorted(tmp_path):
    plot_label_shares({"sad": 1, "happy": 3, "gone": 0}, tmp_path / "s.svg")
    found = texts(tmp_path / "s.svg")
    assert found.index("happy  75.0%") < found.index("sad  25.0%")
    assert not any("gone" in text for text in found)


def test_label_shares_of_nothing_are_refused(tmp_path):
    with pytest.raises(BadInput, match="none above 0"):
        plot_label_shares({"sad": 0}, tmp_path / "s.svg")


def test_many_labels_repeat_colours_without_failing(tmp_path):
    plot_label_shares({f"label {index}": index + 1 for index in range(11)}, tmp_path / "s.svg")
    assert sum(text.startswith("label ") for text in texts(tmp_path / "s.svg")) == 11


def test_learning_curves_from_a_file_and_a_table(tmp_path):
    epochs = pd.DataFrame(
        {"epoch": [1, 2, 3], "loss": [2.0, 1, 0.5], "train_wa": [0.3, 0.5, np.nan], "lr": 0.1}
    )
    epochs.to_csv(tmp_path / "epochs.csv", index=False)
    plot_learning_curves(tmp_path / "epochs.csv", tmp_path / "one.svg")
    plot_learning_curves(epochs.drop(columns="train_wa"), tmp_path / "two.svg")
    one, two = texts(tmp_path / "one.svg"), texts(tmp_path / "two.svg")
    assert {"loss", "accuracy", "train_wa", "epoch"} <= set(one)
    assert "lr" not in one
    assert "accuracy" not in two


def test_learning_curves_need_epochs_and_a_curve(tmp_path):
    with pytest.raises(BadInput, match="columns epoch, lr"):
        plot_learning_curves(pd.DataFrame({"epoch": [1], "lr": [0.1]}), tmp_path / "x.svg")


def test_subject_scores_name_threshold_and_undecided(tmp_path):
    plot_subject_scores(SUBJECTS, 0.5, tmp_path / "s.svg", classes=["not depressed", "depressed"])
    found = texts(tmp_path / "s.svg")
    for text in ("threshold 0.5", "depressed", "not depressed (undecided)", "300", "301", "302"):
        assert text in found
    assert "not depressed" not in found  # the only one of them is undecided


def test_many_subjects_are_not_named(tmp_path):
    many = pd.concat([SUBJECTS.drop(columns="undecided")] * 30)
    plot_subject_scores(many, 0.5, tmp_path / "s.svg")
    assert "300" not in texts(tmp_path / "s.svg")


def test_no_state_of_matplotlib_is_touched(tmp_path):
    import matplotlib as mpl
    from matplotlib import _pylab_helpers

    before = {name: value for name, value in mpl.rcParams.items() if name != "backend"}
    plot_subject_scores(SUBJECTS, 0.5, tmp_path / "r.png")
    assert {name: mpl.rcParams[name] for name in before} == before
    assert not _pylab_helpers.Gcf.figs


def test_a_control_character_in_a_label_breaks_no_drawing(tmp_path):
    path = tmp_path / "plot.svg"
    plot_confusion(np.eye(2), ["a\x1b[2J", "b\u202e\x00"], path, title="t\x07")
    ElementTree.parse(path)
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", path.read_text())


def test_text_is_drawn_as_it_is_and_stays_text(tmp_path, recwarn):
    labels = ["$a$ 5\\$ x_$", "抑郁"]
    plot_confusion([[3, 1], [0, 4]], labels, tmp_path / "a.svg", title="$\\frac{1}$ of $x")
    plot_confusion([[3, 1], [0, 4]], labels, tmp_path / "a.png", title="$\\frac{1}$ of $x")
    assert [str(one.message) for one in recwarn] == []
    inside = inline_svg(tmp_path / "a.svg", ink=INK, prefix="a")
    for text in (*labels, "$\\frac{1}$ of $x"):
        assert f">{text}</text>" in (tmp_path / "a.svg").read_text(encoding="utf-8")
        assert f">{text}</text>" in inside
    assert "DejaVu" not in inside  # the page's own fonts draw what it lacks
    assert 'font-size="10px"' in inside
