"""Names of metrics, and what is known of each: direction, unit, label and requirements."""

from winnow.metrics.metric_catalog import Definition, Direction, Items, Requirement
from winnow.metrics.metric_registry import Metric, MetricRegistry

__all__ = ["Definition", "Direction", "Items", "Metric", "MetricRegistry", "Requirement"]
