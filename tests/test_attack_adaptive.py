"""The search that knows the guard: its costs, its record, and what the net computes with."""

from typing import Any

import numpy as np
import pytest

from narrowgauge.golden.attack import GuardPlan, Plan, get_weights
from narrowgauge.golden.attack.guarded import Action

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from narrowgauge.golden.training.attack import runs, search, victims  # noqa: E402
from narrowgauge.golden.training.attack.adaptive import GuardedVictim, adaptive  # noqa: E402
from narrowgauge.golden.training.loop import Plan as Training  # noqa: E402
from tests.test_attack_search import DATA, FAST  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def state() -> str:
    """A net that knows the bars."""
    plan = Training(net="mobilenet", norm="bn", seed=1, epochs=1, batch=16, rate=0.1)
    return str(victims.trained(plan, DATA)["state"])


@pytest.mark.parametrize(
    ("guard", "flips", "ways"),
    [
        ("none", 1, ["bit"]),
        ("parity", 2, ["pair"]),
        ("secded_scale", 3, ["triple"]),
        ("secded", 3, ["triple"]),
    ],
)
def test_exponents_fall_at_their_price(state: str, guard: str, flips: int, ways: Any) -> None:
    plan = Plan(fmt="fb16_k9", method="zebra", guard=guard, **{**FAST, "budget": 9})
    net = victims.restored("mobilenet", state)
    found = runs.run(net, victims.sets(DATA, 64), plan)
    assert (found["end"], found["to_chance"]) == ("reached", flips)
    assert [flip["way"] for flip in found["flips"]] == ways
    assert "scale" in found["flips"][0]["fields"]
    checks = GuardPlan.of(guard).guard(get_weights("fb16_k9")).check_bits
    assert (found["bits"]["check"] > 0) == (checks > 0)


def test_the_record_leads_there(state: str) -> None:
    """Behind a window it takes more; losses are those of the net, steps by flips, within budget."""
    victim = GuardedVictim(
        victims.restored("mobilenet", state),
        get_weights("mx_opal4_k32_n1"),
        GuardPlan.of("secded_shared_window:2"),
    )
    sets = victims.sets(DATA, 64)
    losses: list[float] = []

    def watch(flips: int) -> tuple[dict[str, Any], bool]:
        with torch.no_grad():
            made = torch.nn.functional.cross_entropy(victim.net(sets.test), sets.test_labels)
        losses.append(float(made))
        return {"seen": flips}, False

    found, end = adaptive(
        victim, sets.test, sets.test_labels, search=search.Search(), budget=14, watch=watch
    )
    assert end == "budget"
    assert len(found) > 4
    assert losses == sorted(losses)
    steps = [flip for flip in found if "seen" in flip]
    assert [flip["loss"] for flip in steps] == pytest.approx(losses, rel=1e-3)
    assert [flip["flips"] for flip in found] == np.cumsum([len(f["bits"]) for f in found]).tolist()
    assert found[-1]["flips"] <= 14
    for flip in found:
        action = Action(way=flip["way"], word=flip["word"], places=tuple(flip["bits"]))
        victim.clean[flip["tensor"]].apply(action)
    for name, memory in victim.clean.items():
        assert np.array_equal(memory.stored, victim.memories[name].stored)
        kept = victim.layers[name].weight.detach().numpy()
        assert np.array_equal(memory.floats(), kept)
