import json

import pytest

from sertransfer.errors import BadInput
from sertransfer.transfer.compare import (
    compare,
    compare_all,
    comparison_text,
    comparisons_text,
    holm,
    letter,
)

CLASSES = ["not depressed", "depressed"]
NO, YES = CLASSES


def write_run(folder, subjects, *, encoder="ser", classes=CLASSES, generated=False, clusters=None):
    """Write a finished run; *subjects* is (name, label, prediction)."""
    folder.mkdir()
    cluster = "" if clusters is None else ",cluster"
    lines = [f"subject,label,score,prediction{cluster}"]
    for index, (name, label, prediction) in enumerate(subjects):
        lines.append(f"{name},{label},0.5,{prediction}" + ("" if clusters is None else f",{clusters[index]}"))
    (folder / "subjects.csv").write_text("\n".join(lines) + "\n")
    metrics = {
        "subject": {"classes": classes},
        "encoder": encoder,
        "mode": "probe",
        "split": "dev",
        "generated": generated,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def table_6(right_depressed):
    """The 35 development subjects of DAIC-WOZ: all 23 not depressed right, so many of the 12 depressed."""
    rows = [(str(300 + index), NO, NO) for index in range(23)]
    return rows + [(str(400 + index), YES, YES if index < right_depressed else NO) for index in range(12)]


def test_the_papers_table_6_is_no_difference(tmp_path):
    asr = write_run(tmp_path / "asr", table_6(0), encoder="asr")
    ser = write_run(tmp_path / "ser", table_6(2))
    result = compare(asr, ser)
    assert result["n"] == 35
    assert (result["a"]["wa"], result["a"]["ua"]) == (pytest.approx(23 / 35), 0.5)
    assert (result["b"]["wa"], result["b"]["ua"]) == (pytest.approx(25 / 35), pytest.approx(7 / 12))
    assert result["mcnemar"] == {"only_a": 0, "only_b": 2, "p": 0.5}
    difference = result["difference"]
    assert difference["wa"] == pytest.approx(2 / 35)
    assert difference["ua"] == pytest.approx(1 / 12)
    # Bonett and Price (2012) by hand: (2 + 1) / 37 and 1 / 37, and Student's t with 34 degrees of freedom
    plus, minus = 3 / 37, 1 / 37
    width = 2.0322 * ((plus + minus - (plus - minus) ** 2) / 37) ** 0.5
    assert difference["wa_ci95"] == pytest.approx([plus - minus - width, plus - minus + width], abs=1e-4)
    text = comparison_text(result)
    assert "exact McNemar p = 0.5" in text
    assert "generated" not in text


def test_the_order_of_subjects_does_not_matter_and_the_sides_are_opposite(tmp_path):
    one = write_run(tmp_path / "one", table_6(0))
    other = write_run(tmp_path / "other", table_6(5)[::-1], generated=True)
    there, back = compare(one, other), compare(other, one)
    assert there["difference"]["wa"] == pytest.approx(-back["difference"]["wa"])
    assert there["mcnemar"]["p"] == back["mcnemar"]["p"] == pytest.approx(2 / 32)
    assert compare(one, other) == there
    assert "generated data" in comparison_text(there)


def test_equal_runs_differ_by_nothing(tmp_path):
    one, other = (write_run(tmp_path / name, table_6(3)) for name in "ab")
    result = compare(one, other)
    assert result["mcnemar"] == {"only_a": 0, "only_b": 0, "p": 1.0}
    for name in ("wa", "ua"):  # no subject differs, which does not show that none ever would
        low, high = result["difference"][f"{name}_ci95"]
        assert result["difference"][name] == 0.0
        assert low == pytest.approx(-high)
        assert 0.05 < high < 0.2


def with_sessions(right, sessions=5):
    """Eight persons with so many sessions each, four of them depressed; B gains whole persons."""
    rows = []
    for person in range(8):
        label = YES if person < 4 else NO
        wrong = NO if label == YES else YES
        rows += [(f"{person}-{i}", label, label if person in right else wrong) for i in range(sessions)]
    return rows, [name.split("-")[0] for name, _, _ in rows]


def test_dependent_subjects_are_swapped_and_left_out_by_cluster(tmp_path):
    rows, persons = with_sessions(right=())
    one = write_run(tmp_path / "one", rows, clusters=persons)
    other = write_run(tmp_path / "other", with_sessions(right=(0, 1, 4))[0], clusters=persons)
    result = compare(one, other)
    assert result["mcnemar"] == {"only_a": 0, "only_b": 15, "p": 0.25}  # three persons: 2 / 2**3
    assert result["clusters"] == {
        "n": 8,
        "name": None,
        "independent_subjects": False,
        "test": "exact sign-flip test over clusters",
        "interval": "paired: Bonett-Price by class, combined by MOVER, "
        "with the design effect of the clusters",
    }
    text = comparison_text(result)
    assert "exact sign-flip test over clusters p = 0.25" in text
    assert "McNemar" not in text
    assert "whole clusters (8): the 40 subjects are not independent" in text
    alone = [
        write_run(tmp_path / name, table, clusters=[name for name, _, _ in table])
        for name, table in (("three", rows), ("four", with_sessions(right=(0, 1, 4))[0]))
    ]
    independent = compare(*alone)
    assert independent["mcnemar"]["p"] == pytest.approx(2 / 2**15)
    for name in ("wa_ci95", "ua_ci95"):
        wide, narrow = (found["difference"][name] for found in (result, independent))
        assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0])


def test_clusters_that_any_run_knows_count(tmp_path):
    rows, persons = with_sessions(right=())
    one = write_run(tmp_path / "one", rows)  # of before: no column
    other = write_run(tmp_path / "other", with_sessions(right=(0, 1, 4))[0], clusters=persons)
    for pair in ((one, other), (other, one)):
        assert compare(*pair)["mcnemar"]["p"] == 0.25
        assert compare(*pair)["clusters"]["n"] == 8


def test_too_few_clusters_give_no_interval(tmp_path):
    rows = table_6(0)
    clusters = [str(index % 5) for index in range(len(rows))]
    one = write_run(tmp_path / "one", rows, clusters=clusters)
    other = write_run(tmp_path / "other", table_6(9), clusters=clusters)
    result = compare(one, other)
    assert result["difference"]["wa_ci95"] is None
    assert result["difference"]["ua_ci95"] is None
    text = comparison_text(result)
    assert "[no interval]" in text
    assert "no interval: 5 clusters, and 6 are needed" in text


def test_one_class_leaves_ua_undefined(tmp_path):
    one, other = (write_run(tmp_path / name, table_6(0)[:23]) for name in "ab")
    result = compare(one, other)
    assert result["difference"]["ua"] is None
    assert "undefined" in comparison_text(result)


def test_all_differences_are_named_at_once(tmp_path):
    one = write_run(tmp_path / "one", [("1", NO, NO), ("2", NO, NO), ("3", YES, NO)])
    other = write_run(
        tmp_path / "other", [("1", YES, NO), ("3", YES, NO), ("4", NO, NO)], classes=["no", "yes"]
    )
    with pytest.raises(BadInput) as caught:
        compare(one, other)
    text = str(caught.value)
    assert len(caught.value.faults) == 4
    for part in ("not scored: 2", "not scored: 4", "for subject(s) 1", "classes no, yes"):
        assert part in text


def test_labels_that_are_no_class_are_named(tmp_path):
    one, other = (write_run(tmp_path / name, [("1", NO, NO), ("2", "sad", NO)]) for name in ("one", "other"))
    with pytest.raises(BadInput, match=r"one/subjects\.csv: found label sad; expected one of not depressed"):
        compare(one, other)


def test_long_lists_are_cut(tmp_path):
    one = write_run(tmp_path / "one", table_6(0))
    other = write_run(tmp_path / "other", table_6(0)[:3])
    with pytest.raises(BadInput, match="and 24 more"):
        compare(one, other)


def test_what_is_no_run_of_stage_2_is_refused(tmp_path):
    run = write_run(tmp_path / "run", table_6(0))
    with pytest.raises(BadInput, match="no such run folder"):
        compare(run, tmp_path / "nothing")
    (tmp_path / "stage_1").mkdir()
    (tmp_path / "stage_1" / "metrics.json").write_text('{"utterance": {}}')
    with pytest.raises(BadInput, match="no scores of subjects"):
        compare(tmp_path / "stage_1", run)


def test_several_runs_are_compared_in_every_pair_with_a_correction(tmp_path):
    folders = [write_run(tmp_path / name, table_6(right)) for name, right in (("a", 0), ("b", 6), ("c", 9))]
    result = compare_all(folders)
    assert [(pair["a"], pair["b"]) for pair in result["pairs"]] == [(0, 1), (0, 2), (1, 2)]
    tests = [pair["mcnemar"] for pair in result["pairs"]]
    assert [test["only_b"] for test in tests] == [6, 9, 3]
    assert tests[0]["p"] == pytest.approx(2 / 64)
    assert [test["p_holm"] for test in tests] == pytest.approx([4 / 64, 6 / 512, 0.25])
    assert result["pairs"][0]["difference"] == compare(*folders[:2])["difference"]
    assert result["majority"] == {"wa": pytest.approx(23 / 35), "ua": 0.5}
    assert result["subjects"][-1]["predictions"] == [NO, NO, NO]
    assert result["subjects"][0]["scores"] == [0.5, 0.5, 0.5]
    text = comparisons_text(result)
    assert "C - A: WA +0.257" in text
    assert "p = 0.0312, 0.0625 after Holm's correction" in text
    assert "3 comparison(s)" in text


def test_of_many_runs_each_is_compared_with_the_first(tmp_path):
    folders = [write_run(tmp_path / str(index), table_6(index)) for index in range(6)]
    pairs = compare_all(folders)["pairs"]
    assert [(pair["a"], pair["b"]) for pair in pairs] == [(0, index) for index in range(1, 6)]
    assert len(compare_all(folders[:5])["pairs"]) == 10  # five are still compared in every pair


def test_faults_of_every_run_are_named_at_once(tmp_path):
    good = write_run(tmp_path / "good", table_6(0))
    short = write_run(tmp_path / "short", table_6(0)[1:])
    odd = write_run(tmp_path / "odd", table_6(0), classes=["x", "y"])
    with pytest.raises(BadInput) as caught:
        compare_all([good, short, odd])
    assert len(caught.value.faults) == 2
    with pytest.raises(BadInput, match="1 run; expected two or more"):
        compare_all([good])


@pytest.mark.parametrize(("number", "name"), [(0, "A"), (25, "Z"), (26, "R27")])
def test_runs_have_letters(number, name):
    assert letter(number) == name


def test_holm_grows_and_ends_at_one():
    assert holm([]) == []
    assert holm([0.5, 0.9, 0.4]) == [1.0, 1.0, 1.0]
    assert holm([0.01, 0.01]) == [0.02, 0.02]
