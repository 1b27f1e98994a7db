"""What the files of a system say of it: its bus and its registers, as plain values."""

from collections.abc import Mapping
from typing import Any

from amaranth.lib.wiring import In

from narrowgauge.hdl.systems.axi_lite import bus
from narrowgauge.hdl.systems.registers import ADDRESS_BITS, GUARD, PARAMETERS, REGISTERS

__all__ = ["bus_ports", "register_map", "words"]


def bus_ports() -> list[dict[str, Any]]:
    """The AXI4-Lite ports, as `hdl.bundle.ports` lists ports."""
    return [
        {
            "name": f"s_axi_{name}",
            "direction": "input" if member.flow is In else "output",
            "width": member.shape,
        }
        for name, member in bus(ADDRESS_BITS).items()
    ]


def words(parameters: Mapping[str, Any]) -> dict[str, int]:
    """Those of a core's parameters that a register can show: numbers from 0, true and false."""
    return {
        name: int(value)
        for name, value in parameters.items()
        if isinstance(value, int) and 0 <= value < 1 << 32
    }


def register_map(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every register with its address, those of the core's parameters that it shows last."""
    guarded = parameters.get("guard", "none") != "none"
    listed: list[dict[str, Any]] = [
        {
            "name": register.name,
            "address": register.address,
            "access": register.access,
            "meaning": register.meaning,
        }
        for register in (*REGISTERS, *(GUARD if guarded else ()))
    ]
    for place, (name, value) in enumerate(words(parameters).items()):
        listed.append(
            {
                "name": f"PARAMETER_{name.upper()}",
                "address": PARAMETERS + 4 * place,
                "access": "ro",
                "meaning": f"{value}",
            }
        )
    return listed
