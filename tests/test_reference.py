"""The tracked figures: the README shows them, the present flow made them, and makes them again."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from narrowgauge import api, flow
from narrowgauge.synth import library
from narrowgauge.synth.flow import flow_digest
from tests.reference import PAGES, README, SHOWN, cost_row, load, pages, readme

DATA = load()
POINTS = {point["name"]: point for point in DATA["points"]}


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.stem)
def test_pages_show_the_reference(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == pages.write(text, SHOWN[page]), "make reference writes the tables"


def test_readme_says_what_was_measured() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == pages.write(text, readme.PAGES[README]), "python -m tests.reference.readme"


def test_a_page_without_a_place_is_no_page() -> None:
    with pytest.raises(ValueError, match="no place for the table costs"):
        pages.write("<!-- costs:begin -->", {"costs": str})


def test_the_flow_is_the_one_that_made_it() -> None:
    stamp = flow_digest(library.load(DATA["library"]))
    assert stamp == DATA["flow_digest"], "the flow has changed: make reference"


def test_every_point_passed_and_is_listed() -> None:
    assert all(point["passed"] and point["beats"] for point in POINTS.values())
    assert set(POINTS) == {point.full_name for point in flow.default()}


@pytest.mark.parametrize("name", ["lzc/w8", "fp_add/fp32", "mx_quantize/mxfp4_l8"])
def test_figures_come_out_again(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    record = api.synthesize(name, cache=tmp_path_factory.mktemp("cache"))[0]
    point = POINTS[name]
    measured = (round(record.ge, 1), record.flip_flops, record.depth, round(record.delay_ps))
    assert measured == (point["ge"], point["flip_flops"], point["depth"], point["delay_ps"])


def test_smallest_four_bit_peer_is_larger_than_the_int_path() -> None:
    # 128 GE a MAC: the smallest public 4-bit dot product measured on this recipe; it has neither
    # scales nor accumulator, ours has both and no outliers.
    plain = POINTS["mx_dot/w4a4_n0_l128"]
    assert plain["ge"] / plain["macs"] < 128


def test_whole_unit_is_a_fifth_of_bf16() -> None:
    whole, baseline = POINTS["mx_dot/w4a4_l128"], POINTS["bf16_dot/l128"]
    assert whole["ge"] * 5 <= baseline["ge"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_show_what_components_cost(page: Path) -> None:
    rows = page.read_text(encoding="utf-8").splitlines()
    for point in api.points(page.stem):
        assert cost_row(point.full_name) in rows, "make reference writes the pages"


def _sessions() -> list[tuple[str, str]]:
    """(command, output) of the README's console blocks."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", README.read_text("utf-8"), re.M | re.S):
        for part in block.split("$ ")[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


def test_readme_shows_three_commands() -> None:
    assert len(_sessions()) == 3


@pytest.mark.parametrize(("command", "output"), _sessions(), ids=lambda text: text[:40])
def test_readme_shows_what_commands_print(command: str, output: str, tmp_path: Path) -> None:
    words = shlex.split(command)
    assert words[0] == "narrowgauge"
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=tmp_path,
        env=os.environ | {"NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
        check=True,
    )
    assert done.stdout.strip() == output.strip()
