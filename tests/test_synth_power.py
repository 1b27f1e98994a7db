"""Power tables: units, conditions, rails, leakage, and libraries that lack them."""

import re
from pathlib import Path

import numpy as np
import pytest

from narrowgauge.golden.errors import UsageError
from narrowgauge.synth import library, nldm
from narrowgauge.synth.cell_power import CellPower
from narrowgauge.synth.power import Power, power

ROOT = Path(__file__).resolve().parent.parent
ASAP7 = ROOT.parent / "shared/liberty/asap7/asap7sc7p5t_SIMPLE_RVT_TT_nldm_211120.lib.gz"

# Energy in a toy library's internal power: 1 pF times (100 mV)^2 = 10 fJ.
TOY = """
library (toy) {
  time_unit : "10ps"; voltage_unit : "100mV"; leakage_power_unit : "1uW";
  capacitive_load_unit (1, pf); nom_voltage : 12.0; default_cell_leakage_power : 7;
  power_lut_template (grid) { variable_1 : input_transition_time;
    variable_2 : total_output_net_capacitance;
    index_1 ("0, 1"); index_2 ("0, 2"); }
  power_lut_template (slews) { variable_1 : input_transition_time; index_1 ("0, 1"); }
  cell (NAND2) { area : 1; cell_leakage_power : 4;
    leakage_power () { when : "A & B"; value : "2"; }
    leakage_power () { when : "!A & !B"; value : "1"; }
    pin (A) { direction : input; capacitance : 0.001;
      internal_power () { when : "!B";
        rise_power (slews) { values ("5, 6"); } fall_power (scalar) { values ("9"); } } }
    pin (B) { direction : input; capacitance : 0.001; }
    pin (Y) { direction : output; function : "!(A & B)";
      internal_power () { related_pin : "A";
        rise_power (grid) { values ("1, 3", "2, 4"); }
        fall_power (grid) { values ("0, 0", "0, 0"); } }
      internal_power () { related_pin : "A B"; when : "!A & !B";
        rise_power (scalar) { values ("8"); } } } }
  cell (TWO) { area : 1;
    pg_pin (VDD) { pg_type : primary_power; } pg_pin (VPP) { pg_type : primary_power; }
    pg_pin (VSS) { pg_type : primary_ground; }
    leakage_power () { value : 1; related_pg_pin : VDD; }
    leakage_power () { value : 2; related_pg_pin : VPP; }
    leakage_power () { value : 4; related_pg_pin : VSS; }
    pin (A) { direction : input; capacitance : 0.001; }
    pin (Y) { direction : output; function : "A";
      internal_power () { related_pin : "A"; related_pg_pin : VDD;
        power (scalar) { values ("1"); } }
      internal_power () { related_pin : "A"; related_pg_pin : VPP;
        power (scalar) { values ("2"); } }
      internal_power () { related_pin : "A"; related_pg_pin : VSS;
        power (scalar) { values ("4"); } } } }
  cell (DFF) { area : 4; cell_leakage_power : 1;
    ff (IQ, IQN) { next_state : "D"; clocked_on : "CK"; }
    pin (D) { direction : input; capacitance : 0.001;
      internal_power () { when : "!CK & QN"; power (scalar) { values ("3"); } } }
    pin (CK) { direction : input; clock : true; capacitance : 0.001;
      internal_power () { when : "D & Q";
        rise_power (scalar) { values ("1"); } fall_power (scalar) { values ("2"); } } }
    pin (Q) { direction : output; function : "IQ";
      internal_power () { related_pin : "CK"; power (scalar) { values ("6"); } } }
    pin (QN) { direction : output; function : "IQN"; } }
}
"""


def _power(tmp_path: Path, text: str = TOY) -> Power:
    path = tmp_path / "toy.lib"
    path.write_text(text)
    return power(library.load(path))


def _energies(cell: CellPower, pin: str, output: str | None, slew: float, load: float) -> dict:
    """State after the change -> energy in fJ."""
    outputs = [name for name, _ in cell.cell.outputs]
    at = None if output is None else outputs.index(output)
    row = cell.lookup(at)[cell.variables.index(pin)]
    slews = np.full((1, 2), slew)
    return {
        state: float(cell.events[index].energy(slews, load)[0])
        for state, index in enumerate(row)
        if index >= 0
    }


def test_units_and_interpolation(tmp_path: Path) -> None:
    """Energy in V^2 C, slews in 10 ps and loads in pF, as fJ, ps and fF."""
    toy = _power(tmp_path)
    assert toy.voltage == pytest.approx(1.2)
    # Y rises by A alone (state B = 1): half-way between the slews, a quarter along the loads.
    found = _energies(toy.cell("NAND2"), "A", "Y", slew=5.0, load=500.0)
    assert found[0b10] == pytest.approx(10 * (1.5 + 0.5))
    # Both inputs low: the group with that condition, not the one without.
    assert found[0b00] == pytest.approx(10 * 8)
    assert found[0b11] == 0.0


def test_conditions_and_hidden_power(tmp_path: Path) -> None:
    """A pin alone draws only where its condition holds, by the edge of the pin."""
    cell = _power(tmp_path).cell("NAND2")
    hidden = _energies(cell, "A", None, slew=10.0, load=1e9)
    assert hidden == {0b00: pytest.approx(90), 0b01: pytest.approx(60)}
    # B has one arc, measured with both low: it stands for every other state too.
    assert set(_energies(cell, "B", "Y", 0.0, 0.0)) == {0b00, 0b01, 0b10}


def test_supplies_add_and_grounds_do_not(tmp_path: Path) -> None:
    """Power and leakage of two supplies; what is measured at the ground is left out."""
    cell = _power(tmp_path).cell("TWO")
    assert _energies(cell, "A", "Y", 0.0, 0.0) == {0: pytest.approx(30), 1: pytest.approx(30)}
    assert cell.leakage.tolist() == [3000, 3000]


def test_leakage_by_state(tmp_path: Path) -> None:
    """A state without a value of its own has that of the cell, a cell without one the default."""
    toy = _power(tmp_path)
    assert toy.cell("NAND2").leakage.tolist() == [1000, 4000, 4000, 2000]
    text = TOY.replace("cell_leakage_power : 1;\n    ff", "ff")
    assert set(_power(tmp_path, text).cell("DFF").leakage) == {7000}


def test_flip_flop(tmp_path: Path) -> None:
    """Conditions name pins, outputs and the inverse; outputs follow the clock's rise."""
    cell = _power(tmp_path).cell("DFF")
    assert cell.variables == ("D", "CK", "IQ")
    # D & Q: bits 0 and 2; the edge of CK is bit 1.
    clock = _energies(cell, "CK", None, 0.0, 0.0)
    assert clock == {0b101: pytest.approx(20), 0b111: pytest.approx(10)}
    assert set(_energies(cell, "D", None, 0.0, 0.0)) == {0b000, 0b001}
    assert list(_energies(cell, "CK", "Q", 0.0, 0.0).values()) == pytest.approx([60] * 8)
    assert all(e.pin_rises == 1.0 for e in cell.events if e.output is not None)


def test_libraries_without_power(tmp_path: Path) -> None:
    """One line that says what is missing."""
    with pytest.raises(UsageError, match="library generic has no internal_power: energy needs"):
        power(library.load("generic"))
    dry = re.sub(r"(cell_leakage_power|leakage_power) ", "left_out ", TOY)
    with pytest.raises(UsageError, match="library toy has no leakage"):
        _power(tmp_path, dry)
    with pytest.raises(UsageError, match="library toy states no voltage, got None"):
        _power(tmp_path, TOY.replace("nom_voltage : 12.0;", ""))
    with pytest.raises(UsageError, match="cell NAND2: leakage must be a number, got 'much'"):
        _power(tmp_path, TOY.replace('"2"', '"much"')).cell("NAND2")


def test_operating_conditions_before_nominal_voltage(tmp_path: Path) -> None:
    """The default operating conditions decide."""
    stated = 'default_operating_conditions : low; operating_conditions (low) { voltage : "9"; }'
    assert _power(tmp_path, TOY.replace("nom_voltage", f"{stated} nom_voltage")).voltage == 0.9


def test_every_cell_of_nangate45_is_read() -> None:
    """All cells leak; the outputs of logic and the clocks of flip-flops draw in every state."""
    cells = library.load("nangate45")
    drawn = power(cells)
    assert drawn.voltage == 1.1
    for name in cells.cells:
        cell = drawn.cell(name)
        assert (cell.leakage > 0).all()
        if not cell.cell.sequential:
            assert (cell.lookup(0) >= 0).all(), name
        elif len(cell.cell.inputs) == 2:
            assert (cell.lookup(None)[cell.variables.index(cell.cell.clock)] >= 0).all()


@pytest.mark.skipif(not ASAP7.is_file(), reason="the ASAP7 library is not here")
def test_ground_is_the_supply_again() -> None:
    """Over a rise and a fall, the energy at the ground is about that at the supply."""
    cells = library.load(ASAP7)
    tables = nldm.tables(cells)
    group = tables.group("NAND2xp5_ASAP7_75t_R")
    output = next(pin for pin in group.each("pin") if pin.get("direction") == "output")
    sums = {}
    for entry in output.each("internal_power"):
        if entry.get("related_pin") != "A":
            continue
        both = [tables.table(g, 1.0, group.name)(20.0, 2.88) for g in entry.groups]
        sums[entry.get("related_pg_pin")] = float(sum(both))
    assert sums["VSS"] == pytest.approx(sums["VDD"], rel=0.1)
