"""Pictures of a capacity run as SVG text: throughput and latency over time, latency by rate, scaling."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 860, 240, 70, 34, 14
PERCENTILES = (
    ("p50_ms", "p50"),
    ("p90_ms", "p90"),
    ("p99_ms", "p99"),
    ("p999_ms", "p99.9"),
    ("max_ms", "max"),
)
INK = (
    "var(--accent,#2454a6)",
    "var(--holds,#17693f)",
    "var(--unknown,#80560a)",
    "var(--broken,#ad1f1f)",
    "currentColor",
)
STYLE = "width:100%;font:11px system-ui,sans-serif;fill:currentColor"
Scale = Callable[[float], float]


def _linear(low: float, high: float, start: float, end: float) -> Scale:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def _log(low: float, high: float, start: float, end: float) -> Scale:
    inner = _linear(math.log10(low), math.log10(max(high, low * 10)), start, end)
    return lambda value: inner(math.log10(max(value, low)))


def _ticks(high: float, count: int = 5) -> list[float]:
    if high <= 0:
        return [0.0]
    raw = high / count
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= raw)
    return [step * n for n in range(int(high / step) + 1)]


def _decades(low: float, high: float) -> list[float]:
    return [10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]


def _frame(
    title: str, x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[tuple[float, str]], body: str
) -> str:
    grid = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line,#dfe1e5)"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{html.escape(label)}</text>'
        for y, label in y_ticks
    )
    along = "".join(
        f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{html.escape(label)}</text>'
        for x, label in x_ticks
    )
    name = html.escape(title)
    return (
        f"<figure><figcaption>{name}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH + 70} {HEIGHT}" role="img" aria-label="{name}" style="{STYLE}">'
        f"{grid}{along}{body}</svg></figure>"
    )


def _rect(x: float, top: float, width: float, ink: str, opacity: float, title: str) -> str:
    """A bar that stands on the axis."""
    return (
        f'<rect x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{HEIGHT - BOTTOM - top:.1f}" '
        f'fill="{ink}" opacity="{opacity}"><title>{html.escape(title)}</title></rect>'
    )


def _path(points: Sequence[tuple[float, float]], ink: str, label: str, label_y: float | None = None) -> str:
    if not points:
        return ""
    line = " ".join(f"{'M' if n == 0 else 'L'}{x:.1f} {y:.1f}" for n, (x, y) in enumerate(points))
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{ink}"/>' for x, y in points)
    x, y = points[-1][0], points[-1][1] if label_y is None else label_y
    return (
        f'<path d="{line}" fill="none" stroke="{ink}" stroke-width="1.5"/>{dots}'
        f'<text x="{x + 6:.1f}" y="{y + 4:.1f}" fill="{ink}">{html.escape(label)}</text>'
    )


def over_time(steps: Sequence[Mapping[str, Any]], kills: Sequence[Mapping[str, Any]]) -> str:
    """Offered and answered rates of the steps over the run; kills are bands."""
    last = max(float(s["at_s"]) + float(s["seconds"]) for s in steps)
    most = max(float(s["offered_hz"]) for s in steps)
    x, y = _linear(0, last, LEFT, WIDTH), _linear(0, most, HEIGHT - BOTTOM, TOP)
    body = ""
    for kill in kills:
        left, right = x(float(kill["from_s"])), x(float(kill["to_s"] or last))
        title = f"killed: {', '.join(kill['targets'])}"
        body += _rect(left, TOP, max(2.0, right - left), "var(--band,#ad1f1f)", 0.18, title)
    for step in steps:
        left, width = x(float(step["at_s"])), x(float(step["seconds"])) - LEFT
        ink = INK[3] if step["why"] else INK[0]
        for name, opacity in (("offered_hz", 0.3), ("achieved_hz", 1.0)):
            top = y(float(step[name]))
            title = f"{step['label']}: {step[name]:.0f} /s"
            body += _rect(left, top, max(1.5, width), ink, opacity, title)
    return _frame(
        "Offered (pale) and answered in time, operations a second, over seconds; red was not kept up with",
        [(x(t), f"{t:g} s") for t in _ticks(last)],
        [(y(t), f"{t:,.0f}") for t in _ticks(most)],
        body,
    )


def latency_by_rate(steps: Sequence[Mapping[str, Any]], objective_ms: float) -> str:
    """Percentiles of the latency, logarithmic, by offered rate."""
    ordered = sorted(steps, key=lambda s: float(s["offered_hz"]))
    if not ordered:
        return ""
    most = max(float(s["offered_hz"]) for s in ordered)
    low = max(0.05, min(float(s["p50_ms"]) for s in ordered) / 2)
    high = max(objective_ms, *(float(s["max_ms"]) for s in ordered))
    x, y = _linear(0, most, LEFT, WIDTH), _log(low, high, HEIGHT - BOTTOM, TOP)
    body, above = "", math.inf
    for (name, label), ink in zip(PERCENTILES, INK, strict=True):
        points = [(x(float(s["offered_hz"])), y(float(s[name]))) for s in ordered]
        above = min(points[-1][1], above - 12)  # labels stand above one another, lines may touch
        body += _path(points, ink, label, above)
    at = y(objective_ms)
    body += (
        f'<line x1="{LEFT}" x2="{WIDTH}" y1="{at:.1f}" y2="{at:.1f}" stroke="currentColor" '
        'stroke-dasharray="5 4"/>'
        f'<text x="{LEFT + 4}" y="{at - 4:.1f}">objective for p99</text>'
    )
    return _frame(
        "Latency from the intended start (ms, logarithmic) by offered rate, all pods up",
        [(x(t), f"{t:,.0f} /s") for t in _ticks(most)],
        [(y(t), f"{t:g} ms") for t in _decades(low, high) if low <= t <= high],
        body,
    )


def scaling(usl: Mapping[str, Any]) -> str:
    """Throughput by clients in flight, measured and fitted."""
    points = [(float(n), float(rate)) for n, rate in usl["points"]]
    most_n, most = max(n for n, _ in points), max(rate for _, rate in points)
    x, y = _log(1, most_n, LEFT, WIDTH), _linear(0, most * 1.1, HEIGHT - BOTTOM, TOP)
    body = _path([(x(n), y(rate)) for n, rate in points], INK[0], "measured")
    if "contention" in usl:
        g, a, b = (float(usl[name]) for name in ("one_client_hz", "contention", "coherency"))
        curve = [10 ** (math.log10(most_n) * i / 60) for i in range(61)]
        fitted = [(x(n), y(min(most * 1.1, g * n / (1 + a * (n - 1) + b * n * (n - 1))))) for n in curve]
        line = " ".join(f"{'M' if i == 0 else 'L'}{px:.1f} {py:.1f}" for i, (px, py) in enumerate(fitted))
        body += f'<path d="{line}" fill="none" stroke="{INK[1]}" stroke-dasharray="6 3"/>'
    return _frame(
        "Operations a second by clients in flight (logarithmic); dashed: Universal Scalability Law",
        [(x(n), f"{n:g}") for n, _ in points],
        [(y(t), f"{t:,.0f}") for t in _ticks(most)],
        body,
    )
