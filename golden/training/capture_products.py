"""Make the captured layers anew: `python -m narrowgauge.golden.training.capture_products
--output FILE`.

Trains a residual and a depthwise net with dynamic precision and keeps what three of their layers
multiply half-way: the first images and channels of x, w and of the gradient of the output. Needs
torch and the data. Another processor, or another torch, adds up convolutions in another order and
so gives other values that look alike; with the same ones the file is the same.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import torch

from narrowgauge.golden.samples.products import ProductLayer, Products, cut, digest, save
from narrowgauge.golden.training.capture import command
from narrowgauge.golden.training.data import Images, load
from narrowgauge.golden.training.loop import Plan, train

__all__ = ["IMAGES", "LAYERS", "PLANS", "Crop", "capture", "main"]

PLANS = {
    net: Plan(
        net=net, norm="bn", precision="dynamic", seed=1, epochs=1, images=60 * 256, batch=256,
        rate=0.3, interval=5,
    )
    for net in ("resnet", "mobilenet")
}  # fmt: skip
IMAGES = 64
"""The first of the batch, more than a group of FB24."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A layer, and how many of its channels are kept, from the first."""

    net: str
    layer: str
    inputs: int
    outputs: int


LAYERS = {
    "conv": Crop(net="resnet", layer="4.body.3", inputs=24, outputs=16),
    "depthwise": Crop(net="mobilenet", layer="5.0", inputs=8, outputs=8),
    "linear": Crop(net="mobilenet", layer="8", inputs=96, outputs=10),
}
"""By name of the sample."""


class _Watch:
    """Keeps what layers are given in one step; called before each step."""

    def __init__(self, step: int, layers: Sequence[str]) -> None:
        self.step, self.layers = step, layers
        self.kept: dict[str, dict[str, torch.Tensor]] = {}
        self._hooks: list[Any] = []

    def __call__(self, step: int, net: torch.nn.Module) -> None:
        if step == self.step:
            for name in self.layers:
                module = net.get_submodule(name)
                self._hooks.append(module.register_forward_hook(self._see(name)))
        else:
            for hook in self._hooks:
                hook.remove()
            self._hooks = []

    def _see(self, name: str) -> Any:
        def see(module: Any, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> None:
            kept = {"x": given[0].detach().clone(), "w": module.weight.detach().clone()}
            self.kept[name] = kept
            made.register_hook(lambda g: kept.update(dy=g.detach().clone()))

        return see


def _layer(module: Any, kept: dict[str, torch.Tensor], crop: Crop, images: int) -> ProductLayer:
    x, w, dy = (t if t.dim() == 4 else t[:, :, None, None] for t in kept.values())
    groups = getattr(module, "groups", 1)
    own = w[: crop.outputs] if groups > 1 else w[: crop.outputs, : crop.inputs]
    return ProductLayer(
        x=cut(x[:images, : crop.inputs].numpy()),
        w=cut(own.numpy()),
        dy=cut(dy[:images, : crop.outputs].numpy()),
        stride=getattr(module, "stride", (1,))[0],
        padding=getattr(module, "padding", (0,))[0],
        groups=crop.inputs if groups > 1 else 1,
    )


def capture(
    plans: dict[str, Plan] | None = None, data: Images | None = None, images: int = IMAGES
) -> Products:
    """Train, and keep the layers of `LAYERS` at half of the steps of the first epoch."""
    plans = PLANS if plans is None else plans
    known = load("fashion") if data is None else data
    layers: dict[str, ProductLayer] = {}
    facts: dict[str, Any] = {}
    for net, plan in plans.items():
        crops = {name: crop for name, crop in LAYERS.items() if crop.net == net}
        count = len(known.train) if plan.images is None else plan.images
        watch = _Watch(count // plan.batch // 2, [crop.layer for crop in crops.values()])
        found: list[torch.nn.Module] = []

        def see(
            step: int,
            model: torch.nn.Module,
            watch: _Watch = watch,
            found: list[torch.nn.Module] = found,
        ) -> None:
            found[:] = [model]
            watch(step, model)

        made = train(plan, known, see)
        for name, crop in crops.items():
            kept = watch.kept[crop.layer]
            layers[name] = _layer(found[0].get_submodule(crop.layer), kept, crop, images)
            facts[name] = {
                "layer": asdict(crop),
                "shapes": {part: list(t.shape) for part, t in kept.items()},
            }
        facts[net] = {"step": watch.step, "plan": asdict(plan), "accuracy": made["accuracy"]}
    provenance = {
        **facts,
        "data": known.name,
        "data_sha256": known.digest,
        "torch": metadata.version("torch"),
        "script": "narrowgauge.golden.training.capture_products",
        "rounding": "float32 truncated to 16 significant bits",
    }
    provenance["digest"] = digest(layers)
    return Products(layers=layers, provenance=provenance)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    what = "Make the captured layers anew."
    return command("capture_products", what, lambda path: save(capture(), path), arguments)


if __name__ == "__main__":
    sys.exit(main())
