"""Write the page that shows a filter's results so far, while rows are being scored."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from winnow import __version__
from winnow.data import Corpus
from winnow.reporting.page_rendering import render_page, write_page

REFRESH_SECONDS: Final = 5
"""The interval at which a browser reloads the page."""

_MIN_INTERVAL_SECONDS: Final = 2.0
_MAX_TIME_FRACTION: Final = 0.01
"""The page is written at most once per this interval, and writing takes at most this fraction of the elapsed time."""

_MAX_POINTS: Final = 200
_CURVE_WIDTH, _CURVE_HEIGHT = 600, 90


@dataclass
class FilterProgressPage:
    """A page with the rows scored and kept so far. A browser reloads the page until the report replaces it.

    Attributes:
        page: The path of the page, which is also the path of the report.
        name: The name of the filter.
        keep: The expression of the filter.
        corpus: The rows.
    """

    page: Path
    name: str
    keep: str
    corpus: Corpus
    _start: float = field(default_factory=time.monotonic)
    _next_write: float = field(default_factory=lambda: _MIN_INTERVAL_SECONDS)
    _points: list[tuple[int, float]] = field(default_factory=list)
    _counts: tuple[int, int, Mapping[str, Mapping[str, int]]] = (0, 0, {})

    def update(self, rows: int, kept: int, signals: Mapping[str, Mapping[str, int]]) -> None:
        """Record the counts so far, and write the page if enough time has passed.

        Args:
            rows: The number of rows scored so far.
            kept: The number of rows kept so far.
            signals: The number of rows that ``pass``, ``fail`` or are ``null`` so far, by signal.
        """
        self._counts = rows, kept, signals
        self._points.append((rows, kept / rows))
        if len(self._points) > _MAX_POINTS:
            del self._points[1::2]
        elapsed = time.monotonic() - self._start
        if elapsed >= self._next_write:
            self._write(elapsed, is_running=True)
            written = time.monotonic() - self._start
            self._next_write = written + max(_MIN_INTERVAL_SECONDS, (written - elapsed) / _MAX_TIME_FRACTION)

    def stop(self) -> None:
        """Write the page a last time, without reloading, because scoring has failed or was interrupted."""
        if self._counts[0]:
            self._write(time.monotonic() - self._start, is_running=False)

    def _write(self, elapsed: float, is_running: bool) -> None:
        rows, kept, signals = self._counts
        total = self.corpus.table.num_rows
        context: dict[str, Any] = {
            "name": self.name,
            "keep": self.keep,
            "refresh_seconds": REFRESH_SECONDS if is_running else None,
            "rows": rows,
            "kept": kept,
            "total": total,
            "rows_per_second": rows / max(elapsed, 1e-3),
            "remaining_seconds": elapsed * (total - rows) / rows,
            "signals": signals,
            "integrity": self.corpus.integrity,
            "curve": _draw_curve(self._points, total),
            "time": time.strftime("%H:%M:%S"),
            "version": __version__,
        }
        write_page(self.page, render_page("filter_progress.html", context))


def _draw_curve(points: list[tuple[int, float]], total: int) -> str:
    """Return the coordinates of an SVG polyline: the fraction kept so far over the rows scored so far.

    >>> _draw_curve([(0, 0.0), (50, 1.0)], 100)
    '0.0,90.0 300.0,0.0'
    """
    return " ".join(
        f"{_CURVE_WIDTH * rows / total:.1f},{_CURVE_HEIGHT * (1 - fraction):.1f}" for rows, fraction in points
    )
