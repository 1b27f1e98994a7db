"""The figures on the page of `lightnorm` are those that are tracked."""

from pathlib import Path

import pytest

from narrowgauge.synth import library
from narrowgauge.synth.flow import flow_digest
from tests.reference import lightnorm, pages, range_bn


@pytest.mark.parametrize("page", lightnorm.PAGES, ids=lambda page: page.stem)
def test_the_page_shows_them(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == pages.write(text, lightnorm.PAGES[page]), "python -m tests.reference.lightnorm"


def test_the_core_takes_little_more_than_its_lanes() -> None:
    data, lanes = lightnorm.load(), range_bn.load()["designs"]["range_bn_array/g4_l8"]
    assert data["flow_digest"] == flow_digest(library.load(data["library"]))
    assert lanes["ge"] < data["ge"] < 1.5 * lanes["ge"]
    for name, made in data["passes"].items():
        same = lanes["passes"]["normalise" if name == "normalize" else name]
        assert 0.9 * same[0] < made["logic"] < 2 * same[0]
        assert made["logic"] < made["glitch"]
        # Within a chunk everything is in registers.
        assert made["memory"] == 0
