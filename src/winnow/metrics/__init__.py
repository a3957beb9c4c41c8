"""Metric names, and the definition of each metric: direction, unit, label and comparison requirements."""

from winnow.metrics.metric_catalog import Direction, ItemKind, MetricDefinition, Requirement
from winnow.metrics.metric_registry import Metric, MetricRegistry

__all__ = ["Direction", "ItemKind", "Metric", "MetricDefinition", "MetricRegistry", "Requirement"]
