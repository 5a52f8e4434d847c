import pickle

import pytest

from sertransfer.errors import SHOWN, BadInput, Faults, bad_input, choose, nearest, swapped


def test_a_fault_says_where_found_expected_and_what_to_do():
    error = bad_input("a.csv, row 3", found="x", expected="a number", remedy="correct it")
    assert str(error) == "a.csv, row 3: found x; expected a number; correct it"
    assert error.exit_status == 2
    assert error.faults[0].as_dict()["where"] == "a.csv, row 3"


def test_all_faults_are_raised_at_once():
    faults = Faults()
    for row in (2, 5):
        faults.add(f"a.csv, row {row}", found="x", expected="y", remedy="z")
    with pytest.raises(BadInput) as caught:
        faults.raise_if_any()
    assert len(caught.value.faults) == len(faults) == 2
    assert "row 2" in str(caught.value)
    assert "row 5" in str(caught.value)


def test_nothing_is_raised_without_faults():
    Faults().raise_if_any()


def test_skippable_faults_are_kept_not_raised_when_skipping():
    faults = Faults(skip_bad=True)
    faults.add("a", found="x", expected="y", remedy="z", skippable=True)
    faults.raise_if_any()
    assert [fault.where for fault in faults.skipped] == ["a"]
    faults.add("b", found="x", expected="y", remedy="z")
    with pytest.raises(BadInput, match="b: found") as caught:
        faults.raise_if_any()
    assert len(caught.value.faults) == 1


def test_skippable_faults_are_raised_when_not_skipping():
    faults = Faults()
    faults.add("a", found="x", expected="y", remedy="z", skippable=True)
    assert faults.skipped == []
    with pytest.raises(BadInput) as caught:
        faults.raise_if_any()
    assert caught.value.skippable
    faults.add("b", found="x", expected="y", remedy="z")
    with pytest.raises(BadInput) as caught:
        faults.raise_if_any()
    assert not caught.value.skippable  # leaving items out does not help with the other


def test_nearest_names_the_close_one_and_all_of_a_few():
    assert nearest("pyresnet15", ["vgg11", "pyresnet152"]).startswith("did you mean 'pyresnet152'?")
    assert nearest("zzz", ["vgg11"]) == "valid: vgg11"


def test_two_letters_swapped_are_one_slip():
    assert swapped("rl", ["rule", "lr", "rl"]) == ["lr"]
    assert swapped("a", ["a", "aa"]) == []
    assert nearest("rl", ["rule", "lr"]).startswith("did you mean 'lr'? valid: rule, lr")
    assert nearest("prcoess", ["process", "precess"]).startswith("did you mean 'process'?")


def test_nearest_of_many_names_only_the_near_ones():
    many = [f"setting_{index}" for index in range(100)]
    assert "setting_99" not in nearest("setting_1", many)
    assert nearest("qqq", many) == "one of 100 names"


def test_choose_returns_the_known_and_refuses_the_unknown():
    assert choose("model", "a", {"a": 1}) == "a"
    with pytest.raises(BadInput, match="did you mean 'vgg11'"):
        choose("model", "vgg1", ["vgg11"])


def test_a_long_list_is_cut_only_where_a_file_holds_all_of_it(tmp_path):
    faults = Faults()
    for row in range(5000):
        faults.add(f"a.csv, row {row + 2}", found="x", expected="y", remedy="z")
    with pytest.raises(BadInput) as caught:
        faults.raise_if_any()
    assert len(str(caught.value).splitlines()) == 5001
    caught.value.report = tmp_path / "faults.json"
    lines = str(caught.value).splitlines()
    assert len(lines) == 1 + SHOWN + 1
    assert lines[0] == "5000 faults in the input"
    assert "row 51:" in lines[SHOWN]
    assert lines[-1] == f"  and 4950 more in {tmp_path / 'faults.json'}"


def test_an_exception_survives_the_way_from_another_process():
    error = bad_input("a.csv, row 3", found="x", expected="y", remedy="z")
    assert pickle.loads(pickle.dumps(error)).faults == error.faults
