"""The tracked perplexities: the page shows them; what narrow activations should cost."""

import re

import numpy as np
import pytest

from narrowgauge.golden.llm.scheme import SCHEMES
from tests.reference import perplexity

DATA = perplexity.load()
NAMES = set(DATA["schemes"])


def test_the_page_shows_them() -> None:
    page = perplexity.PAGE.read_text(encoding="utf-8")
    assert page == perplexity.render(DATA, page), "python -m tests.reference.perplexity FILE.json"


def test_what_was_measured() -> None:
    known = DATA["configuration"]
    assert known["layers"] is None
    assert known["policy"] is None
    assert known["window"] == 512
    assert re.fullmatch(r"[0-9a-f]{64}", known["model_sha256"])
    assert {"fp32", "w4a16", "w4a4_7", "w4a4_7_log2", "mxint4"} <= NAMES <= {"fp32", *SCHEMES}
    for name, scheme in DATA["schemes"].items():
        assert len(scheme["losses"]) == known["windows"]
        assert scheme["perplexity"] == pytest.approx(np.exp(np.mean(scheme["losses"]))), name
