"""Sphinx configuration of the documentation site; `make docs` builds it in build/docs."""

import os
import sys
from pathlib import Path

from sphinx.application import Sphinx

from winnow import __version__

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))
os.environ["COLUMNS"] = "100"  # argparse wraps help texts at the width of the terminal
from reference_pages import write_reference  # noqa: E402

write_reference(FOLDER / "reference")

project = "Winnow"
author = "The Winnow authors"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"Winnow {release}"
html_show_copyright = False
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"


def link_to_security_page(app: Sphinx, page: str, source: list[str]) -> None:
    """Point links to SECURITY.md in the root of the repository to the copy in the site."""
    source[0] = source[0].replace("](../SECURITY.md)", "](reference/security.md)")


def setup(app: Sphinx) -> None:
    """Register the hook that changes links."""
    app.connect("source-read", link_to_security_page)
