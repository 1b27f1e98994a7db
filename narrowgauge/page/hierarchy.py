"""Area by hierarchy: the leaves of a design as a tree of two levels, and its treemap."""

from collections.abc import Mapping, Sequence
from typing import Any

from narrowgauge.page import palette
from narrowgauge.page.figure import Figure, number, whole
from narrowgauge.page.subjects import Subject

__all__ = ["OWN", "area_hierarchy", "groups", "stem", "tree"]

OWN = "own logic"
"""What stands in the top module itself."""

_HEIGHT = 440
_SMALL = 0.004
"""Leaves below this share of the whole are put together, or no label would fit."""


def stem(name: str) -> str:
    """A name without the number that tells equal siblings apart."""
    return name.rstrip("0123456789") or name


def groups(leaves: Sequence[Mapping[str, Any]], value: str) -> dict[str, dict[str, float]]:
    """Leaves (dotted `path`, `value`) by first and second name; equal siblings put together.

    `lane0`, `lane1`, ... become `lane x N`. Largest first.
    """
    top = [str(leaf["path"]).partition(".")[0] for leaf in leaves]
    heads = _together(top)
    found: dict[str, dict[str, float]] = {}
    below: dict[str, list[str]] = {}
    for leaf, head in zip(leaves, top, strict=True):
        rest = str(leaf["path"]).partition(".")[2].partition(".")[0]
        below.setdefault(heads[head], []).append(rest)
    seconds = {head: _together(names) for head, names in below.items()}
    for leaf, head in zip(leaves, top, strict=True):
        rest = str(leaf["path"]).partition(".")[2].partition(".")[0]
        group = found.setdefault(heads[head], {})
        name = seconds[heads[head]][rest]
        group[name] = group.get(name, 0.0) + float(leaf[value])
    ordered = sorted(found.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    return {
        head: dict(sorted(inner.items(), key=lambda item: (-item[1], item[0])))
        for head, inner in ordered
    }


def _together(names: Sequence[str]) -> dict[str, str]:
    """Name -> the name to show: four or more siblings that differ by a number are one."""
    different = list(dict.fromkeys(names))
    counts: dict[str, int] = {}
    for name in different:
        counts[stem(name)] = counts.get(stem(name), 0) + 1
    return {
        name: (
            f"{stem(name)} \u00d7 {counts[stem(name)]}"
            if name and counts[stem(name)] > 3
            else name or OWN
        )
        for name in different
    }


def tree(subject: Subject) -> list[dict[str, Any]]:
    """Nodes of the treemap: root, groups, leaves; a group of one leaf is a leaf."""
    leaves = subject.measures.get("area", {}).get("hierarchy") or []
    found = groups(leaves, "ge")
    total = sum(sum(inner.values()) for inner in found.values())
    title = f"{subject.label}, {whole(total)} GE"
    nodes: list[dict[str, Any]] = [{"id": "root", "parent": None, "title": title}]

    def leaf(parent: str, path: str, name: str, ge: float, hue: str) -> None:
        nodes.append(
            {
                "id": path,
                "parent": parent,
                "name": name,
                "ge": round(ge, 3),
                "share": f"{number(100 * ge / total, 2)} %",
                "hue": hue,
                "tip": f"{path}: {number(ge)} GE, {number(100 * ge / total, 2)} %",
            }
        )

    for index, (head, inner) in enumerate(found.items()):
        hue = "var(--muted)" if head == OWN else palette.HUES[index % len(palette.HUES)]
        if len(inner) == 1:
            leaf("root", head, head, sum(inner.values()), hue)
            continue
        share = number(100 * sum(inner.values()) / total, 2)
        nodes.append({"id": head, "parent": "root", "title": f"{head}, {share} %"})
        small = [ge for ge in inner.values() if ge < _SMALL * total]
        for name, ge in inner.items():
            if ge >= _SMALL * total or len(small) < 2:
                leaf(head, f"{head}.{name}", name, ge, hue)
        if len(small) > 1:
            leaf(head, f"{head} (small parts)", f"{len(small)} small parts", sum(small), hue)
    return nodes


def _spec(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    box = {
        "x": {"field": "x0"},
        "y": {"field": "y0"},
        "x2": {"field": "x1"},
        "y2": {"field": "y1"},
    }
    wide, high = "(datum.x1 - datum.x0)", "(datum.y1 - datum.y0)"

    def text(field: str, dy: int, room: int, **more: Any) -> dict[str, Any]:
        return {
            "type": "text",
            "from": {"data": "leaves"},
            "interactive": False,
            "encode": {
                "update": {
                    "text": {"field": field},
                    "x": {"field": "x0", "offset": 6},
                    "y": {"field": "y0", "offset": dy},
                    "limit": {"signal": f"{wide} - 10"},
                    "opacity": {"signal": f"{wide} > 44 && {high} > {room} ? 1 : 0"},
                    "baseline": {"value": "top"},
                    **more,
                }
            },
        }

    return {
        "width": 760,
        "height": _HEIGHT,
        "padding": 0,
        "autosize": "none",
        "config": {"background": "transparent", "text": {"font": palette.CONFIG["font"]}},
        "data": [
            {
                "name": "tree",
                "values": list(values),
                "transform": [
                    {"type": "stratify", "key": "id", "parentKey": "parent"},
                    {
                        "type": "treemap",
                        "field": "ge",
                        "sort": {"field": "value", "order": "descending"},
                        "method": "squarify",
                        "ratio": 1.4,
                        "round": True,
                        "paddingInner": 2,
                        "paddingOuter": 0,
                        "paddingTop": 22,
                        "size": [{"signal": "width"}, {"signal": "height"}],
                    },
                ],
            },
            {
                "name": "leaves",
                "source": "tree",
                "transform": [{"type": "filter", "expr": "isValid(datum.ge)"}],
            },
            {
                "name": "groups",
                "source": "tree",
                "transform": [{"type": "filter", "expr": "!isValid(datum.ge)"}],
            },
        ],
        "marks": [
            {
                "type": "rect",
                "name": "leaf",
                "from": {"data": "leaves"},
                "encode": {
                    "enter": {
                        "fill": {"field": "hue"},
                        "fillOpacity": {"value": 0.26},
                        "tooltip": {"field": "tip"},
                    },
                    "update": {**box, "stroke": {"field": "hue"}, "strokeOpacity": {"value": 0.5}},
                },
            },
            {
                "type": "text",
                "name": "heading",
                "from": {"data": "groups"},
                "interactive": False,
                "encode": {
                    "update": {
                        "text": {"field": "title"},
                        "x": {"field": "x0", "offset": 1},
                        "y": {"field": "y0", "offset": 5},
                        "baseline": {"value": "top"},
                        "fill": {"value": "var(--text)"},
                        "fontWeight": {"value": "bold"},
                        "fontSize": {"value": 12},
                        "limit": {"signal": wide},
                        "opacity": {"signal": f"{wide} > 44 ? 1 : 0"},
                    }
                },
            },
            text("name", 6, 20, fill={"value": "var(--text)"}, fontSize={"value": 12}),
            text("share", 22, 36, fill={"value": "var(--muted)"}, fontSize={"value": 11}),
        ],
    }


def area_hierarchy(subjects: Sequence[Subject]) -> Figure | None:
    """Treemap of the area by sub-module, one point at a time; the largest dot product first."""
    trees = {subject.label: (subject, tree(subject)) for subject in subjects}
    trees = {label: found for label, found in trees.items() if len(found[1]) > 2}
    if not trees:
        return None
    choices = {}
    for label, (subject, nodes) in trees.items():
        parts = sorted((n for n in nodes if "ge" in n), key=lambda n: -n["ge"])
        largest = ", ".join(f"{n['id']} {n['share']}" for n in parts[:4])
        said = f"Treemap of {label}, {number(subject.ge)} GE in {len(parts)} parts: {largest}."
        choices[label] = (subject.identifier, nodes, said)
    first = max(trees, key=lambda label: (trees[label][0].macs or 0, len(trees[label][1])))
    nodes = choices[first][1]
    return Figure(
        key="area-hierarchy",
        title="Where the gates are",
        text=choices[first][2],
        note="Areas are to scale. Own logic is what stands in the top module itself; equal "
        "siblings are put together.",
        spec=_spec(nodes),
        height=_HEIGHT,
        measures=("area",),
        names=tuple(subject.name for subject, _ in trees.values()),
        head=("point", "part", "area (GE)", "share"),
        rows=tuple(
            (label, node["id"], node["ge"], node["share"])
            for label, (_, found, _) in choices.items()
            for node in found
            if "ge" in node
        ),
        marks={"leaf": sum("ge" in node for node in nodes)},
        choices={first: choices[first]} | choices,
    )
