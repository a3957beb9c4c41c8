"""Metric names, and the direction, unit, label and comparison requirements of each metric."""

from winnow.metrics.metric_catalog import Direction, ItemKind, MetricDefinition, Requirement
from winnow.metrics.metric_registry import Metric, MetricRegistry

__all__ = ["Direction", "ItemKind", "Metric", "MetricDefinition", "MetricRegistry", "Requirement"]
