"""The template engine of every page that Winnow writes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from winnow.formatting import NOTHING, duration, interval, listed, number, p_text

if TYPE_CHECKING:
    from jinja2 import Environment


def pages() -> Environment:
    """Return the environment of the templates in `reporting/templates`.

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
        "duration": duration,
        "p_text": p_text,
        "p_short": lambda p: p_text(p).removeprefix("p ").removeprefix("= ").replace("not known", NOTHING),
        "signed": lambda value: ("+" if value > 0 else "") + number(value),
        "listed": listed,
        "percent": lambda share: f"{share:.1%}" if share >= 0.0005 else "<0.1%",
        "cell": lambda text: str(text).replace("|", "\\|").replace("\n", " "),
    }
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # arms stay in their order
    environment.globals |= {"interval": interval, "exp": math.exp, "known": math.isfinite}
    return environment
