"""Gauges of GET /metrics: figures of one moment, in a registry of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Gauge


def add_gauge(
    registry: CollectorRegistry, name: str, about: str, labels: Iterable[str], values: Mapping[Any, float]
) -> None:
    """Adds a gauge with its values, by the values of its labels."""
    made = Gauge(f"comfyward_{name}", about, list(labels), registry=registry)
    for label_values, value in values.items():
        (made.labels(*label_values) if label_values else made).set(value)
