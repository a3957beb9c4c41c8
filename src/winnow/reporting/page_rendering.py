"""Render the Jinja templates of the reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from winnow.formatting import (
    format_confidence,
    format_count,
    format_duration,
    format_interval,
    format_number,
    format_p_cell,
    format_p_value,
    join_names,
)


def render_page(template: str, context: Mapping[str, Any]) -> str:
    """Return a template from ``reporting/templates``, rendered with a context.

    Raise an error if the template uses a name that the context does not define.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("winnow.reporting"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": format_number,
        "thousands": format_count,
        "duration": format_duration,
        "p_value": format_p_value,
        "p_cell": format_p_cell,
        "signed": lambda value: ("+" if value > 0 else "") + format_number(value),
        "join_names": join_names,
        "percent": lambda fraction: f"{fraction:.1%}" if fraction >= 0.0005 else "<0.1%",
        "coverage": format_confidence,
        "cell": lambda text: str(text).replace("|", "\\|").replace("\n", " "),
    }
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # do not sort the arms by name
    environment.globals["interval"] = format_interval
    return environment.get_template(template).render(context)
