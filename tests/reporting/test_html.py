import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from support.report_runs import SENTENCES, STAGE_1, STAGE_2, SUBJECT, SUBJECTS, make_run

from sertransfer.errors import BadInput
from sertransfer.reporting.report import write_report
from sertransfer.reporting.tables import as_text, entries, flat, left_out_lines, scored


class Page(HTMLParser):
    """Collects text, tags and attributes; fails on tags that are not closed."""

    VOID = frozenset({"meta", "link", "br", "path", "use", "rect", "image"})

    def __init__(self, source):
        super().__init__()
        self.stack, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(source)
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def report(folder):
    return Page(write_report(folder).read_text())


def test_stage_2(tmp_path):
    folder = make_run(tmp_path / "run", STAGE_2, **{"config.yaml": "probe:\n  kind: logistic\n"})
    page = report(folder)
    for text in (
        "depressed or not depressed: ser encoder, split dev",
        "0.667 [0.090, 0.990]",
        "undefined",
        "majority class",
        "paper, Table 6 (SER)",
        "0.714",
        "perhaps chosen on the same subjects",
        "409: label corrected",
        "session: 318, shift: 34.3199",
        "gender: 1 = male",
        "manifest: 7",
        "item: 300_1, reason: silent",
        "undecided subjects: none",
        "right, undecided",
        "by the rule",
        "probe kind",
        "and 30 more",
        "sertransfer 0.1.0",
    ):
        assert text in page.text, text
    assert "Generated data" not in page.text
    names = {path.name for path in (folder / "plots").iterdir()}
    curves = {
        f"{kind}_{what}.svg" for kind in ("roc", "precision_recall") for what in ("subjects", "sentences")
    }
    assert names == {"scores.svg", "confusion.svg", "subjects.svg", *curves}
    assert page.tags.count("figure") == len(names)
    assert page.text.count("Numbers of this figure") == len(names)


def test_the_majority_row_has_every_figure(tmp_path):
    text = report(make_run(tmp_path / "run", STAGE_2)).text  # 2 of 3 are not depressed
    # WA, UA, macro-F1 = (0.8 + 0) / 2, sensitivity, specificity, AUROC
    row = re.search(
        r"majority class always the most frequent class of these subjects((?: \d\.\d{3}){6}) ", text
    )
    assert row is not None
    assert row[1].split() == ["0.667", "0.500", "0.400", "0.000", "1.000", "0.500"]


def test_calibration_names_the_prevalence(tmp_path):
    bins = [{"low": 0.0, "high": 0.5, "n": 3, "score": 0.25, "positive": 0.5}]
    block = {"brier": 0.111, "brier_of_share": 0.222, "ece": 0.333, "bins": bins, "assumed": 0.5}
    block |= {"uncorrected": {"brier": 0.444, "ece": 0.555}}
    both = {"subject": {**block, "prevalence": 0.28}, "sentence": {**block, "prevalence": 0.31}}
    page = report(make_run(tmp_path / "run", {**STAGE_2, "calibration": {**both, "note": "a share"}}))
    for text in (
        "trained as if 0.500 of all were positive",
        "0.280 of subjects, 0.310 of sentences",
        "the same, uncorrected",
        "0.555",
    ):
        assert text in page.text, text


def test_what_the_scores_are_worth(tmp_path):
    bins = [{"low": 0.0, "high": 0.5, "n": 3, "score": 0.25, "positive": 0.5}]
    block = {"brier": 0.111, "brier_of_share": 0.222, "ece": 0.333, "bins": bins}
    inner = {"value": 0.9, "ua": 0.95, "auroc": 0.85}
    group = {
        "by": "gender", "group": "female", "n": 4, "positive": 1, "wa": 0.25, "wa_ci95": [0.01, 0.81],
        "ua": None, "ua_ci95": None, "warning": "under 10 subjects",
    }  # fmt: skip
    metrics = {
        **STAGE_2,
        "shortcuts": [{"name": "loudness", "wa": 0.6, "ua": 0.55, "auroc": 0.44, "wa_ci95": [0.3, 0.8]}],
        "shortcuts_left_out": [{"name": "gender", "reason": "none known"}],
        "calibration": {"subject": block, "sentence": block, "note": "a share of sentences"},
        "audit": [group],
        "tuning": {
            "objective": "mean of UA and AUROC", "shared": "axes are shared", "best": {"kind": "mlp"},
            "inner": {"note": "too good", **inner},
            "outer": {**SUBJECT, "note": "without it"}, "importance": {"kind": 0.75, "pca": 0.25},
            "folds": [
                {"fold": 1, "inner": inner, "outer": {"ua": 0.5, "auroc": None}, "settings": {"pca": 16}}
            ],
        },
    }  # fmt: skip
    trials = "study,trial,state,value\nouter-1,0,complete,0.5\nouter-1,1,pruned,\nfinal,0,complete,0.9\n"
    folder = make_run(tmp_path / "run", metrics, **{"trials.csv": trials})
    page = report(folder)
    for text in (
        "loudness alone",
        "0.600 [0.300, 0.800]",
        "gender alone",
        "not scored: none known",
        "0.222",
        "A share of sentences",
        "Scores are not corrected to a prevalence",
        "gender: female",
        "0.250 [0.010, 0.810]",
        "under 10 subjects",
        "outer: subjects that no trial saw",
        "0.950 / 0.500",
        "0.850 / undefined",
        "Chosen: kind: mlp",
        "axes are shared",
    ):
        assert text in page.text, text
    names = {path.name for path in (folder / "plots").iterdir()}
    drawn = ("reliability_subjects", "reliability_sentences", "trials", "inner_outer", "importance")
    assert names >= {f"{name}.svg" for name in drawn}
    assert page.tags.count("figure") == page.text.count("Numbers of this figure") == 12


def test_subjects_are_listed_from_the_highest_score(tmp_path):
    text = report(make_run(tmp_path / "run", STAGE_2)).text
    table = text[text.index("Every subject, from the highest score") :]
    assert table.index("300") < table.index("301") < table.index("302")
    assert re.search(r"300\s+0.900\s+wrong\s+not depressed\s+depressed\s+2", table)


def test_stage_1(tmp_path):
    epochs = "epoch,loss,train_wa\n1,2.0,0.3\n2,1.0,0.5\n"
    page = report(make_run(tmp_path / "run", STAGE_1, **{"epochs.csv": epochs}))
    for text in (
        "Speech emotion recognition, pyresnet152, split test",
        "0.500 [0.200, 0.800]",
        "paper, Table 5",
        "0.429",
        "labels: train bored 3",
        "audio: none",
        "No correction was applied",
    ):
        assert text in page.text, text
    assert page.tags.count("figure") == 3  # no curves by class without the scores of classes


def test_classes_have_curves_and_a_calibration_where_their_scores_are_there(tmp_path):
    utterances = (
        "id,speaker,split,label,prediction,score_angry,score_sad\n"
        "a,1,test,angry,angry,0.9,0.1\nb,1,test,angry,sad,0.4,0.6\nc,2,test,sad,sad,0.2,0.8\n"
    )
    folder = make_run(tmp_path / "run", STAGE_1, **{"utterances.csv": utterances})
    page = report(folder)
    drawn = {path.name for path in (folder / "plots").iterdir()}
    assert drawn == {
        "scores.svg", "confusion.svg", "roc_classes.svg", "precision_recall_classes.svg", "reliability.svg"
    }  # fmt: skip
    assert "answers 0.767 0.667 0.300" in page.text  # mean score, share right, their distance by bin


PRIOR = {"assumed": {"angry": 0.5, "sad": 0.5}, "prevalence": {"angry": 0.8, "sad": 0.2}}


@pytest.mark.parametrize(
    ("prior", "row", "note"),
    [
        # of score 0.6 for sad, 0.6 * 0.2 / (0.6 * 0.2 + 0.4 * 0.8) = 0.273; of 0.8, 0.5; angry's 0.9 is 0.973
        (
            PRIOR,
            "answers 0.582 0.667 0.267 0.300",
            "corrected here, and only here, to the shares of the classes",
        ),
        ({**PRIOR, "assumed": PRIOR["prevalence"]}, "answers 0.767 0.667 0.300", "not weighted in training"),
        (None, "answers 0.767 0.667 0.300", "does not tell whether classes were weighted"),
    ],
)
def test_the_calibration_of_classes_is_of_scores_corrected_to_their_shares(tmp_path, prior, row, note):
    utterances = (
        "id,speaker,split,label,prediction,score_angry,score_sad\n"
        "a,1,test,angry,angry,0.9,0.1\nb,1,test,angry,sad,0.4,0.6\nc,2,test,sad,sad,0.2,0.8\n"
    )
    metrics = STAGE_1 if prior is None else {**STAGE_1, "prior": prior}
    page = report(make_run(tmp_path / "run", metrics, **{"utterances.csv": utterances}))
    assert row in page.text
    assert note in page.text
    assert ("the same, uncorrected" in page.text) == (prior is PRIOR)


def test_an_adversarial_model_is_shown_on_clean_and_on_attacked_inputs(tmp_path):
    fake = {**STAGE_1["utterance"], "wa": 0.25, "ua": 0.125, "wa_ci95": None, "confusion": [[0, 2], [1, 1]]}
    metrics = {**STAGE_1, "model": "adv_resnet152", "adversarial": {"epsilon": 0.1, "utterance": fake}}
    folder = make_run(tmp_path / "run", metrics)
    page = report(folder)
    for text in (
        "this run, attacked inputs",
        "0.250 0.125 [0.100, 0.900]",
        "each moved by 0.1 to raise its loss",
        "paper, Table 5 (ADV-Real)",
        "0.548 0.381",
        "paper, Table 5 (ADV-Fake)",
        "0.453 0.339",
        "Confusion of attacked inputs",
    ):
        assert text in page.text, text
    table = page.text[page.text.index("scores of") :]
    assert table.index("this run ") < table.index("attacked inputs") < table.index("majority class")
    assert {path.name for path in (folder / "plots").iterdir()} == {
        "scores.svg",
        "confusion.svg",
        "confusion_adversarial.svg",
    }
    assert "adversarial utterance" not in page.text  # not once more among the facts


def test_stage_1_without_a_test_split_and_of_a_model_that_the_paper_does_not_have(tmp_path):
    nothing = dict.fromkeys(["wa", "ua", "wa_ci95", "ua_ci95", "confusion"])
    metrics = {
        "utterance": {"n": 0, **nothing, "classes": ["angry", "sad"]},
        "majority": {"wa": None, "ua": None},
        "model": "small",
    }
    page = report(make_run(tmp_path / "run", metrics))
    assert "paper" not in page.text
    assert "undefined" in page.text
    assert "Left out Nothing." in page.text
    assert "svg" not in page.tags


def test_generated_data_are_announced(tmp_path):
    for name, metrics in (("one", STAGE_1), ("two", STAGE_2)):
        page = report(make_run(tmp_path / name, {**metrics, "generated": True}))
        assert "Generated data." in page.text
        assert ("class", "banner") in page.attributes


def test_one_class_has_no_roc(tmp_path):
    folder = make_run(tmp_path / "run", {**STAGE_2, "encoder": "other"}, **{
        "subjects.csv": SUBJECTS.replace(",depressed,0.6", ",not depressed,0.6"),
        "sentences.csv": "id,subject,split,label,score\n",
    })  # fmt: skip
    metrics = {**STAGE_2, "encoder": "other", "sentence": {**STAGE_2["sentence"]}}
    del metrics["sentence"]["majority"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    page = report(folder)
    assert page.tags.count("figure") == 3
    assert "Table 6" not in page.text


def test_everything_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    metrics = json.loads(json.dumps(STAGE_2).replace("not depressed", evil).replace("silent", evil))
    metrics |= {
        "errata": [evil],
        "assumptions": [evil],
        "encoder": evil,
        "split": evil,
        "undecided_rule": evil,
    }
    metrics["encoder_details"] = {evil: evil}
    files = {
        "subjects.csv": SUBJECTS.replace("not depressed", evil).replace("300", evil),
        "sentences.csv": SENTENCES.replace("not depressed", evil),
        "config.yaml": json.dumps({evil: evil}),
    }
    folder = make_run(tmp_path / "run", metrics, **files)
    page = report(folder)
    assert page.tags.count("script") == 1  # the page's own
    assert evil in page.text
    assert evil not in (folder / "report.html").read_text()


def test_the_report_needs_nothing_from_outside(tmp_path):
    source = write_report(make_run(tmp_path / "run", STAGE_2)).read_text()
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!\#|data:)""", source)
    assert "url(http" not in source
    assert "@import" not in source
    assert "prefers-color-scheme: dark" in source
    assert 'name="viewport"' in source
    assert "#22262b" not in source.split("</style>", 1)[1]  # figures take the page's own colour
    assert "currentColor" in source


def test_a_policy_lets_the_pages_own_style_and_script_run_and_nothing_else(tmp_path):
    source = write_report(make_run(tmp_path / "run", STAGE_2)).read_text()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', source)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", source, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.search(r"\sstyle=|\son\w+=", source)  # what the policy would block


def test_the_figures_of_a_page_share_no_name(tmp_path):
    page = report(make_run(tmp_path / "run", STAGE_2))
    names = [value for key, value in page.attributes if key == "id"]
    assert len(names) == len(set(names)) > 10
    used = [value[1:] for key, value in page.attributes if key == "href" and value.startswith("#")]
    assert set(used) <= set(names)


def test_the_report_can_be_made_again(tmp_path):
    folder = make_run(tmp_path / "run", STAGE_1)
    assert write_report(folder).read_text() == write_report(folder).read_text()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics.json", None, "finish the run first"),
        ("metrics.json", "{", "broken JSON"),
        ("metrics.json", "{}", r"keys \(none\)"),
        ("metrics.json", "[]", r"keys \(none\)"),
        ("metrics.json", '{"subject": {}, "split": "dev"}', "metrics without what a report needs"),
        ("subjects.csv", None, "no table"),
        ("subjects.csv", "", "no table"),
        ("sentences.csv", "id,label\n", "no column score"),
    ],
)
def test_a_folder_without_a_whole_run_is_refused(tmp_path, name, content, message):
    folder = make_run(tmp_path / "run", STAGE_2)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(BadInput, match=message):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_settings_that_can_not_be_read_do_not_stop_the_report(tmp_path):
    page = report(make_run(tmp_path / "run", STAGE_1, **{"config.yaml": "a: [1"}))
    assert "config.yaml cannot be read" in page.text


def test_values_as_text():
    assert as_text({"a": 1, "b": [0.25, "x"]}) == "a: 1, b: 0.25, x"
    assert as_text([[1, 2], [3, 4]]) == "(1, 2), (3, 4)"
    assert as_text([]) == "none"
    assert as_text(list(range(22))).endswith("19, and 2 more")
    assert flat({"a": {"b_c": 1, "d": None}, "e": ""}) == {"a b c": "1"}
    assert entries(None) == []
    assert entries("one") == ["one"]
    assert entries({"a": 1}) == ["a: 1"]
    assert scored({"wa": None}, "wa") == "undefined"


def test_what_was_left_out_is_counted_and_cut():
    lines = left_out_lines({"audio": [{"item": str(index)} for index in range(25)], "rows": 0})
    assert lines[0] == "audio: 25"
    assert lines[1] == "item: 0"
    assert lines[21:] == ["and 5 more, in metrics.json", "rows: none"]
    assert left_out_lines({"labels": {"train": {}, "test": {"x": 2}}}) == ["labels: test x 2"]
