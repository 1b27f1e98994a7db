"""The command line at work: its words, its results, its exit codes."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from conftest import Run, interruptible

from narrowgauge import api
from narrowgauge.cli import parser
from narrowgauge.commands import COMMANDS as WORDS

COMMANDS = ("list", "generate", "verify", "synth", "prove", "flow", "sweep", "vectors", "doctor")


def test_help_lists_the_commands(narrowgauge: Run) -> None:
    done = narrowgauge("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"^ +{command} +\S", done.stdout, re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_defaults_an_example_and_exit_codes(command: str, narrowgauge: Run) -> None:
    done = narrowgauge(command, "--help")
    assert done.returncode == 0
    assert "exit codes: 0 pass, 1 mismatch, 2 usage, 3 missing tool" in done.stdout
    if command not in ("list", "doctor"):
        assert "(default: " in done.stdout
    (example,) = re.findall(r"^example:\n  narrowgauge (.*)$", done.stdout, re.M)
    assert example.split()[0] == command
    options = parser().parse_args(shlex.split(example))
    assert api.points(getattr(options, "names", ()), overrides=getattr(options, "overrides", None))


def test_every_example_is_accepted() -> None:
    for command in WORDS:
        program, *words = shlex.split(command.example)
        assert (program, words[0]) == ("narrowgauge", command.name)
        parser().parse_args(words)


def test_version(narrowgauge: Run) -> None:
    done = narrowgauge("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"narrowgauge \d+\.\d+\.\d+\n", done.stdout)


def test_list(narrowgauge: Run) -> None:
    listed = json.loads(narrowgauge("list", "--json").stdout)
    assert [point["name"] for point in listed] == [point.full_name for point in api.points()]
    text = narrowgauge("list", "lzc").stdout
    assert [line.split()[0] for line in text.splitlines()[2:]] == [
        point.full_name for point in api.points("lzc")
    ]


def test_a_reader_that_leaves_early(tmp_path: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m narrowgauge list | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


def test_doctor(narrowgauge: Run) -> None:
    done = narrowgauge("doctor", "--json")
    checks = json.loads(done.stdout)
    assert {check["name"] for check in checks} >= {"amaranth", "cocotb", "c++", "pyosys"}
    missing = [c for c in checks if c["version"] is None and c["need"] != "optional"]
    assert done.returncode == (3 if missing else 0)
    for check in checks:
        assert (check["version"] is None) == (check["remedy"] is not None)


def test_verify_and_its_junit(narrowgauge: Run, tmp_path: Path) -> None:
    done = narrowgauge("verify", "lzc/w8", "--junit", "out/results.xml", "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert result["passed"]
    assert result["transactions"] == 256
    suite = ET.parse(tmp_path / "out" / "results.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("1", "0")
    assert done.stderr.splitlines()[0].startswith("[1/1] verify lzc/w8 (")


def test_waves_are_kept_and_named(narrowgauge: Run, tmp_path: Path) -> None:
    done = narrowgauge("verify", "lzc/w8", "--waves", "-o", "sim")
    assert done.returncode == 0, done.stderr
    (path,) = re.findall(r"^waves: (.*)$", done.stdout, re.M)
    assert path.startswith("sim/lzc_w8/waves.")
    assert (tmp_path / path).stat().st_size > 10_000


def test_a_mismatch_is_exit_code_1(narrowgauge: Run, tmp_path: Path) -> None:
    """The model is changed under the hardware, in every process that the command starts."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "from narrowgauge.golden.arith import lzc\n"
        "right = lzc.model\n"
        "def model(params, batch):\n"
        "    outputs = right(params, batch)\n"
        "    outputs['count'][batch['word'] == 5] += 1\n"
        "    return outputs\n"
        "lzc.model = model\n"
    )
    arguments = ("verify", "lzc/w8", "--junit", "results.xml")
    done = narrowgauge(*arguments, "-q", PYTHONPATH=str(tmp_path / "site"))
    assert done.returncode == 1
    assert done.stdout.startswith("FAIL  lzc/w8 smoke seed 1: ")
    assert "again: narrowgauge verify lzc/w8 --level smoke --seed 1" in done.stdout
    assert "word = 0x05" in done.stdout
    assert done.stderr == ""
    assert ET.parse(tmp_path / "results.xml").getroot().get("failures") == "1"
    flow = ("flow", "lzc/w8", "--liberty", "generic", "-q")
    done = narrowgauge(*flow, PYTHONPATH=str(tmp_path / "site"))
    assert done.returncode == 1
    assert re.search(r"^lzc/w8 .* FAIL$", done.stdout, re.M)
    assert "1 failed: lzc/w8" in done.stdout
    assert not json.loads((tmp_path / "build/flow/report.json").read_text())["passed"]
    # The same folders, without the change: nothing of the failure stays.
    assert narrowgauge(*flow).returncode == 0
    assert narrowgauge(*arguments).returncode == 0


def test_synth(narrowgauge: Run, tmp_path: Path) -> None:
    done = narrowgauge("synth", "lzc/w8", "--liberty", "generic", "-o", "records")
    assert done.returncode == 0, done.stderr
    assert "lzc/w8" in done.stdout
    record = json.loads((tmp_path / "records" / "lzc_w8.json").read_text())
    assert record["name"] == "lzc/w8"
    assert record["area"]["area"] > 0
    assert "lzc/w8" in (tmp_path / "records" / "lzc_w8.md").read_text()


def test_the_flow_ends_in_a_report_and_resumes(narrowgauge: Run, tmp_path: Path) -> None:
    arguments = ("flow", "lzc/w8", "--liberty", "generic")
    done = narrowgauge(*arguments)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^lzc/w8 .* PASS$", done.stdout, re.M)
    folder = tmp_path / "build" / "flow"
    report = json.loads((folder / "report.json").read_text())
    assert report["passed"]
    assert [point["name"] for point in report["points"]] == ["lzc/w8"]
    assert len(report["sqnr"]) >= 10
    for name in ("report.md", "junit.xml", "rtl/lzc_w8.v", "synth/lzc_w8.json", "synth/lzc_w8.md"):
        assert (folder / name).stat().st_size
    made = [path for path in (tmp_path / "build/cache").rglob("*") if path.is_file()]
    times = {path: path.stat().st_mtime_ns for path in made}
    before = (folder / "report.json").read_bytes()
    assert narrowgauge(*arguments).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in made} == times
    assert (folder / "report.json").read_bytes() == before


def test_an_interrupt_ends_everything(tmp_path: Path) -> None:
    """Exit code 130, one line, and no process left behind."""
    program = (
        "import sys\n"
        "from narrowgauge import cli, options, workers\n"
        "def doctor(options):\n"
        "    script = 'echo $$ > started.tmp; mv started.tmp started; exec sleep 600'\n"
        "    arguments = {'args': ['sh', '-c', script]}\n"
        "    task = workers.Task(label='wait', function='subprocess:run', arguments=arguments)\n"
        "    workers.run([task, task], jobs=1)\n"
        "cli.COMMANDS = [options.Command(doctor, 'fail', '', lambda sub: None)]\n"
        "sys.exit(cli.main(['doctor']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
    )
    while not (tmp_path / "started").exists():
        assert process.poll() is None
        time.sleep(0.05)
    child = int((tmp_path / "started").read_text())
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == "narrowgauge: interrupted\n"
    for _ in range(200):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail(f"process {child} is still there")


def test_colour_only_on_a_terminal(narrowgauge: Run) -> None:
    assert "\x1b" not in narrowgauge("list").stdout
