"""The tracked attacks: the page shows them; what the formats should do."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from narrowgauge.attack import fields_of
from narrowgauge.golden.attack import FIELDS, METHODS
from tests.reference import attack

DATA = attack.load()


def run(fmt: str, method: str, word: str, seed: int, count: int | None) -> dict[str, Any]:
    """A made-up run."""
    last = {"flips": count or 9, "test": 0.1 if count else 0.4, "distilled": 0.25}
    more = {
        "tensor": "0", "word": 1, "bit": 7, "field": "top", "place": 7, "before": -102,
        "after": 26, "loss": 1.23456789, "block": 0, "index": 0, "weights": 1, "weight": 3,
        "old": -1.0, "new": 0.25,
    }  # fmt: skip
    return {
        "fields": word,
        "plan": {"fmt": fmt, "method": method, "seed": seed, "fields": ["top"], "budget": 9},
        "clean": {"test": 0.875, "distilled": 1.0},
        "end": "reached" if count else "budget",
        "to_chance": count,
        "seen": None,
        "trials": [{"flips": (count or 8) + 1, "end": "reached", "distillation": [{"steps": 37}]}],
        "validation": [],
        "bits": dict.fromkeys(FIELDS, 5),
        "flips": [last if method == "random" else more | last],
    }


def report(**changed: Any) -> dict[str, Any]:
    """A made-up record without runs."""
    plain = {
        "formats": ["int8"], "methods": ["zebra"], "fields": ["all"], "net": "mobilenet",
        "data": "fashion", "epochs": 2, "rate": 0.3, "train_batch": 256, "train_seed": 1,
        "seeds": 2, "tests": 2000, "budget": 9, "trials": 5, "batch": 64, "bound": 2.0,
        "validation": 200, "bar": 0.11, "judge": "test", "tried": 4, "word_bits": 64,
        "reading": "replace", "accuracy": 0.8765, "parameters": 123, "torch": "2", "numpy": "2",
    }  # fmt: skip
    return {"configuration": plain | changed, "runs": []}


def test_records_become_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, data = tmp_path / "page.md", tmp_path / "attack.json"
    page.write_text(f"before\n{attack.BEGIN}\nold\n{attack.END}\nafter\n", "utf-8")
    monkeypatch.setattr(attack, "PAGE", page)
    monkeypatch.setattr(attack, "DATA", data)
    methods, fields = report(methods=list(METHODS)), report(fields=["all", "scale"], trials=1)
    counts = {"zebra": (6, 8), "bfa": (9, 9), "random": (800, None)}
    for method, (one, two) in counts.items():
        methods["runs"] += [
            run("int8", method, "all", 1, one), run("int8", method, "all", 2, two)
        ]  # fmt: skip
    fields["runs"] = [run("mxint8", "zebra", word, 1, 1) for word in ("all", "scale")]
    paths = []
    for name, record in {"methods": methods, "fields": fields}.items():
        file = tmp_path / f"{name}.json"
        paths.append(f"{name}={file}")
        file.write_text(json.dumps(record), "utf-8")
    attack.main(paths)
    text = page.read_text("utf-8")
    assert text == attack.render(attack.load(), text)
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows == [
        "| `int8` | zebra | 87.5 | 7.0 (6 to 8) | 1.4 | 8.0 | 10.0 |",
        "| `int8` | bfa | 87.5 | 9 | 0.0 |  | 10.0 |",
        "| `int8` | random | 87.5 | 1 of 2 in 800, 25 % left |  |  | 25.0 |",
        "| `mxint8` | 87.5 | 1 | top 7 | 1 |",
    ]
    commands = [line.strip() for line in text.splitlines() if "narrowgauge attack" in line]
    assert commands[0].startswith(
        "narrowgauge attack --data fashion --method zebra,bfa,random --train-batch 256 --seeds 2 "
        "--tests 2000 --budget 9 --trials 5"
    )
    kept = attack.load()["methods"]["runs"]
    assert kept[0]["flips"] == [["0", 1, 7, "top", 7, -102, 26, 1.2346, 6, 0.1, 0.25]]
    assert kept[4]["flips"] == [[800, 0.1, 0.25]]


def test_the_page_shows_them() -> None:
    page = attack.PAGE.read_text(encoding="utf-8")
    assert page == attack.render(DATA, page), "python -m tests.reference.attack NAME=FILE ..."


def test_what_was_measured() -> None:
    """Whole records: each kind of run once a seed, flips where they may lie."""
    for data in DATA.values():
        c = data["configuration"]
        assert c["data"] == "fashion"
        assert re.fullmatch(r"[0-9a-f]{64}", c["data_sha256"])
        for found in data["runs"]:
            known = fields_of(found["plan"]["fmt"])
            assert set(found["plan"]["fields"]) <= set(known)
            assert 1 <= found["plan"]["seed"] <= c["seeds"]
            if found["plan"]["method"] == "random":
                continue
            for flip in found["flips"]:
                if "guard" in found["plan"]:
                    continue
                told = dict(zip(attack.FLIP, flip, strict=True))
                assert told["field"] in found["plan"]["fields"]
                assert told["before"] != told["after"]
                assert 0 <= told["bit"] < c["word_bits"]
            if found["to_chance"] is not None:
                assert found["flips"][-1][-3] == found["to_chance"]
                assert found["flips"][-1][-2] <= c["bar"]
        groups = {
            (
                r["plan"]["fmt"],
                r["plan"]["method"],
                r["fields"],
                r["plan"]["seed"],
                r["plan"].get("guard"),
            )
            for r in data["runs"]
        }
        assert len(groups) == len(data["runs"])
        assert len(groups) % c["seeds"] == 0


def test_shared_exponents_fall_first() -> None:
    """One flip of a scale, in every format that has one; elements take several."""
    data = DATA["fields"]
    for found in attack.runs(data, word="scale"):
        assert found["to_chance"] == 1, found["plan"]
    for word in ("top+element", "position"):
        for found in attack.runs(data, word=word):
            assert found["to_chance"] is None or found["to_chance"] > 1, found["plan"]
    for found in attack.runs(data, word="outlier"):
        assert found["to_chance"] == 1, found["plan"]


def test_exponents_go_up() -> None:
    """The flip that suffices multiplies by 2^128: bit 7 of a scale, bit 14 of bf16, 0 to 1."""
    data = DATA["fields"]
    for word, bit in (("scale", 7), ("outlier", 14)):
        for found in attack.runs(data, word=word):
            flip = dict(zip(attack.FLIP, found["flips"][0], strict=True))
            assert flip["place"] == bit, found["plan"]
            assert flip["after"] - flip["before"] == 1 << bit, found["plan"]


def elements(fmt: str) -> float:
    """Mean flips of elements to chance."""
    data = DATA["fields"]
    found = attack.runs(data, fmt=fmt, word="top+element") or attack.runs(data, fmt=fmt)
    return sum(run["to_chance"] or 40 for run in found) / len(found)


def test_elements_beside_outliers_hold_out_longest() -> None:
    every = DATA["fields"]["configuration"]["formats"]
    opal = [elements(fmt) for fmt in every if fmt.startswith("mx_opal")]
    others = [elements(fmt) for fmt in every if not fmt.startswith("mx_opal")]
    assert min(opal) > max(others)


def test_searched_flips_are_few() -> None:
    """Without data as with it far fewer than at random."""
    data = DATA["methods"]
    for fmt in data["configuration"]["formats"]:
        least = min(
            found["to_chance"] or 1_000_000 for found in attack.runs(data, fmt=fmt, method="random")
        )
        for method in ("zebra", "bfa"):
            for found in attack.runs(data, fmt=fmt, method=method):
                assert 10 * (found["to_chance"] or len(found["flips"])) < least


def test_guards() -> None:
    """What each code costs, and which guard below 5 % of storage costs 20 times the flips."""
    data = DATA["guards"]
    blocks = ("mx_opal4", "fb16", "mxint8")
    prices = {"none": 1, "parity": 2, "secded_scale": 3, "secded": 3}
    for fmt in blocks:
        for guard, flips in prices.items():
            for found in attack.runs(data, fmt=fmt, guard=guard):
                assert found["to_chance"] == flips, found["plan"]
        for guard in ("clamp", "window", "secded_scale_window", "secded_top_window"):
            assert attack.price(attack.runs(data, fmt=fmt, guard=guard))[0] > 5

    def times(fmt: str, guard: str) -> float:
        one, plain = (attack.price(attack.runs(data, fmt=fmt, guard=g)) for g in (guard, "none"))
        return one[0] / plain[0]

    assert times("mx_opal4", "secded_shared_window") >= 20  # in one trial
    assert attack.overhead("mx_opal4", "secded_shared_window") < 5
    for fmt in ("fb16", "mxint8", "int8"):
        for guard in data["configuration"]["guards"]:
            if attack.runs(data, fmt=fmt, guard=guard):
                assert times(fmt, guard) < 20, (fmt, guard)


def test_guards_of_another_net() -> None:
    """Exponents fall at once unguarded, and no seed of MX-OPAL below 20 flips behind both."""
    data = DATA["guards_resnet"]
    assert data["configuration"]["net"] == "resnet"
    for fmt in data["configuration"]["formats"]:
        assert attack.price(attack.runs(data, fmt=fmt, guard="none")) == (1, True)
    for guard in ("secded_scale_window", "secded_shared_window"):
        for found in attack.runs(data, fmt="mx_opal4", guard=guard):
            assert found["to_chance"] >= 20


def test_trials_behind_a_guard() -> None:
    """Who begins again needs fewer; the other net still withstands 20 times the flips."""
    for name, first in (("repeated", "guards"), ("repeated_resnet", "guards_resnet")):
        for found in DATA[name]["runs"]:
            plan = found["plan"]
            once = [run for run in attack.runs(DATA[first], fmt=plan["fmt"], guard=plan["guard"])
                    if run["plan"]["seed"] == plan["seed"]]  # fmt: skip
            assert found["to_chance"] <= once[0]["to_chance"] == found["trials"][0]["flips"]
            assert name == "repeated" or found["to_chance"] >= 20


def test_flips_behind_guards() -> None:
    """Each way at its price, within what was allowed."""
    costs = {"bit": {1}, "pair": {2}, "triple": {2, 3, 4}, "dead": {1, 2}}
    data = DATA["guards"]
    for found in [*data["runs"], *DATA["guards_resnet"]["runs"]]:
        spent = 0
        for flip in found["flips"]:
            told = dict(zip(attack.GUARDED, flip, strict=True))
            assert len(told["bits"]) == len(told["fields"])
            assert len(told["bits"]) in costs[told["way"]]
            spent += len(told["bits"])
            assert told["flips"] == spent <= data["configuration"]["budget"]
