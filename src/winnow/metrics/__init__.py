"""Build and parse metric names, and look up the direction, unit, label and comparison requirements of a metric."""

from winnow.metrics.metric_catalog import Direction, ItemKind, MetricDefinition, Requirement
from winnow.metrics.metric_registry import Metric, MetricRegistry

__all__ = ["Direction", "ItemKind", "Metric", "MetricDefinition", "MetricRegistry", "Requirement"]
