"""The tracked trainings: the page shows them; what narrow batch normalisation should cost."""

import re

import pytest

from narrowgauge.train import NETS, NORMS
from tests.reference import training

REPORTS = training.load()
FULL = REPORTS[0]


def test_the_page_shows_them() -> None:
    page = training.PAGE.read_text(encoding="utf-8")
    assert page == training.render(REPORTS, page), "python -m tests.reference.training FILE.json"


def test_what_was_measured() -> None:
    assert tuple(FULL["runs"]) == NETS
    for report in REPORTS:
        known = report["configuration"]
        assert known["data"] == "fashion"
        assert (known["images"], known["test_images"]) == (60_000, 10_000)
        assert re.fullmatch(r"[0-9a-f]{64}", known["data_sha256"])
        for norms in report["runs"].values():
            assert set(norms) <= set(NORMS)
            for runs in norms.values():
                assert len(runs) == known["seeds"] == 3
                assert all(len(run["accuracy"]) == known["epochs"] for run in runs)
    assert all(tuple(norms) == NORMS for norms in FULL["runs"].values())


@pytest.mark.parametrize("net", NETS)
def test_golden_arithmetic_costs_little_over_the_unrounded_range(net: str) -> None:
    """Rounding to FP10 and BFP, apart from what the range does in place of the deviation."""
    for norm in ("fp10", "bfp4", "bfp8", "bfp16"):
        assert training.mean(FULL, net, norm) > training.mean(FULL, net, "fp32") - 0.5
