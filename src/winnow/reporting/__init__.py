"""How Winnow looks: one palette, one way to write numbers, one style for every page."""
