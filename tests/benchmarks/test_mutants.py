"""The report of ``make mutants``: what counts as caught, and which tests a mutant meets."""

import json
import tomllib

from loading import BENCHMARKS, load_script

mutants = load_script("mutants.py")
PROJECT = BENCHMARKS.parent

NAMES = [f"sertransfer.evaluation.metrics.x_auroc__mutmut_{number}" for number in range(1, 31)]


def test_a_function_is_met_by_every_test_of_a_file_that_reaches_it():
    known = ["tests/a.py::one", "tests/a.py::two", "tests/b.py::one", "tests/c.py::one"]
    found = mutants.by_file({"f": ["tests/a.py::two", "tests/c.py::one"], "g": []}, known)
    assert found == {"f": ["tests/a.py::one", "tests/a.py::two", "tests/c.py::one"], "g": []}


def test_a_sample_is_the_same_for_the_same_seed():
    few = mutants.choose(NAMES, 9, 3)
    assert few == mutants.choose(NAMES[::-1], 9, 3) != mutants.choose(NAMES, 9, 4)
    assert len(set(few)) == 9
    assert mutants.choose(NAMES, None, 0) == mutants.choose(NAMES, 99, 0) == sorted(NAMES)
    assert mutants.function_of(NAMES[0]) == "sertransfer.evaluation.metrics.x_auroc"


def test_what_passes_every_test_is_not_caught():
    codes = {"m.x_f__mutmut_1": 1, "m.x_f__mutmut_2": 0, "n.x_g__mutmut_1": 33, "n.x_g__mutmut_2": -24}
    left = {"m.x_f__mutmut_2": "-a\n+b", "n.x_g__mutmut_1": "-c\n+d"}
    found = mutants.summarise(codes, left)
    assert found["share"] == 0.5
    assert found["total"] == {"mutants": 4, "caught": 2, "survived": 1, "no test": 1}
    assert found["modules"]["n"] == {"mutants": 2, "caught": 1, "survived": 0, "no test": 1}
    page = mutants.as_markdown({**found, "known": 9, "sample": 4, "seed": 0, "minutes": 2.4})
    assert "4 mutants of 9 (a random sample, seed 0); caught: 2 (50 %)" in page
    assert "| m | 2 | 1 | 1 | 0 |" in page
    assert "-a\n+b" in page


def test_the_settings_name_files_that_are_there():
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["mutmut"]
    for pattern in settings["only_mutate"]:
        assert list(PROJECT.glob(pattern)), pattern
    for path in settings["pytest_add_cli_args_test_selection"] + settings["also_copy"]:
        assert (PROJECT / path).exists(), path


def test_the_kept_result_is_whole():
    result = json.loads((PROJECT / "benchmarks/results/mutants.json").read_text())
    total = result["total"]
    assert total["caught"] + total["survived"] + total["no test"] == total["mutants"] >= 40
    assert result["share"] == total["caught"] / total["mutants"]
    assert len(result["left"]) == total["survived"] + total["no test"]
