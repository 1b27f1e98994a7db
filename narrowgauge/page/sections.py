"""The sections of the page: headings, figures, their tables and commands, what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass

from narrowgauge import sqnr
from narrowgauge.page import checks, error, hierarchy, scatter, split, tables
from narrowgauge.page.figure import Figure
from narrowgauge.page.markup import Markup, element
from narrowgauge.page.subjects import Subject

__all__ = ["Section", "commands", "sections"]


@dataclass(frozen=True, kw_only=True)
class Section:
    """One heading of the page; `figures` are those within `body`, for the files."""

    key: str
    title: str
    lead: str
    body: tuple[Markup, ...]
    figures: tuple[Figure, ...] = ()

    def html(self) -> Markup:
        """The section as HTML."""
        heading = element("h2", self.title, id=f"{self.key}-title")
        lead = element("p", self.lead, class_="lead")
        return element(
            "section", heading, lead, *self.body, id=self.key, aria_labelledby=f"{self.key}-title"
        )


def commands(measures: Sequence[str], names: Sequence[str] = ()) -> Markup:
    """Commands that make some figures, each to be copied: into the store, and from there.

    Points with overridden parameters are a grid over the values that there are.
    """
    swept = ",".join(measure for measure in measures if measure != "sqnr")
    plain = list(dict.fromkeys(name.partition("/")[0] for name in names if "--set" not in name))
    lines = []
    if swept and (plain or not names):
        lines.append(" ".join(["narrowgauge sweep", *plain, "--measure", swept]))
    if swept:
        lines += [f"narrowgauge sweep {words} --measure {swept}" for words in _grids(names)]
    units = dict.fromkeys(name.partition("/")[0] for name in names)
    lines.append(" ".join(["narrowgauge report", *units]))
    return element("div", *(_command(line) for line in lines), class_="commands")


def _grids(names: Sequence[str]) -> list[str]:
    """Point and values of the overridden parameters, one grid for each set of parameters."""
    grids: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for name in names:
        point, *overrides = name.split(" --set ")
        values = dict(override.split("=", 1) for override in overrides)
        if values:
            grid = grids.setdefault((point, *values), {})
            for parameter, value in values.items():
                listed = grid.setdefault(parameter, [])
                listed += [] if value in listed else [value]
    return [
        " ".join([point, *(f"--grid {each}={','.join(found)}" for each, found in grid.items())])
        for (point, *_), grid in grids.items()
    ]


def _command(line: str) -> Markup:
    copy = element("button", "Copy", type="button", class_="copy", aria_label=f"Copy: {line}")
    return element("div", element("code", line), copy, class_="command")


def figure(shown: Figure, *, heading: bool = True) -> Markup:
    """A plot with its note, the same figures as a table, its commands and its files."""
    picker: list[Markup] = []
    files: list[Markup] = []
    stems = [shown.key]
    if shown.choices:
        options = [element("option", label, value=label) for label in shown.choices]
        chosen = f"{shown.key}-choice"
        picker.append(
            element(
                "div",
                element("label", "Point", for_=chosen),
                element("select", *options, id=chosen, data_for=shown.key),
                class_="picker",
            )
        )
        stems = [f"{shown.key}-{next(iter(shown.choices.values()))[0]}"]
    for stem in stems:
        files += [
            element("a", kind.upper(), href=f"plots/{stem}.{kind}", data_kind=kind)
            for kind in ("svg", "png")
        ]
    table = tables.plain(f"{shown.title}: the figures of the plot", shown.head, shown.rows)
    chart = element(
        "div",
        class_="chart",
        id=shown.key,
        role="img",
        aria_label=shown.text,
        style=f"min-height:{shown.height}px",
    )
    return element(
        "figure",
        *([element("h3", shown.title)] if heading else []),
        *picker,
        chart,
        element("figcaption", shown.note, " ", element("span", *_between(files), class_="files")),
        element("details", element("summary", "The figures as a table"), table),
        element(
            "details",
            element("summary", "How to make it"),
            commands(shown.measures, shown.names),
        ),
        data_figure=shown.key,
    )


def _between(links: Sequence[Markup]) -> list[Markup]:
    return [piece for link in links for piece in (link, Markup(" "))][:-1]


def _missing(measure: str) -> Markup:
    return element(
        "div",
        element("p", "Not measured yet. This makes it:", class_="missing"),
        commands([measure]),
    )


def _plots(
    key: str, title: str, lead: str, figures: Sequence[Figure | None], measure: str
) -> Section:
    shown = tuple(each for each in figures if each is not None)
    body = tuple(figure(each, heading=len(figures) > 1) for each in shown) or (_missing(measure),)
    return Section(key=key, title=title, lead=lead, body=body, figures=shown)


def _checked(subjects: Sequence[Subject]) -> Section:
    table = checks.checks(subjects)
    body = [] if table is None else [table]
    alive = sum(len(s.measures.get("mutation", {}).get("survivors", [])) for s in subjects)
    if alive:
        title = f"{alive} {'mutant' if alive == 1 else 'mutants'} that survived"
        body.append(element("details", element("summary", title), checks.survivors(subjects)))
    made = [m for m in ("verify", "mutation", "gates") if any(m in s.measures for s in subjects)]
    made = made or ["verify", "mutation", "gates"]
    how = element("details", element("summary", "How to make it"), commands(made))
    return Section(
        key="checks",
        title="Benches, mutants, netlists",
        lead="Coverage counts the classes of numbers that some vector hit. The score of a bench is "
        "the share of mutants that it kills, mutants left out that change nothing. The mapped "
        "netlist is compared with the golden model, beat for beat.",
        body=(*body, how) if body else (_missing("mutation"),),
    )


def _proved(subjects: Sequence[Subject]) -> Section:
    table = checks.proofs(subjects)
    names = [subject.name for subject in subjects if subject.claims]
    how = element("details", element("summary", "How to make it"), commands(["proof"], names))
    return Section(
        key="proofs",
        title="Proofs",
        lead="A claim is settled for every input, at the size that is named; a claim that was "
        "refuted comes with its counterexample.",
        body=(_missing("proof"),) if table is None else (table, how),
    )


def sections(subjects: Sequence[Subject], errors: Sequence[sqnr.Row]) -> list[Section]:
    """Everything below the comparison, in order."""
    treemap = hierarchy.area_hierarchy(subjects)
    return [
        _plots(
            "area-delay",
            "Area against delay",
            "Each point was mapped for several clock periods: faster costs gates.",
            [scatter.area_delay(subjects, dot=dot) for dot in (True, False)],
            "delay",
        ),
        _plots(
            "area-energy",
            "Area against energy",
            "Energy from the toggles of every net of the mapped netlist, on the unit's own "
            "vectors, memories apart.",
            [scatter.area_energy(subjects, dot=dot) for dot in (True, False)],
            "energy",
        ),
        _plots(
            "split",
            "Energy by sub-module",
            "Where an operation spends its energy.",
            [split.energy_split(subjects, dot=dot) for dot in (True, False)],
            "energy",
        ),
        _plots(
            "hierarchy",
            "Area by hierarchy",
            "Gate equivalents of the area run, by module.",
            [treemap],
            "area",
        ),
        _plots(
            "error",
            "Error against storage",
            "What the block formats lose on real activations.",
            [error.error_storage(errors)],
            "sqnr",
        ),
        _proved(subjects),
        _checked(subjects),
    ]
