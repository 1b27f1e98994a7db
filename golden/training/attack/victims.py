"""The victims: nets of `golden.training.nets`, trained with torch's batch normalisation, and kept.

A trained net is kept as one string, so that a cache of JSON can hold it and whoever changes the
training's sources, data or versions gets another.
"""

import base64
import io
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.training.attack.runs import Sets
from narrowgauge.golden.training.data import Images
from narrowgauge.golden.training.loop import Plan, train
from narrowgauge.golden.training.nets import CLASSES, make

__all__ = ["restored", "sets", "trained"]


def trained(plan: Plan, data: Images) -> dict[str, Any]:
    """Train a net: its weights and statistics as `state`, and what `train` says of it."""
    seen: list[nn.Module] = []

    def keep(step: int, net: nn.Module) -> None:
        if not step:
            seen.append(net)

    made = train(plan, data, keep)
    buffer = io.BytesIO()
    arrays = {name: value.numpy() for name, value in seen[0].state_dict().items()}
    np.savez(buffer, allow_pickle=False, **arrays)
    state = base64.b85encode(zlib.compress(buffer.getvalue(), 1)).decode()
    return {"state": state, "accuracy": made["accuracy"][-1], "parameters": made["parameters"]}


def restored(name: str, state: str) -> nn.Module:
    """A net by name with kept weights, in evaluation."""
    net = make(name)
    try:
        with np.load(io.BytesIO(zlib.decompress(base64.b85decode(state)))) as arrays:
            values: Mapping[str, Any] = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
            net.load_state_dict(dict(values))
    except (ValueError, OSError, EOFError, RuntimeError, zlib.error) as error:
        raise UsageError(f"cannot read the kept net {name}: {str(error)[:80]}") from None
    return net.eval()


def _scaled(images: Any) -> torch.Tensor:
    """As in training."""
    return (torch.from_numpy(images.astype(np.float32))[:, None] / 255 - 0.3) / 0.35


def sets(data: Images, tests: int, train_images: int = 4096) -> Sets:
    """The images of an attack: the first of the training set, and the first of the test set."""
    if not 1 <= tests <= len(data.test):
        raise UsageError(f"tests must be 1..{len(data.test)} of {data.name}, got {tests}")
    return Sets(
        train=_scaled(data.train[:train_images]),
        train_labels=torch.from_numpy(data.train_labels[:train_images].astype(np.int64)),
        test=_scaled(data.test[:tests]),
        test_labels=torch.from_numpy(data.test_labels[:tests].astype(np.int64)),
        classes=CLASSES,
    )
