"""What the documentation says is so: commands parse, targets and linked files exist."""

import re
import shlex
from pathlib import Path

import pytest

from narrowgauge import api
from narrowgauge.cli import parser

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}


def code(text: str) -> list[str]:
    """Lines of code, from fences and from indented blocks, and what stands in backticks."""
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    indented = re.findall(r"^(?: {4})(\S.*)$", text, re.M)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    return [line.strip() for block in fenced for line in block.splitlines()] + indented + inline


LINES = [(page, line) for page, text in TEXTS.items() for line in code(text)]
COMMANDS = [
    (page, re.sub(r"\s+#.*$", "", line))
    for page, line in LINES
    if re.match(r"(\.venv/bin/)?narrowgauge [a-z]", line)
]


def name(value: object) -> str:
    """A page by its path, a command as it is."""
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


def test_the_pages_hold_commands() -> None:
    assert len(COMMANDS) > 10


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=name)
def test_commands_are_accepted(page: Path, command: str) -> None:
    words = shlex.split(command.split("narrowgauge ", 1)[1])
    if any(word in ("STEM", "COMMAND", "FILE", "DIR") for word in words):
        words = ["lzc" if word == "STEM" else word for word in words]
    if "COMMAND" in words:
        return
    if "--help" in words:
        with pytest.raises(SystemExit, match=r"^0$"):
            parser().parse_args(words)
        return
    options = parser().parse_args(words)
    overrides = getattr(options, "overrides", None)
    assert api.points(getattr(options, "names", ()), overrides=overrides)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.M))
    called = {
        match[1]
        for where, line in LINES
        if where == page and (match := re.match(r"make ([a-z]+)", line))
    }
    assert called <= targets
    if page.name == "README.md":
        assert {"flow", "test"} <= called


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXTS[page]):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.M)
            assert anchor in [head.lower().replace(" ", "-").replace("`", "") for head in heads]


def test_every_unit_is_found_from_the_index() -> None:
    """The pages of the units are where the index says."""
    for page in sorted((ROOT / "docs").glob("*/*.md")):
        assert page.parent.name in ("cores", "units", "arith", "reference"), page
    for entry in {point.entry.name: point.entry for point in api.points()}.values():
        assert (ROOT / "docs" / entry.layer / f"{entry.name}.md").is_file()


def test_pages_name_no_machine() -> None:
    for page, text in TEXTS.items():
        assert not re.search(r"(?<![\w.])/(home|root|tmp|work|Users)/", text), page


def test_the_readme_has_a_place_for_the_table() -> None:
    readme = TEXTS[ROOT / "README.md"]
    assert readme.index("<!-- table:begin -->") < readme.index("<!-- table:end -->")
