"""The page of the OPAL core: its tables are those of the tracked figures."""

import json

from tests.reference import opal


def test_the_page_shows_them() -> None:
    page = opal.PAGE.read_text(encoding="utf-8")
    assert page == opal.write(page), "python -m tests.reference.opal"


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
