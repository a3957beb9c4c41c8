"""The template engine of every page that Winnow writes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from winnow.look.wording import NOTHING, duration, interval, listed, number, p_text

if TYPE_CHECKING:
    from jinja2 import Environment


def pages(room: str) -> Environment:
    """Return an environment for the templates in a room's folder `templates`.

    They may include `style.css`, and write numbers by the filters and functions set here. A name that a template asks
    for and does not get is an error.

    Args:
        room: Import path of the package that holds the folder, as ``winnow.comparison``.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(room), PackageLoader("winnow.look")]),
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
