"""Synthesizable RTL for narrow-number deep-learning arithmetic, proved against NumPy."""

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("narrowgauge")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
