"""The page of measured results: one HTML file without network, and its plots for papers."""

from narrowgauge.page.build import report

__all__ = ["report"]
