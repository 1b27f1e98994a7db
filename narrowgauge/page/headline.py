"""The first sentence of the page and its few large figures, all computed from the results."""

from collections.abc import Sequence
from dataclasses import dataclass

from narrowgauge.page.figure import number, whole
from narrowgauge.page.subjects import BASELINE, Subject, same_lanes

__all__ = ["Fact", "facts", "sentence"]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One large figure and what it is."""

    figure: str
    words: str


def _ratios(subjects: Sequence[Subject], lanes: int) -> tuple[list[float], list[float]]:
    """Area and energy a MAC of the dot products of so many lanes over those of the baseline."""
    area, energy = [], []
    for subject in subjects:
        other = same_lanes(subjects, subject)
        if other is None or other is subject or subject.macs != lanes:
            continue
        if subject.unit == BASELINE:
            continue
        if subject.ge and other.ge:
            area.append(subject.ge / other.ge)
        # Without glitches: of the two estimates the one that favours the baseline.
        mine = subject.energy("real", "zero_delay", "pj_per_mac")
        theirs = other.energy("real", "zero_delay", "pj_per_mac")
        if mine and theirs:
            energy.append(mine / theirs)
    return area, energy


def _range(values: Sequence[float]) -> str:
    low, high = number(min(values), 2), number(max(values), 2)
    return low if low == high else f"{low}\u00a0to\u00a0{high}"


def _lanes(subjects: Sequence[Subject]) -> int | None:
    """The widest baseline that another dot product of as many lanes is compared with."""
    found = [s.macs for s in subjects if s.macs and any(_ratios(subjects, s.macs))]
    return max(found) if found else None


def sentence(subjects: Sequence[Subject]) -> str:
    """The ratio to the baseline in one sentence, or what there is where no ratio is."""
    lanes = _lanes(subjects)
    if lanes is None:
        points, units = len(subjects), len({subject.unit for subject in subjects})
        said = f"{points} {'point' if points == 1 else 'points'}"
        return f"{said} of {units} {'unit' if units == 1 else 'units'}, measured."
    area, energy = _ratios(subjects, lanes)
    compared = dict.fromkeys(
        s.unit for s in subjects if s.macs == lanes and s.unit != BASELINE and s.ge
    )
    takes = "take" if len(compared) > 1 else "takes"
    parts = []
    if area:
        parts.append(f"{_range(area)} of the gates")
    if energy:
        parts.append(f"{_range(energy)} of the zero-delay energy")
    return (
        f"At {lanes} lanes, {' and '.join(compared)} {takes} {' and '.join(parts)} of a bf16 MAC."
    )


def facts(subjects: Sequence[Subject]) -> list[Fact]:
    """Up to four figures; one without data is left out."""
    found = []
    runs = [run for subject in subjects for run in subject.runs]
    if runs:
        beats = sum(run["beats_out"] for run in runs if run["passed"])
        found.append(Fact(figure=whole(beats), words="beats equal to the model, bit for bit"))
    claims = [claim for subject in subjects for claim in subject.claims]
    if claims:
        proved = sum(claim["status"] == "proved" for claim in claims)
        found.append(Fact(figure=f"{proved} of {len(claims)}", words="claims proved"))
    mutants = [s.measures["mutation"] for s in subjects if "mutation" in s.measures]
    if mutants:
        killed = sum(each["killed"] for each in mutants)
        alive = sum(each["mutants"] - each["equivalent"] for each in mutants)
        words = "mutants killed, equivalent ones left out"
        found.append(Fact(figure=f"{killed} of {alive}", words=words))
    gates = [s.measures["gates"] for s in subjects if "gates" in s.measures]
    if gates:
        equal = sum(bool(each["equal"]) for each in gates)
        words = "mapped netlists equal to the model"
        found.append(Fact(figure=f"{equal} of {len(gates)}", words=words))
    return found
