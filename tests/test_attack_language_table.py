"""The tracked attacks on a language model: the page shows them."""

import json

import pytest

from tests.reference import attack_language


@pytest.mark.skipif(not attack_language.DATA.exists(), reason="not measured yet")
def test_the_page_shows_them() -> None:
    data = json.loads(attack_language.DATA.read_text(encoding="utf-8"))
    page = attack_language.PAGE.read_text(encoding="utf-8")
    assert page == attack_language.render(data, page)
    for run in data["runs"]:
        for flip in run["flips"]:
            assert flip[-2] <= run["plan"]["budget"]
        if run["plan"]["fmt"] != "int8":
            assert run["to_chance"] == 1
