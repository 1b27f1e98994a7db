"""The figures beside FP32 on the page of range batch normalisation are those that are tracked."""

from pathlib import Path

import pytest

from tests.reference import pages, range_bn


@pytest.mark.parametrize("page", range_bn.PAGES, ids=lambda page: page.stem)
def test_the_pages_show_them(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == pages.write(text, range_bn.PAGES[page]), "python -m tests.reference.range_bn"


def test_every_design_has_every_pass() -> None:
    data = range_bn.load()
    assert set(data["designs"]) == set(range_bn.DESIGNS)
    for name, made in data["designs"].items():
        assert tuple(made["passes"]) == range_bn.PASSES[name.partition("/")[0]]
        for quiet, late in made["passes"].values():
            assert 0 < quiet < late


def test_ratios() -> None:
    """Blocks of narrow numbers are smaller and take less energy and traffic."""
    data = range_bn.load()
    blocks = "range_bn_array/g4_l8"
    assert range_bn.ratio(data, range_bn.BASE, "area") == 1
    assert range_bn.ratio(data, blocks, "area") > 3.5
    assert range_bn.ratio(data, blocks, "energy") > 3.5
    # 288 bits against 48.5.
    assert round(range_bn.ratio(data, blocks, "memory traffic"), 2) == 5.94
    assert range_bn.ratio(data, "range_bn_array/g1_l8", "memory traffic") == 288 / 70
