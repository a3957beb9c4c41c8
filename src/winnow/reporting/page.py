"""The template engine of every page that Winnow writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from winnow.formatting import duration, interval, listed, number, p_short, p_text, whole


def render_page(template: str, facts: Mapping[str, Any]) -> str:
    """Return a template in `reporting/templates` filled with facts.

    Templates format numbers with the filters and functions set here. An undefined name in a template raises an error.
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
        "number": number,
        "whole": whole,
        "duration": duration,
        "p_text": p_text,
        "p_short": p_short,
        "signed": lambda value: ("+" if value > 0 else "") + number(value),
        "listed": listed,
        "percent": lambda share: f"{share:.1%}" if share >= 0.0005 else "<0.1%",
        "cell": lambda text: str(text).replace("|", "\\|").replace("\n", " "),
    }
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # arms stay in their order
    environment.globals["interval"] = interval
    return environment.get_template(template).render(facts)
