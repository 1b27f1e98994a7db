"""The page in a real browser: headless Chromium on a file, by Playwright."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_samples import EVIL, NASTY, POINTS, results
from playwright.sync_api import sync_playwright

from narrowgauge.page import build
from narrowgauge.page.figure import Figure
from narrowgauge.page.subjects import collect

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome here")

LAPTOP, PHONE = {"width": 1366, "height": 768}, {"width": 390, "height": 844}
_PATIENCE = 120_000
"""Milliseconds, for a machine with other work."""

ERRORS = [
    {"format": "mx_opal4", "bits_per_element": 4.78, "sqnr": {"a": 20.0, "b": 24.0, "c": 50.0}},
    {"format": "mx_opal4_n0", "bits_per_element": 4.06, "sqnr": {"a": 9.0, "b": 11.0, "c": 30.0}},
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Figure]]:
    """The page of the sample as a file, and its figures."""
    folder = tmp_path_factory.mktemp("page")
    text, figures = build.page(collect(results(folder / "cache")), ERRORS, library="generic")
    path = folder / "index.html"
    path.write_text(text, encoding="utf-8")
    return path, figures


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium for all tests."""
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Any, made: tuple[Path, list[Figure]]) -> Iterator[Any]:
    """Opens the page; whatever it complains of or asks for fails the test at its end."""
    contexts, trouble = [], []
    address = made[0].as_uri()

    def open_page(**settings: Any) -> Any:
        context = browser.new_context(**{"viewport": LAPTOP, **settings})
        contexts.append(context)
        context.set_default_timeout(_PATIENCE)
        page = context.new_page()
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda problem: trouble.append(str(problem)))
        page.on("request", lambda request: trouble.append(request.url))
        page.goto(address)
        page.wait_for_selector("html[data-ready]", timeout=_PATIENCE)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [each for each in trouble if each not in (address, "data:,")] == []


def column(page: Any, key: str) -> list[str]:
    """What the visible rows of the comparison show under a heading, in their order."""
    texts: list[str] = page.locator(
        f"#comparison tbody tr:not([hidden]) [data-key={key}] :first-child"
    ).all_inner_texts()
    return texts


def names(page: Any) -> list[str]:
    """The visible points of the comparison, in their order."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('#comparison tbody tr:not([hidden])')]"
        ".map((row) => row.dataset.name)"
    )
    return found


def ratio(page: Any, name: str, key: str) -> str | None:
    """The ratio under a figure, or None."""
    cell = page.locator(f'#comparison tr[data-name="{name}"] [data-key={key}] .ratio')
    text: str | None = cell.inner_text() if cell.count() else None
    return text


def test_every_plot_has_its_data(opened: Any, made: tuple[Path, list[Figure]]) -> None:
    page = opened()
    assert len(made[1]) == 8
    for figure in made[1]:
        for mark, count in figure.marks.items():
            drawn = page.locator(f"#{figure.key} svg g.{mark} > *").count()
            assert drawn == count > 0, (figure.key, mark)
        assert page.locator(f"#{figure.key}").get_attribute("aria-label") == figure.text
        rows = page.locator(f"[data-figure={figure.key}] details table tbody tr").count()
        assert rows == len(figure.rows)
        assert page.locator(f"[data-figure={figure.key}] .command code").count() >= 1


def test_plots_are_as_wide_as_their_place(opened: Any, made: tuple[Path, list[Figure]]) -> None:
    page = opened()
    for width in (1366, 700):
        page.set_viewport_size({"width": width, "height": 768})
        for figure in made[1]:
            page.wait_for_function(
                "(key) => { const place = document.getElementById(key);"
                " const width = place.querySelector('svg').getBoundingClientRect().width;"
                " return Math.abs(width - place.clientWidth) < 12; }",
                arg=figure.key,
            )


def test_the_filter_leaves_what_was_asked_for(opened: Any) -> None:
    page = opened()
    assert sorted(names(page)) == sorted(POINTS)
    page.fill("#filter", "DOT l32")
    shown = [name for name in POINTS if "dot" in name and "l32" in name]
    assert sorted(names(page)) == sorted(shown)
    assert page.inner_text("#count") == f"{len(shown)} of {len(POINTS)} points"
    page.select_option("#unit", "bf16_dot")
    assert names(page) == ["bf16_dot/l32"]
    page.fill("#filter", "nothing has this name")
    assert names(page) == []


def test_headings_sort_by_number(opened: Any) -> None:
    page = opened()

    def values() -> list[float]:
        texts = column(page, "ge_mac")
        return [float(text.replace("\u202f", "")) for text in texts if text != "\u2013"]

    for key, rising in (("Enter", True), ("Enter", False)):
        page.locator("#comparison th[data-key=ge_mac] button").press(key)
        found = values()
        assert len(found) == 6
        assert found == sorted(found, reverse=not rising)
        # What has no figure stays at the end.
        assert column(page, "ge_mac")[-3:] == ["\u2013"] * 3
        state = page.get_attribute("#comparison th[data-key=ge_mac]", "aria-sort")
        assert state == ("ascending" if rising else "descending")


def test_the_reference_decides_the_ratios(opened: Any) -> None:
    page = opened()
    assert ratio(page, "mx_dot/w4a4_l128", "ge") == "0.17\u00d7"
    assert ratio(page, "mx_dot/w4a4_l128", "mac_glitch") == "0.17\u00d7"
    assert ratio(page, "bf16_dot/l128", "ge") is None
    assert ratio(page, "fp_add/fp8_e5m2", "ge") is None
    # A block of mx_dot has more MACs than a beat of bf16_dot: no ratio an operation.
    assert ratio(page, "mx_dot/w4a4_l32", "op_zero") is None
    page.select_option("#reference", "mx_dot/w4a4_l128")
    assert ratio(page, "bf16_dot/l128", "ge") == "6.05\u00d7"
    assert ratio(page, "mx_dot/w4a4_l128", "ge") is None
    assert "reference" in page.inner_text('tr[data-name="mx_dot/w4a4_l128"] th')
    page.select_option("#reference", "")
    assert page.locator("#comparison td .ratio").count() == 0


def test_vectors_decide_the_energies(opened: Any) -> None:
    page = opened()
    cell = '#comparison tr[data-name="bf16_dot/l128"] [data-key=mac_zero] .value'
    assert page.inner_text(cell) == "0.775"
    page.select_option("#vectors", "random")
    assert page.inner_text(cell) == "1.16"
    page.select_option("#vectors", "real")
    assert "random" in page.inner_text('tr[data-name="mx_quantize/mxfp4_l8"] th')


def test_without_scripts_the_figures_are_there(
    browser: Any, made: tuple[Path, list[Figure]]
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(made[0].as_uri())
    assert page.inner_text('tr[data-name="bf16_dot/l128"] [data-key=mac_zero]') == "0.775"
    assert page.inner_text('tr[data-name="bf16_dot/l128"] [data-key=ge]') == "124\u202f000"
    assert "need JavaScript" in page.inner_text("noscript")
    context.close()


def test_the_treemap_shows_the_point_chosen(opened: Any, made: tuple[Path, list[Figure]]) -> None:
    page = opened()
    (figure,) = [figure for figure in made[1] if figure.choices]
    stem, nodes, text = figure.choices["mx_dot/w3a3_l32"]
    page.select_option("#area-hierarchy-choice", "mx_dot/w3a3_l32")
    page.wait_for_selector(f'a[href="plots/area-hierarchy-{stem}.svg"]')
    page.wait_for_selector("#area-hierarchy svg text >> text=mx_dot/w3a3_l32")
    leaves = sum("ge" in node for node in nodes)
    assert page.locator("#area-hierarchy svg g.leaf > path").count() == leaves
    assert page.get_attribute("#area-hierarchy", "aria-label") == text


def test_text_from_results_is_only_text(opened: Any) -> None:
    page = opened()
    assert page.title() == "narrowgauge: measured"
    assert EVIL in page.locator("#proofs").inner_text()
    assert page.locator("#proofs td b").count() == 0
    assert NASTY in page.locator("#area-hierarchy svg").text_content()


def test_commands_are_copied(opened: Any) -> None:
    page = opened(permissions=["clipboard-read", "clipboard-write"])
    details = page.locator("[data-figure=area-delay-dot] details").last
    details.locator("summary").click()
    details.locator(".copy").first.click()
    page.wait_for_function("document.querySelector('.copy') !== null")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == "narrowgauge sweep mx_dot bf16_dot --measure delay"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_no_page_sideways(opened: Any, scheme: str) -> None:
    page = opened(viewport=PHONE, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    beyond = page.evaluate(
        "[...document.querySelectorAll('main *, header *')].filter((each) =>"
        " each.getBoundingClientRect().right > innerWidth + 1 && !each.closest('.box, svg'))"
        ".map((each) => each.outerHTML.slice(0, 80))"
    )
    assert beyond == []


def test_dark_and_light_have_their_colours(opened: Any) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        page = opened(color_scheme=scheme)
        seen[scheme] = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor,"
            " getComputedStyle(document.body).color,"
            " getComputedStyle(document.querySelector('#area-delay-dot .points_marks path')).fill,"
            " getComputedStyle(document.querySelector('#area-delay-dot text')).fill]"
        )
    assert all(a != b for a, b in zip(seen["light"], seen["dark"], strict=True))
    # The switch goes over what the system says.
    page.check("input[value=light]", force=True)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == seen["light"][0]


def test_tables_and_plots_have_names(opened: Any) -> None:
    page = opened()
    assert page.locator("h1").count() == 1
    assert page.locator("table").count() == page.locator("table > caption").count()
    assert page.locator("[role=img]:not([aria-label])").count() == 0
    labelled = page.evaluate(
        "[...document.querySelectorAll('input, select')].every((each) => each.labels.length)"
    )
    assert labelled
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
