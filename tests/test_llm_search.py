"""The search for a policy, on losses that are known and on a toy model."""

import numpy as np
import pytest

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.llm.decoder import Decoder
from narrowgauge.golden.llm.scheme import Scheme
from narrowgauge.golden.llm.search import macs, policy_of, search
from narrowgauge.golden.policy import INPUTS, Policy
from tests.llm_models import FFN, SHAPE, VOCABULARY, tensor, weights

COSTS = {"qkv": 0.01, "ffn_up": 0.03, "value": 0.02, "ffn_down": 0.5}


def known(policy: Policy) -> float:
    """Sites add up; ffn_up and value hurt each other."""
    low = [site for site in COSTS if not policy.input_is_high(0, site)]
    both = 0.1 if {"ffn_up", "value"} <= set(low) else 0.0
    return 2.0 + sum(COSTS[site] for site in low) + both


def test_greedy_takes_the_cheapest_and_measures_the_sum() -> None:
    sites = {(name, None): 1.0 for name in COSTS}
    found = search(known, sites, low=4, budget=0.1)
    assert [(site[0], kept) for site, _, kept in found.trials] == [
        ("qkv", True), ("value", True), ("ffn_up", False), ("ffn_down", False),
    ]  # fmt: skip
    assert found.alone["ffn_down", None] == pytest.approx(0.5)
    assert (found.base, found.loss) == (2.0, pytest.approx(2.03))
    assert not found.policy.input_is_high(7, "qkv")
    assert found.policy.input_is_high(0, "attn_output")
    plain = found.to_json()
    assert Policy.from_json(plain["policy"]) == found.policy
    assert plain["trials"][2] == {"site": "ffn_up", "loss": pytest.approx(2.16), "low": False}


def test_macs_decide_between_equal_losses() -> None:
    sites = {("value", None): 1.0, ("ffn_up", None): 10.0}
    first = search(known, sites, low=4, budget=1).trials[0]
    assert first[0] == ("ffn_up", None)
    counts = macs(SHAPE, FFN, 10)
    assert set(counts) == set(INPUTS)
    assert counts["ffn_up"] == 2 * counts["ffn_down"] == 2 * SHAPE.width * FFN


def test_single_layers() -> None:
    policy = policy_of(3, [("qkv", 1), ("value", 1), ("qkv", 4)])
    assert policy.input_bits(1, "qkv") == policy.input_bits(1, "value") == 3
    assert policy.input_bits(0, "qkv") == policy.input_bits(4, "value") == 5


def test_on_a_toy_model() -> None:
    ids = np.random.default_rng(1).integers(0, VOCABULARY, (1, 12))
    seen: list[str] = []

    def loss(policy: Policy) -> float:
        scheme = Scheme(name="toy", kind="opal", policy=policy, log2=True)
        return float(Decoder(SHAPE, tensor, scheme, weights()).losses(ids).mean())

    sites = {(site, layer): 1.0 for site in ("qkv", "ffn_down") for layer in range(2)}
    found = search(loss, sites, low=4, budget=0.05, progress=lambda what, _: seen.append(what))
    assert seen[:2] == ["all high", "0.qkv low"]
    assert found.loss <= found.base + 0.05
    assert loss(found.policy) == found.loss


def test_bad_input() -> None:
    with pytest.raises(UsageError, match="a search needs at least one site"):
        search(known, {}, low=4, budget=1)
    with pytest.raises(UsageError, match="budget must be at least 0, got nan"):
        search(known, {("qkv", None): 1.0}, low=4, budget=float("nan"))
    with pytest.raises(UsageError, match=r"no site '2\.up'; sites: qkv, query_key"):
        search(known, {("up", 2): 1.0}, low=4, budget=1)
    with pytest.raises(UsageError, match="MACs of qkv must be above 0, got 0"):
        search(known, {("qkv", None): 0.0}, low=4, budget=1)
