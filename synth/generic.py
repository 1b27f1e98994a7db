"""A cell library without a technology: areas in gate equivalents, delays by logical effort.

Areas are multiples of a two-input NAND of drive 1, rounded to thirds, close to the median of
NanGate45, sky130 and SG13G2. The delay of a cell is tau * (p + g * h), with the textbook parasitic
delay p and logical effort g of the cell, h the electrical effort (load over input capacitance) and
tau = 10 ps, which puts the inverter of fan-out 4 at 50 ps. So areas are good for comparing
designs, and delays for ranking them; neither is a prediction for a process.
Source: Sutherland, Sproull and Harris, Logical Effort, 1999, tables 1.1 and 1.2.
"""

from dataclasses import dataclass

__all__ = ["CELLS", "FLIP_FLOP", "NAME", "Cell", "liberty"]

NAME = "generic"
_TAU = 10.0
_MAX_LOAD = 64.0
_INDEX = f'index_1 ("0.0, 500.0, 1000.0"); index_2 ("0.0, {_MAX_LOAD / 2}, {_MAX_LOAD}");'


@dataclass(frozen=True)
class Cell:
    """One combinational cell: area in GE, parasitic delay and logical effort, both at drive 1.

    `inverting` cells have the output ZN, the others Z; input capacitance is effort * drive.
    """

    name: str
    area: float
    function: str
    parasitic: float
    effort: float
    drive: int = 1

    @property
    def inputs(self) -> tuple[str, ...]:
        """Input pins in order of the alphabet."""
        return tuple(sorted(set(self.function) - set("!&|^() ")))


CELLS: tuple[Cell, ...] = (
    Cell("INV_1", 2 / 3, "!A", 1, 1),
    Cell("INV_2", 1, "!A", 1, 1, 2),
    Cell("INV_4", 5 / 3, "!A", 1, 1, 4),
    Cell("INV_8", 3, "!A", 1, 1, 8),
    Cell("BUF_1", 1, "A", 2, 1),
    Cell("BUF_2", 4 / 3, "A", 2, 1, 2),
    Cell("BUF_4", 7 / 3, "A", 2, 1, 4),
    Cell("BUF_8", 4, "A", 2, 1, 8),
    Cell("NAND2_1", 1, "!(A & B)", 2, 4 / 3),
    Cell("NAND2_2", 5 / 3, "!(A & B)", 2, 4 / 3, 2),
    Cell("NAND2_4", 3, "!(A & B)", 2, 4 / 3, 4),
    Cell("NAND3_1", 4 / 3, "!(A & B & C)", 3, 5 / 3),
    Cell("NAND3_2", 7 / 3, "!(A & B & C)", 3, 5 / 3, 2),
    Cell("NAND4_1", 5 / 3, "!(A & B & C & D)", 4, 2),
    Cell("NOR2_1", 1, "!(A | B)", 2, 5 / 3),
    Cell("NOR2_2", 5 / 3, "!(A | B)", 2, 5 / 3, 2),
    Cell("NOR2_4", 3, "!(A | B)", 2, 5 / 3, 4),
    Cell("NOR3_1", 4 / 3, "!(A | B | C)", 3, 7 / 3),
    Cell("NOR3_2", 7 / 3, "!(A | B | C)", 3, 7 / 3, 2),
    Cell("NOR4_1", 5 / 3, "!(A | B | C | D)", 4, 3),
    Cell("AND2_1", 4 / 3, "A & B", 4, 1),
    Cell("AND2_2", 5 / 3, "A & B", 4, 1, 2),
    Cell("AND3_1", 5 / 3, "A & B & C", 5, 1),
    Cell("AND4_1", 2, "A & B & C & D", 6, 1),
    Cell("OR2_1", 4 / 3, "A | B", 4, 1),
    Cell("OR2_2", 5 / 3, "A | B", 4, 1, 2),
    Cell("OR3_1", 5 / 3, "A | B | C", 5, 1),
    Cell("OR4_1", 2, "A | B | C | D", 6, 1),
    Cell("XOR2_1", 2, "A ^ B", 4, 4),
    Cell("XOR2_2", 11 / 3, "A ^ B", 4, 4, 2),
    Cell("XNOR2_1", 2, "!(A ^ B)", 4, 4),
    Cell("XNOR2_2", 11 / 3, "!(A ^ B)", 4, 4, 2),
    Cell("MUX2_1", 7 / 3, "(A & !S) | (B & S)", 4, 2),
    Cell("AOI21_1", 4 / 3, "!((A & B) | C)", 7 / 3, 2),
    Cell("AOI21_2", 7 / 3, "!((A & B) | C)", 7 / 3, 2, 2),
    Cell("AOI22_1", 5 / 3, "!((A & B) | (C & D))", 4, 2),
    Cell("AOI211_1", 5 / 3, "!((A & B) | C | D)", 4, 8 / 3),
    Cell("AOI221_1", 2, "!((A & B) | (C & D) | E)", 5, 8 / 3),
    Cell("AOI222_1", 8 / 3, "!((A & B) | (C & D) | (E & F))", 6, 8 / 3),
    Cell("OAI21_1", 4 / 3, "!((A | B) & C)", 7 / 3, 2),
    Cell("OAI21_2", 7 / 3, "!((A | B) & C)", 7 / 3, 2, 2),
    Cell("OAI22_1", 5 / 3, "!((A | B) & (C | D))", 4, 2),
    Cell("OAI211_1", 5 / 3, "!((A | B) & C & D)", 4, 7 / 3),
    Cell("OAI221_1", 2, "!((A | B) & (C | D) & E)", 5, 7 / 3),
    Cell("OAI222_1", 8 / 3, "!((A | B) & (C | D) & (E | F))", 6, 7 / 3),
)

FLIP_FLOP = ("DFF_1", 17 / 3, 8.0)
"""The one flip-flop: name, area in GE and parasitic delay from clock to output."""


def _tables(parasitic: float, drive: int) -> str:
    """A cell_rise and a cell_fall, with their transitions; load in inverter inputs, time in ps."""
    loads = (0.0, _MAX_LOAD / 2, _MAX_LOAD)
    delays = ", ".join(f"{_TAU * (parasitic + load / drive):.4f}" for load in loads)
    slews = ", ".join(f"{2 * _TAU * (parasitic + load / drive):.4f}" for load in loads)
    return "".join(
        f' {kind} (grid) {{ {_INDEX} values ("{row}", "{row}", "{row}"); }}'
        for kind, row in (
            ("cell_rise", delays),
            ("cell_fall", delays),
            ("rise_transition", slews),
            ("fall_transition", slews),
        )
    )


def _combinational(cell: Cell) -> str:
    tables = _tables(cell.parasitic, cell.drive)
    pins = [
        f" pin ({pin}) {{ direction : input; capacitance : {cell.effort * cell.drive:.4f}; }}"
        for pin in cell.inputs
    ]
    arcs = "".join(
        f' timing () {{ related_pin : "{pin}"; timing_sense : non_unate;{tables} }}'
        for pin in cell.inputs
    )
    limit = _MAX_LOAD * cell.drive
    return "\n".join(
        [
            f"cell ({cell.name}) {{ area : {cell.area:.6f};",
            *pins,
            f' pin (Z) {{ direction : output; function : "{cell.function}";'
            f" max_capacitance : {limit:.1f};{arcs} }} }}",
        ]
    )


def liberty() -> str:
    """The library as Liberty text: area in GE, time in ps, load in inverter inputs (as ff)."""
    name, area, parasitic = FLIP_FLOP
    return "\n".join(
        [
            f"library ({NAME}) {{ delay_model : table_lookup;",
            ' time_unit : "1ps"; voltage_unit : "1V"; current_unit : "1mA";',
            ' leakage_power_unit : "1nW"; pulling_resistance_unit : "1kohm";',
            " capacitive_load_unit (1, ff);",
            " lu_table_template (grid) { variable_1 : input_net_transition;"
            " variable_2 : total_output_net_capacitance;"
            f" {_INDEX} }}",
            *map(_combinational, CELLS),
            f"cell ({name}) {{ area : {area:.6f};",
            ' ff (IQ, IQN) { next_state : "D"; clocked_on : "CK"; }',
            " pin (CK) { direction : input; clock : true; capacitance : 1.0; }",
            " pin (D) { direction : input; capacitance : 1.0; }",
            ' pin (Q) { direction : output; function : "IQ"; timing () { related_pin : "CK";'
            f" timing_type : rising_edge;{_tables(parasitic, 1)} }} }} }}",
            "}",
            "",
        ]
    )
