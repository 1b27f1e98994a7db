"""The page of the OPAL core: its tables are those of the tracked figures."""

import json
from pathlib import Path

import pytest

from tests.reference import opal, pages


@pytest.mark.parametrize("page", opal.PAGES, ids=lambda page: page.stem)
def test_the_pages_show_them(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == pages.write(text, opal.PAGES[page]), "python -m tests.reference.opal"


def test_a_whole_layer_was_compared() -> None:
    made = json.loads(opal.LAYER_FILE.read_text(encoding="utf-8"))
    assert made["positions"] >= 64
    assert [stage["commands"] for stage in made["stages"]] == [3, 9, 1, 2, 1]
    assert made["bits_compared"] > 200_000
    assert made["macs"] == 576 * 960 + 2 * 9 * 64 * 64 + 576 * 576 + 3 * 576 * 1536


def test_modules_belong_to_parts() -> None:
    assert opal.part("dot.int_array") == opal.part("dot.lane12") == "array"
    assert opal.part("dot.outliers") == opal.part("scale") == "floating point"
    assert opal.part("collector.quantise.codes") == "quantiser"
    assert opal.part("collector") == opal.part("control") == "control and buffers"


def test_claims_of_the_paper() -> None:
    data = opal.load()
    assert set(data["cores"]) == set(opal.CORES)
    bf16, four, three = "bf16_core/l128", "opal_core/p47_l128", "opal_core/p35_l128"
    # 2.4 to 3.1 times smaller, 1.6 to 2.2 times less energy.
    assert opal.ratio(data, bf16, four, "area") > 2.4
    assert opal.ratio(data, bf16, three, "area") > 3.1
    for core in (four, three):
        assert opal.ratio(data, bf16, core, "energy") > 2.2
        assert opal.ratio(data, bf16, core, "energy with memories") > 2.2
    for name, core in data["cores"].items():
        ge = sum(area for area, _ in core["parts"].values())
        assert abs(ge - core["speed_ge"]) < 0.02 * ge, name
        assert abs(sum(pj for _, pj in core["parts"].values()) - core["pj"]) < 0.01 * core["pj"]
