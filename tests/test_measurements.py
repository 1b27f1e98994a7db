"""The tracked measures: the page shows them, every unit has them, and some are measured again."""

from pathlib import Path

import pytest

from narrowgauge import api, energy, registry, timing
from narrowgauge.synth import library
from narrowgauge.synth.flow import flow_digest
from tests.reference import README, UNMEASURED, UNMUTATED, measures, opal, pages

DATA = measures.load()
POINTS = {point["name"]: point for point in DATA["points"]}
UNITS = [
    entry.name
    for entry in registry.ENTRIES
    if any(f"{entry.name}/{point}" in POINTS for point in entry.points)
]


def test_the_page_shows_them() -> None:
    assert measures.PAGE.read_text(encoding="utf-8") == measures.render(DATA), "make measure"


def test_the_readme_shows_the_largest_dot_products() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == pages.write(text, measures.SHOWN[README]), "make measure"


def test_the_flow_is_the_one_that_made_them() -> None:
    stamp = flow_digest(library.load(DATA["library"]))
    assert stamp == DATA["flow_digest"], "the flow has changed: make measure"


def test_every_point_has_every_figure() -> None:
    assert not {*POINTS} & {*UNMEASURED}
    assert {*POINTS, *UNMEASURED, *opal.CORES} == {point.full_name for point in api.points()}
    for chosen in api.points(tuple(POINTS)):
        point = POINTS[chosen.full_name]
        assert point["period_ps"] > 0
        assert point["beats"] > 0
        if "gates" not in measures.wanted(chosen):
            assert point["energy"]["real"]["zero_delay"] > 0
            continue
        assert len(point["curve"]) > (2 if point["name"] != "bf16_dot/l128" else 1)
        assert point["energy"]["random"]["zero_delay"] < point["energy"]["random"]["glitch"]
        assert point["gates"]["equal"] is True
        # The largest is played like the others; ABC does not prove it in a minute.
        wanted = 2 if point["name"] != "bf16_dot/l128" else point["gates"]["proved"]
        assert point["gates"]["proved"] == wanted


def test_energies_of_real_vectors_where_a_unit_has_them() -> None:
    for point in POINTS.values():
        assert ("real" in point["energy"]) == (point["layer"] != "arith")


UNSETTLED = {"lightnorm/g2_l2": ["payload and last stay while they wait"]}
"""Claims that the solver does not settle in ten minutes; every run of the bench asserts them."""


@pytest.mark.parametrize(
    "name", [p.full_name for p in api.points(tuple(POINTS)) if "proof" in measures.wanted(p)]
)
def test_claims_are_proved(name: str) -> None:
    claims = POINTS[name]["claims"]
    assert claims
    assert {claim["status"] for claim in claims} <= {"proved", "unknown"}
    open_ = [claim["claim"] for claim in claims if claim["status"] == "unknown"]
    assert open_ == UNSETTLED.get(name, [])


BELOW = {
    "mx_quantize/opal4_l8": 0.91,
    "log2_softmax/c3_t64": 0.86,
    "opal_dot/p47_l32": 0.94,
    "bf16_softmax/t64": 0.88,
    "bfp_pack/e5m5_k4_shared": 0.98,
    "bfp_pack/e6m4_k4_shared": 0.97,
    "bfp_pack/e5m5_e6m4_k4_shared": 0.98,
    "fused_mul/c1": 0.99,
}
"""Points that miss 95 %, of arith 100 %, at level smoke: docs/mutation.md."""


@pytest.mark.parametrize("unit", [u for u in UNITS if u not in UNMUTATED])
def test_mutants_are_killed(unit: str) -> None:
    measured = [p for p in POINTS.values() if p["name"].startswith(f"{unit}/") and "mutation" in p]
    assert measured
    for point in measured:
        mutation = point["mutation"]
        assert mutation["mutants"] >= 100
        if point["layer"] == "arith" and point["name"] not in BELOW:
            assert mutation["killed"] == mutation["mutants"] - mutation["equivalent"]
        assert mutation["score"] >= BELOW.get(point["name"], 0.95)


def test_units_without_mutants_are_named() -> None:
    mutated = {name.partition("/")[0] for name, point in POINTS.items() if "mutation" in point}
    assert {*UNMUTATED} == {*UNITS} - mutated


@pytest.mark.parametrize("name", ["lzc/w8", "fp_add/fp8_e5m2"])
def test_figures_come_out_again(name: str, tmp_path: Path) -> None:
    unit, point = POINTS[name], name
    found = timing.delay(
        name=point, overrides={}, liberty=DATA["library"], cache=tmp_path, goal="speed"
    )
    assert round(found["period_ps"], 1) == unit["period_ps"]
    spent = energy.measure(name=point, overrides={}, liberty=DATA["library"], cache=tmp_path)
    for kind in ("zero_delay", "glitch"):
        again = round(spent["vectors"]["random"][kind]["pj_per_op"], 4)
        assert again == unit["energy"]["random"][kind]
