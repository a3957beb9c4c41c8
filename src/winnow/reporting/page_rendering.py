"""Render the Jinja templates of the reports."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
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
from winnow.untrusted_text import escape_markdown, format_markdown_code


def render_page(template: str, context: Mapping[str, Any]) -> str:
    """Return a template from ``reporting/templates``, rendered with a context.

    Raise an error if the template uses a name that the context does not define. Every inserted text is escaped for
    HTML or for Markdown.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
    from markupsafe import Markup

    def escape_for_markdown(value: object) -> object:
        is_text = isinstance(value, str) and not isinstance(value, Markup)
        return Markup(escape_markdown(str(value))) if is_text else value  # noqa: S704 - the text is escaped

    environment = Environment(
        loader=PackageLoader("winnow.reporting"),
        autoescape=select_autoescape(["html", "md"]),
        finalize=escape_for_markdown if template.endswith(".md") else None,
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
        "code": lambda text: Markup(format_markdown_code(str(text))),  # noqa: S704 - code shows HTML as text
    }
    environment.filters["exp"] = math.exp
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # do not sort the arms by name
    environment.globals["interval"] = format_interval
    return environment.get_template(template).render(context)


def write_page(file: Path, text: str) -> None:
    """Write a page atomically, so that a browser that reloads it never reads an incomplete page."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)
