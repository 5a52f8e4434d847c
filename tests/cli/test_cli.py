"""The command line: what it lists, what it refuses, and with which status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sertransfer
from sertransfer.cli import main, pretraining, transfer
from sertransfer.cli.options import CommandResult, scores_text
from sertransfer.errors import BadInput


def run(capsys, *words):
    status = main.main([str(word) for word in words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture(scope="module")
def emodb(tmp_path_factory):
    root = tmp_path_factory.mktemp("emodb")
    (root / "wav").mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, 8000)
    for name in ("03a01Wa", "03a01Na", "08a01Fa", "08a01Ta", "09a01Wb", "10a01Nb"):
        soundfile.write(root / "wav" / f"{name}.wav", noise, 16000)
    return root


def test_help_does_not_import_the_heavy_libraries():
    code = (
        "import sys, contextlib, sertransfer.cli.main\n"
        "with contextlib.suppress(SystemExit): sertransfer.cli.main.main(['--help'])\n"
        "heavy = {'torch', 'numpy', 'pandas', 'pydantic', 'yaml'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "prepare" in done.stdout


@pytest.mark.parametrize(
    ("command", "name"), [("models", "pyresnet152"), ("corpora", "lssed"), ("encoders", "ser")]
)
def test_lists_have_a_name_a_line_first(capsys, command, name):
    status, out, _ = run(capsys, command)
    assert status == 0
    lines = out.splitlines()
    assert name in [line.split()[0] for line in lines]
    assert all(len(line.split()) > 2 for line in lines), "every name is explained"


def test_settings_of_a_corpus(capsys):
    status, out, _ = run(capsys, "corpora", "daic-woz")
    assert status == 0
    assert '--overlaps "keep"' in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["corpora", "lsed"], "did you mean 'lssed'"),
        (["prepare", "emodbb", ".", "-o", "m.csv"], "did you mean 'emodb'"),
        (["prepare", "emodb", ".", "-o", "m.csv", "--tsk", "four"], "did you mean 'task'"),
        (["describe", "none.csv"], "sertransfer prepare"),
        (["describe", "none.csv", "--rot", "x"], "did you mean 'root'"),
        (["encoders", "extra"], "expected an option of this command"),
        (["models", "extra"], "expected a known model"),
        (["transfer", "--manifest", "m", "--checkpoint", "c", "--run-dir", "r", "--encoder", "sre"], "'ser'"),
        (["pretrain", "--manifest", "m", "--run-dir", "r", "--epocs", "3"], "did you mean 'epochs'"),
        (["pretrain", "--manifest", "m", "--run-dir", "r", "stray"], "found 'stray'"),
        (["import-checkpoint", "f", "-o", "o", "--framing", "65ms"], "without --front-end"),
        (["import-checkpoint", "f", "-o", "o", "--front-end", "dB"], "did you mean 'db'"),
        (["import-checkpoint", "f", "-o", "o", "--front-end", "none.yaml"], "no file"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    status, _, err = run(capsys, *words)
    assert status == 2
    assert err.count("\n") == 1
    assert err.startswith("sertransfer: error: ")
    assert expected in err


@pytest.mark.parametrize(
    ("words", "found", "instead"),
    [
        ("prepare lssed DIR -o 1.csv --shard 1/8", "'--shard'", "'sertransfer prepare' without --shard"),
        ("prepare lssed DIR -o 1.csv --shard=1/8", "'--shard'", "'sertransfer prepare' without --shard"),
        ("merge 1.csv 2.csv -o manifest.csv", "a command", "'sertransfer prepare' without --shard"),
        ("features --manifest m.csv --into DIR --shard 1/8", "'--shard'", "--workers N"),
        ("features --manifest m.csv --into DIR --merge", "'--merge'", "--workers N"),
    ],
)
def test_what_was_removed_is_said_in_one_line(capsys, words, found, instead):
    status, _, err = run(capsys, *words.split())
    assert status == 2
    assert err.count("\n") == 1
    assert f"found {found}" in err
    assert instead in err


def test_an_unknown_model_names_the_nearest(capsys, tmp_path, emodb):
    manifest = tmp_path / "m.csv"
    assert run(capsys, "prepare", "emodb", emodb, "-o", manifest)[0] == 0
    status, _, err = run(
        capsys, "pretrain", "--manifest", manifest, "--run-dir", tmp_path / "r", "--model", "pyresnet15"
    )
    assert status == 2
    assert "did you mean 'pyresnet152'" in err


def test_prepare_and_describe(capsys, tmp_path, emodb):
    manifest, figure = tmp_path / "m.csv", tmp_path / "f.svg"
    status, out, _ = run(capsys, "prepare", "emodb", emodb, "-o", manifest, "--test_speakers", "03,08")
    assert status == 0
    assert "6 utterances" in out
    assert "sertransfer describe" in out
    table = sertransfer.read_manifest(manifest).table
    assert set(table[table["split"] == "test"]["speaker"].str[-2:]) == {"03", "08"}
    status, out, _ = run(capsys, "describe", manifest, "--figure", figure)
    assert status == 0
    assert "Table 3" in out
    assert figure.read_text().startswith("<?xml")


def test_faults_of_a_corpus_are_listed_at_once_and_can_be_skipped(capsys, tmp_path, emodb):
    root = tmp_path / "broken"
    (root / "wav").mkdir(parents=True)
    for path in (emodb / "wav").iterdir():
        (root / "wav" / path.name).write_bytes(path.read_bytes())
    (root / "wav" / "03a01Wa.wav").write_bytes(b"")
    (root / "wav" / "notaname.wav").write_bytes(b"RIFF")
    status, _, err = run(capsys, "prepare", "emodb", root, "-o", tmp_path / "m.csv")
    assert status == 2
    assert "03a01Wa.wav" in err
    assert "notaname.wav" in err
    assert err.endswith("  --skip-bad leaves them out and records that\n")
    assert not (tmp_path / "m.csv").exists()
    status, _, err = run(capsys, "prepare", "emodb", tmp_path / "none", "-o", tmp_path / "m.csv")
    assert status == 2
    assert "--skip-bad" not in err  # a root that is missing cannot be left out
    status, out, _ = run(capsys, "prepare", "emodb", root, "-o", tmp_path / "m.csv", "--skip-bad")
    assert status == 0
    left_out = json.loads((tmp_path / "m.json").read_text())["left_out"]
    assert any("03a01Wa" in entry["item"] for entry in left_out)
    assert "left out" in out


def test_our_own_failure_is_status_1_and_hides_the_traceback(capsys, monkeypatch):
    def fail(*_):
        raise RuntimeError("some\nthing")

    monkeypatch.setattr(pretraining, "entry", fail)
    status, _, err = run(capsys, "models")
    assert status == 1
    assert err == "sertransfer: error: RuntimeError: some thing; a failure of sertransfer, -v shows where\n"
    status, _, err = run(capsys, "models", "-v")
    assert "Traceback" in err


def test_an_interrupt_says_how_to_go_on(capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(pretraining, "entry", interrupt)
    status, _, err = run(capsys, "models")
    assert status == 130
    assert "resumes" in err


def test_a_closed_pipe_is_no_error():
    code = "import sys; from sertransfer.cli.main import main; sys.exit(main(['corpora', 'daic-woz']))"
    done = subprocess.run(
        f'"{sys.executable}" -c "{code}" | head -n 0; exit ${{PIPESTATUS[0]}}',
        shell=True, executable="/bin/bash", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_overrides():
    words = ["--a.b", "1", "--flag", "--c-d=x=y", "--last"]
    assert main.parse_overrides(words) == {"a.b": "1", "flag": "true", "c_d": "x=y", "last": "true"}
    for bad in (["x"], ["--"], ["--a", "1", "2"]):
        with pytest.raises(BadInput, match="--setting VALUE"):
            main.parse_overrides(bad)


def test_front_ends_of_import(tmp_path):
    yaml = tmp_path / "f.yaml"
    yaml.write_text("log: db\n")

    def chosen(*words):
        args, rest = main.build_parser().parse_known_args(["import-checkpoint", "f", "-o", "o", *words])
        return pretraining.chosen_front_end(args, main.parse_overrides(rest))

    assert chosen() is None
    assert chosen("--front-end", "power").log == "none"
    assert chosen("--front-end", str(yaml), "--mels", "64").mels == 64
    assert chosen("--front-end", "db", "--framing", "25ms").framing.hop == 160


def test_scores_are_said_with_their_baseline_and_origin():
    metrics = {
        "subject": {"n": 35, "wa": 0.714, "wa_ci95": [0.537, 0.854], "ua": None, "ua_ci95": None},
        "majority": {"wa": 0.657, "ua": 0.5},
        "generated": True,
    }
    out = scores_text(metrics, "subject")
    assert "generated data" in out
    assert "WA 0.714 [0.537, 0.854]  majority class 0.657" in out
    assert "UA undefined [no interval]" in out


def test_the_public_names():
    assert callable(sertransfer.load_model)
    assert all(getattr(sertransfer, name) for name in sertransfer.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sertransfer.nothing


def test_json_is_all_of_standard_output(capsys, tmp_path, emodb, monkeypatch):
    manifest = tmp_path / "m.csv"
    status, out, _ = run(capsys, "prepare", "emodb", emodb, "-o", manifest, "--json")
    assert status == 0
    said = json.loads(out)
    assert said["command"] == "prepare"
    assert said["result"]["utterances"] == 6
    assert sum(said["result"]["labels"].values()) == 6
    assert said["files"]["manifest"] == str(manifest)
    assert said["next"] == [f"sertransfer describe {manifest}"]
    said = json.loads(run(capsys, "describe", manifest, "--json")[1])
    assert said["result"]["corpora"][0]["table1"][0]["utterances"] == 6
    for command, name in (("models", "pyresnet152"), ("corpora", "lssed"), ("encoders", "ser")):
        listed = json.loads(run(capsys, command, "--json")[1])["result"][command]
        assert len(listed[name].split()) > 2

    def chatty(*_):
        print("a library speaks")
        return CommandResult({"value": np.float64(0.5)})

    monkeypatch.setattr(transfer, "run_encoders", chatty)
    status, out, err = run(capsys, "encoders", "--json")
    assert json.loads(out)["result"] == {"value": 0.5}
    assert "a library speaks" in err


def test_with_json_a_fault_leaves_standard_output_empty(capsys, tmp_path):
    status, out, err = run(capsys, "describe", tmp_path / "none.csv", "--json")
    assert (status, out) == (2, "")
    assert "none.csv" in err


def test_a_result_says_where_everything_is_and_what_comes_next():
    result = CommandResult(
        {}, "7 subjects\n", {"report": Path("run/report.html")}, ("sertransfer tables run",)
    )
    assert result.said() == "7 subjects\nreport: run/report.html\nnext: sertransfer tables run\n"
    assert result.said(briefly=True) == "7 subjects\nreport: run/report.html\n"
    assert CommandResult({}).said() == ""


def test_a_command_to_run_next_survives_a_shell():
    import shlex

    from sertransfer.cli.options import command_line

    assert shlex.split(command_line("tables", Path("my run"))) == ["sertransfer", "tables", "my run"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_commands_options_and_paths_and_imports_no_torch(shell):
    code = (
        "import sys, sertransfer.cli.main\n"
        f"status = sertransfer.cli.main.main(['completion', {shell!r}])\n"
        "sys.exit(status or bool({'torch', 'numpy', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for word in ("predict", "with-text", "import-checkpoint", "transcript"):
        assert word in done.stdout
    marks = {"bash": "compgen_files", "zsh": "_files", "fish": "__fish_complete_path"}
    assert marks[shell] in done.stdout


def test_bash_takes_the_completion():
    script = subprocess.run(
        [sys.executable, "-m", "sertransfer.cli", "completion", "bash"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    asked = (
        f"{script}\nCOMP_WORDS=(sertransfer pred); COMP_CWORD=1\n"
        '_shtab_sertransfer sertransfer pred sertransfer; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=False)
    assert "predict" in done.stdout, done.stderr


def test_nothing_from_a_file_reaches_the_terminal_raw(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("audio,label,speaker,split\na\x1b]0;x\x07.wav,x\x9b2J,s\u202e,train\n")
    status, out, err = run(capsys, "prepare", "csv", tmp_path, "-o", tmp_path / "m.csv")
    assert status == 2
    assert (out + err).replace("\n", "").isprintable()
    for shown in (r"a\x1b]0;x\x07.wav", r"x\x9b2J", r"s\u202e"):
        assert shown in err


def test_results_and_logs_are_escaped(capsys, monkeypatch):
    def said(text):
        monkeypatch.setattr(sertransfer.cli.corpora, "run_corpora", lambda args, overrides: text())
        return run(capsys, "corpora")

    assert said(lambda: CommandResult({}, "a\x1b[2J\tb\nc\u202e")) == (0, "a\\x1b[2J\tb\nc\\u202e\n", "")

    def fault():
        raise sertransfer.errors.bad_input("a\nb", found="c\x1b", expected="d", remedy="e")

    assert said(fault)[2] == "sertransfer: error: a\\nb: found c\\x1b; expected d; e\n"


def in_a_process(code, **environment):
    """Run Python code in a process of its own, with no more of an environment."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            **environment,
        },
        capture_output=True,
    )


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="takes root to be another user")
@pytest.mark.parametrize("home", [{}, {"HOME": "/"}], ids=["no home", "a home that cannot be written"])
def test_a_user_without_a_name_can_use_what_needs_torch(home):
    code = (
        "import getpass, os, pwd, sertransfer.cli.main as cli;"
        "import torch._inductor.runtime.cache_dir_utils as dirs; os.setuid(54321); cli._fit_surroundings();"
        "print(getpass.getuser(), bool(dirs.default_cache_dir()))"
    )
    ran = in_a_process(code, **home)
    assert ran.stdout == b"uid54321 True\n", ran.stderr.decode()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_lacks_characters_gets_them_escaped(encoding):
    code = (
        "import sys, pathlib; from sertransfer.cli import main as cli;"
        "from sertransfer.cli.options import CommandResult;"
        "from sertransfer.cli import results;"
        "results.run_report = lambda args, overrides: CommandResult({}, 'f\u00fcr \u6291\u90c1',"
        " {'page': pathlib.Path('\u6291')});"
        "sys.exit(cli.main(['report', 'x']))"
    )
    ran = in_a_process(code, PYTHONIOENCODING=encoding)
    assert (ran.returncode, ran.stderr) == (0, b"")
    first = b"f\xfcr" if encoding == "latin-1" else b"f\\xfcr"
    assert ran.stdout == first + b" \\u6291\\u90c1\npage: \\u6291\n"


def test_results_are_printed_before_pages(monkeypatch, capsys):
    def fail():
        raise ValueError("no page")

    result = CommandResult({"n": 7}, "7 subjects", {"page": Path("p.html")}, pages=fail)
    monkeypatch.setattr("sertransfer.cli.results.run_report", lambda args, overrides: result)
    assert main.main(["report", "x"]) == 1
    assert capsys.readouterr().out == "7 subjects\n"
    assert main.main(["report", "x", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["result"] == {"n": 7}
