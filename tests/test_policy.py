"""The choice of widths: defaults, overrides, JSON, what is refused."""

import pickle
from typing import Any

import pytest

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.policy import INPUTS, MATRICES, Policy


def test_inputs_after_a_norm_are_low() -> None:
    policy = Policy()
    assert {s for s in INPUTS if not policy.input_is_high(0, s)} == {"qkv", "ffn_up"}
    assert not any(policy.weight_is_high(5, site) for site in MATRICES)
    assert (policy.input_bits(0, "qkv"), policy.input_bits(0, "value")) == (4, 7)
    assert (Policy(low=3).weight_bits(2, "ffn_down"), Policy(low=3).high) == (3, 5)


def test_layers_override_sites() -> None:
    policy = Policy(
        inputs={"ffn_down": "low"},
        layers={1: {"inputs": {"ffn_down": "high"}, "weights": {"qkv": "high"}}},
    )
    assert [policy.input_is_high(layer, "ffn_down") for layer in range(3)] == [False, True, False]
    assert [policy.weight_is_high(layer, "qkv") for layer in range(3)] == [False, True, False]
    assert policy.input_is_high(1, "value")
    assert not policy.weight_is_high(1, "ffn_down")


def test_json_round_trip() -> None:
    policy = Policy(low=3, inputs={"qkv": "high"}, layers={11: {"inputs": {"ffn_down": "low"}}})
    again = Policy.from_json(policy.to_json())
    assert again == policy
    assert hash(again) == hash(policy)
    assert again != Policy(low=3)
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert Policy.from_json("{}") == Policy() == Policy(inputs=dict(INPUTS))


def test_what_it_says_cannot_be_changed() -> None:
    given: dict[str, Any] = {"qkv": "high"}
    policy = Policy(inputs=given)
    given["qkv"] = "low"
    assert policy.input_is_high(0, "qkv")
    with pytest.raises(TypeError):
        policy.inputs["qkv"] = "low"  # type: ignore[index]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"low": 5}, "low must be 2..4, got 5"),
    ({"low": True}, "low must be 2..4, got True"),
    (
        {"inputs": {"up": "low"}},
        "inputs has no site 'up'; sites: qkv, query_key, value, attn_output, ffn_up, ffn_down",
    ),
    ({"weights": {"qkv": 4}}, "weights of qkv must be low or high, got 4"),
    (
        {"weights": {"value": "low"}},
        "weights has no site 'value'; sites: qkv, attn_output, ffn_up, ffn_down",
    ),
    ({"inputs": "low"}, "inputs must map sites to low or high, got 'low'"),
    ({"layers": {-1: {}}}, "a layer must be a number from 0, got -1"),
    ({"layers": {2: {"input": {}}}}, "layer 2 has inputs and weights, got 'input'"),
    ({"layers": {2: "low"}}, "layer 2 must map inputs or weights, got 'low'"),
    (
        {"layers": {2: {"inputs": {"qkv": "both"}}}},
        "layer 2: inputs of qkv must be low or high, got 'both'",
    ),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_impossible_policies(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Policy(**given)
    assert str(caught.value) == message


BAD_JSON = [
    ("low", "a policy must be JSON: Expecting value: line 1 column 1 (char 0)"),
    ("3", "a policy must be a JSON object, got 3"),
    ('{"bits": 3}', "a policy has low, inputs, weights and layers, got 'bits'"),
    ('{"layers": {"01": {}}}', "a layer must be a number from 0, got '01'"),
    ('{"layers": [1]}', "layers must map numbers to choices, got [1]"),
]


@pytest.mark.parametrize(("text", "message"), BAD_JSON)
def test_impossible_json(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Policy.from_json(text)
    assert str(caught.value) == message


def test_unknown_questions_are_refused() -> None:
    with pytest.raises(UsageError, match="weights has no site 'value'"):
        Policy().weight_bits(0, "value")
    with pytest.raises(UsageError, match="a layer must be a number from 0, got -2"):
        Policy().input_bits(-2, "qkv")
