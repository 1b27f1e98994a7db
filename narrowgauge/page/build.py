"""The page put together, and the plots as files."""

import functools
import importlib.util
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from narrowgauge import __version__, tasks
from narrowgauge import output as outputs
from narrowgauge.golden.errors import MissingToolError, UsageError
from narrowgauge.page.subjects import Row, Subject, collect
from narrowgauge.store import DEFAULT, Store

if TYPE_CHECKING:
    from narrowgauge.page.figure import Figure

__all__ = ["need_extra", "page", "plots", "report"]

_BUNDLE = "window.vegaEmbed = vegaEmbed;"
"""What the page takes from the bundle; `vega` itself is null in that of vl-convert 1.9."""


def report(
    names: str | Sequence[str] = (),
    *,
    store: str | Path = DEFAULT,
    output: str | Path = "build/report",
    cache: str | Path = "build/cache",
    library: str | None = None,
) -> list[Path]:
    """Write the page of the results in `store` and its plots; return the files, the page first.

    Parameters
    ----------
    names : `unit`, `unit/point`, or a full name with its overridden parameters; none is everything
    store : the database of results (`narrowgauge sweep`)
    output : folder of `index.html` and `plots/NAME.svg`, `plots/NAME.png`
    cache : where quantisation errors are kept
    library : cell library whose figures are shown; needed where the store has several and none is
        nangate45

    Raises
    ------
    UsageError : no store, no results, no such name or library, a folder that cannot be written to
    MissingToolError : the extra `report` is not installed
    """
    need_extra("the page")
    rows = Store(store).rows()
    if not rows:
        raise UsageError(f"no results in {str(store)!r}: narrowgauge sweep makes them")
    chosen = _library(rows, library)
    kept = [row for row in rows if row.stamp.get("library") in (None, chosen)]
    subjects = collect(kept, (names,) if isinstance(names, str) else tuple(names))
    if not subjects:
        raise UsageError(f"no results of present points in {str(store)!r}")
    target, folder = outputs.folder(output), outputs.folder(cache)
    errors = tasks.quantisation(cache=folder)
    text, figures = page(subjects, errors, library=chosen)
    return outputs.write(target, {"index.html": text, **plots(figures)})


def need_extra(what: str) -> None:
    """Raise `MissingToolError` where the extra `report`, which `what` needs, is not installed."""
    for module in ("altair", "vl_convert"):
        if importlib.util.find_spec(module) is None:
            raise MissingToolError(f"{what} needs {module}: pip install 'narrowgauge[report]'")


def _library(rows: Iterable[Row], wanted: str | None) -> str | None:
    known = sorted({str(row.stamp["library"]) for row in rows if row.stamp.get("library")})
    if wanted is not None:
        if wanted not in known:
            raise UsageError(f"no results with library {wanted!r}; there are: {', '.join(known)}")
        return wanted
    if len(known) > 1 and "nangate45" not in known:
        raise UsageError(f"results with several libraries, name one: {', '.join(known)}")
    return known[0] if len(known) == 1 else "nangate45" if known else None


def page(
    subjects: Sequence[Subject],
    errors: Sequence[Mapping[str, Any]],
    *,
    library: str | None,
) -> tuple[str, "list[Figure]"]:
    """The page as HTML, and its figures.

    Parameters
    ----------
    subjects : the points, at least one
    errors : quantisation errors, as `sqnr.Row.to_json` has them; may be empty
    library : name of the cell library, for the words at the top
    """
    from narrowgauge import sqnr
    from narrowgauge.page import comparison, headline, palette, scatter, tables
    from narrowgauge.page.markup import Markup, element
    from narrowgauge.page.sections import commands, sections

    shown = sections(subjects, [sqnr.Row(**row) for row in errors])
    figures = [figure for section in shown for figure in section.figures]
    data = {
        "points": comparison.comparison_data(subjects),
        "figures": {
            figure.key: {"spec": figure.spec, "height": figure.height, "choices": figure.choices}
            for figure in figures
        },
    }
    facts = [
        element("div", element("dt", fact.words), element("dd", fact.figure))
        for fact in headline.facts(subjects)
    ]
    units = dict.fromkeys(subject.unit for subject in subjects)
    links = [("comparison-title", "Comparison"), *((s.key, s.title) for s in shown)]
    measures = sorted({measure for subject in subjects for measure in subject.measures})
    files = resources.files("narrowgauge.page")
    text = Template(files.joinpath("template.html").read_text("utf-8")).substitute(
        style=_style(files.joinpath("style.css").read_text("utf-8"), palette),
        headline=element("h1", headline.sentence(subjects)),
        facts=element("dl", *facts, class_="facts") if facts else "",
        about=element(
            "p",
            f"{len(subjects)} {'point' if len(subjects) == 1 else 'points'}"
            + (f", cell library {library}" if library else "")
            + f", narrowgauge {__version__}. ",
            element("a", "What the figures were made with", href="#stamps"),
            class_="about",
        ),
        links=Markup("").join(
            element("li", element("a", title, href=f"#{key}")) for key, title in links
        ),
        mapped=scatter.mapped(subjects, ", energy that of the one mapped for {}"),
        units=Markup("").join(element("option", unit, value=unit) for unit in units),
        comparison=comparison.comparison(subjects),
        comparison_commands=commands(measures, [subject.name for subject in subjects]),
        sections=Markup("\n").join(section.html() for section in shown),
        stamps=tables.stamps(subjects),
        data=_json(data),
        vega=_vega(),
        script=files.joinpath("page.js").read_text("utf-8"),
    )
    return text, figures


@functools.cache
def _vega() -> str:
    """The script that draws; nothing in it ends the element that it stands in."""
    import vl_convert

    return str(vl_convert.javascript_bundle(_BUNDLE)).replace("</script", "<\\/script")


def _style(text: str, palette: Any) -> str:
    return text.replace("/*light*/", palette.css(palette.LIGHT)).replace(
        "/*dark*/", palette.css(palette.DARK)
    )


def _json(value: Any) -> str:
    """JSON that no text within can end early."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def plots(figures: "Sequence[Figure]") -> dict[str, bytes]:
    """Name -> content of the plots as SVG and PNG, light on white."""
    import vl_convert

    from narrowgauge.page.palette import on_paper

    specs: dict[str, Mapping[str, Any]] = {}
    for figure in figures:
        if not figure.choices:
            specs[figure.key] = figure.spec
        for stem, values, _ in figure.choices.values():
            tree, *rest = figure.spec["data"]
            specs[f"{figure.key}-{stem}"] = {
                **figure.spec,
                "data": [{**tree, "values": values}, *rest],
            }
    files: dict[str, bytes] = {}
    for name, spec in specs.items():
        paper = on_paper(spec)
        files[f"plots/{name}.svg"] = vl_convert.vega_to_svg(paper).encode()
        files[f"plots/{name}.png"] = vl_convert.vega_to_png(paper, scale=2)
    return files
