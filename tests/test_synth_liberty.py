"""The Liberty reader, its functions, and the libraries."""

import gzip
import importlib.metadata
from pathlib import Path

import pytest

from narrowgauge.golden.errors import MissingToolError, UsageError
from narrowgauge.synth import generic, liberty
from narrowgauge.synth.library import load

SMALL = """
/* two cells; no semicolon after the first area */
library (small) {
  time_unit : "1ps" ;
  capacitive_load_unit (1, ff);
  lu_table_template ("grid 2") { index_1 ("0, 1"); }
  cell (ND2) {
    area : 0.25
    pin (A) { direction : input; capacitance : 1.0 ; }
    pin (B) { direction : "input"; }
    pin (Y) { direction : output ; function : "(!A) | (!B)";
      timing () { related_pin : "A"; // a comment
        cell_rise (grid) { values ( \\
          "1.0, 2.0", \\
          "3.0, 4.0" \\
        ); } }
    } }
  cell ("ND2_BIG") { area : 0.75; pin (A) { direction : input; } pin (B) { direction : input; }
    pin (Y) { direction : output; function : "(A B)'"; } };
  cell (FF) { area : 1.5; ff (IQ, IQN) { next_state : "!D"; clocked_on : "CK"; }
    pin (D) { direction : input; } pin (CK) { direction : input; }
    pin (QN) { direction : output; function : "IQN"; } }
  cell (SCAN) { area : 2.5; ff (IQ, IQN) { next_state : "(SE*SI)+(D*!SE)"; clocked_on : "CK"; }
    pin (D) { direction : input; } pin (SI) { direction : input; } pin (SE) { direction : input; }
    pin (CK) { direction : input; } pin (Q) { direction : output; function : "IQ"; } }
  cell (LATCH) { area : 1.0; latch (IQ, IQN) { enable : "G"; data_in : "D"; }
    pin (D) { direction : input; } pin (G) { direction : input; }
    pin (Q) { direction : output; function : "IQ"; } }
  cell (TIE) { area : 0.1; pin (Y) { direction : output; function : "1"; } }
  cell (FILL) { area : 0.1; }
  cell (HA) { area : 1.0; pin (A) { direction : input; } pin (B) { direction : input; }
    pin (C) { direction : output; function : "A*B"; }
    pin (S) { direction : output; function : "A^B"; } }
}
"""


def test_reader_keeps_groups_attributes_and_tables() -> None:
    library = liberty.parse(SMALL, "small.lib")
    assert library.name == "small"
    assert library.get("time_unit") == "1ps"
    assert library.values("capacitive_load_unit") == ("1", "ff")
    assert next(library.each("lu_table_template")).args == ("grid 2",)
    cell = next(library.each("cell"))
    assert cell.get("area") == "0.25"
    y = list(cell.each("pin"))[2]
    table = next(next(y.each("timing")).each("cell_rise"))
    assert table.values("values") == ("1.0, 2.0", "3.0, 4.0")


def test_written_text_reads_back_equal() -> None:
    first = liberty.parse(SMALL, "small.lib")
    assert liberty.parse(liberty.write(first), "written") == first
    dropped = liberty.parse(liberty.write(first, {"timing"}), "written")
    assert not any(p for c in dropped.each("cell") for p in c.each("pin") if any(p.each("timing")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "x: not a Liberty file, line 1: expected ':' or '(' after 'hello'"),
        ("", "x: not a Liberty file, it has no library group"),
        ("a : 1;\n", "x: not a Liberty file, it has no library group"),
        (
            "library (l) {\n cell (c) {",
            "x: not a Liberty file, line 2: the file ends inside a 'cell'",
        ),
        ("library (l) { } }", "a closing brace without a group"),
        ("library (l) {\n\n ? }", "line 3: unexpected '?'"),
    ],
)
def test_malformed_text_is_named(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        liberty.parse(text, "x")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("function", "table"),
    [
        ("A*B", 0b1000),
        ("A B", 0b1000),
        ("!(A & B)", 0b0111),
        ("A'+B'", 0b0111),
        ("A^B", 0b0110),
        ("!A | A B", 0b1101),
        ("A & !B ^ A", 0b1000),
        ("1", 0b1111),
    ],
)
def test_functions(function: str, table: int) -> None:
    assert liberty.truth_table(function, ["A", "B"]) == table


@pytest.mark.parametrize("function", ["", "A +", "(A", "A)", "Z", "A ? B", "A ! B C )"])
def test_malformed_functions(function: str) -> None:
    with pytest.raises(UsageError, match="malformed function"):
        liberty.evaluate(function, {"A": True, "B": False, "C": False}, True)


def test_library_from_a_file(tmp_path: Path) -> None:
    plain = tmp_path / "small.lib"
    plain.write_text(SMALL)
    library = load(plain)
    assert library.name == "small"
    assert (library.nand2, library.nand2_area) == ("ND2", 0.25)
    assert sorted(library.cells) == ["FF", "ND2", "ND2_BIG"]
    assert library.dont_use == ("FILL", "HA", "LATCH", "SCAN", "TIE")
    assert library.flip_flops == ("FF",)
    packed = tmp_path / "packed.lib.gz"
    packed.write_bytes(gzip.compress(SMALL.encode()))
    assert load(packed).digest == library.digest


def test_several_files_merge(tmp_path: Path) -> None:
    whole = liberty.parse(SMALL, "small")
    for name, cells in (("logic", ("ND2", "ND2_BIG")), ("state", ("FF", "LATCH"))):
        part = liberty.parse(SMALL, "small")
        part.groups = [g for g in whole.groups if g.kind != "cell" or g.name in cells]
        (tmp_path / f"{name}.lib").write_text(liberty.write(part))
    logic, state = tmp_path / "logic.lib", tmp_path / "state.lib"
    merged = load(f"{logic},{state}")
    assert sorted(merged.cells) == ["FF", "ND2", "ND2_BIG"]
    assert load(f"{state}+{logic}").digest == load(tmp_path).digest == merged.digest
    with pytest.raises(UsageError, match=r"state\.lib: cell 'FF' is defined twice"):
        load(f"{state},{state}")
    state.write_text(state.read_text().replace('"1ps"', '"1ns"'))
    with pytest.raises(
        UsageError, match=r"state\.lib: its units differ from those of .*logic\.lib"
    ):
        load(f"{state},{logic}")


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no library 'nangate': expected nangate45, generic"):
        load("nangate")
    with pytest.raises(UsageError, match=r"no \.lib or \.lib\.gz file in the folder"):
        load(tmp_path)
    broken = tmp_path / "broken.lib.gz"
    broken.write_bytes(gzip.compress(b"library (x) {}")[:-9])
    with pytest.raises(UsageError, match=r"cannot read the library .*broken\.lib\.gz"):
        load(broken)
    (tmp_path / "empty.lib").write_text("library (x) { }")
    with pytest.raises(UsageError, match="the library has no cells"):
        load(tmp_path / "empty.lib")
    (tmp_path / "nonand.lib").write_text(
        "library (x) { cell (I) { area : 1; pin (A) { direction : input; }"
        ' pin (Y) { direction : output; function : "!A"; } } }'
    )
    with pytest.raises(UsageError, match="no two-input NAND"):
        load(tmp_path / "nonand.lib")
    (tmp_path / "noarea.lib").write_text(
        "library (x) { cell (I) { pin (A) { direction : input; }"
        ' pin (Y) { direction : output; function : "!A"; } } }'
    )
    with pytest.raises(UsageError, match="cell I: area must be a number, got None"):
        load(tmp_path / "noarea.lib")


def test_nangate45_comes_from_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    library = load("nangate45")
    assert (library.nand2, library.nand2_area) == ("NAND2_X1", 0.798)
    assert "DFF_X1" in library.flip_flops
    assert {"CLKBUF_X1", "FILLCELL_X1", "SDFF_X1", "DLH_X1", "TBUF_X1"} <= set(library.dont_use)
    assert "internal_power" not in library.text

    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(MissingToolError, match=r"pip install narrowgauge\[synth\]"):
        load("nangate45")


def test_generic_library_is_consistent() -> None:
    library = load("generic")
    assert library.nand2_area == 1.0
    assert library.area_unit == "GE"
    for cell in generic.CELLS:
        read = library.cells[cell.name]
        assert read.area == pytest.approx(cell.area, abs=1e-6)
        assert read.inputs == cell.inputs
        assert liberty.truth_table(read.outputs[0][1], read.inputs) not in (0, -1)
    assert library.flip_flops == ("DFF_1",)
