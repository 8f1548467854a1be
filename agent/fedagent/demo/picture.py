# SPDX-License-Identifier: Apache-2.0
"""Curves over rounds as one SVG file that any browser shows; no library draws it, so nothing has to be installed.

Rule: values in, text out.
"""

from collections.abc import Mapping, Sequence
from typing import Final
from xml.sax.saxutils import escape

WIDTH: Final = 860
HEIGHT: Final = 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 210, 50, 60
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's, which colour-blind people tell apart."""

_STEPS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 1e9)
_MOST_LINES: Final = 6

Curve = Sequence[tuple[int, float]]


def draw(title: str, axis: str, curves: Mapping[str, Curve], *, levels: Mapping[str, float]) -> str:
    """The picture.

    Args:
        axis: what the values are.
        curves: round and value, by name.
        levels: values that hold for all rounds, drawn dashed.
    """
    points = [point for curve in curves.values() for point in curve]
    rounds = [number for number, _ in points] or [0, 1]
    values = [value for _, value in points] + list(levels.values())
    scale = _Scale(min(rounds), max(rounds), min(values, default=0.0), max(values, default=1.0))
    body = [
        f'<text x="{_LEFT}" y="28" class="title">{escape(title)}</text>',
        *_axes(scale, axis),
        *(_curve(name, curve, index, scale) for index, (name, curve) in enumerate(curves.items())),
        *(
            _level(name, level, index, scale)
            for index, (name, level) in enumerate(levels.items(), len(curves))
        ),
    ]
    style = "text{font:13px sans-serif;fill:#222}.title{font-size:17px;font-weight:bold}.grid{stroke:#ddd}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}"><style>{style}</style>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>{"".join(body)}</svg>\n'
    )


class _Scale:
    """Rounds and values to pixels, with round steps between the grid's lines."""

    def __init__(self, first: int, last: int, low: float, high: float) -> None:
        self.first, self.last = first, max(last, first + 1)
        self.step = next(step for step in _STEPS if (high - low) / step <= _MOST_LINES)
        self.low = int(low / self.step) * self.step
        self.high = self.low + self.step * max(1, -int(-(high - self.low) / self.step // 1))

    def x(self, number: float) -> float:
        return _LEFT + (number - self.first) / (self.last - self.first) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - _TOP - _BOTTOM)


def _axes(scale: _Scale, axis: str) -> list[str]:
    lines = []
    for index in range(round((scale.high - scale.low) / scale.step) + 1):
        value = scale.low + index * scale.step
        y = scale.y(value)
        lines.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.2f}</text>')
    every = max(1, (scale.last - scale.first) // 10)
    lines += [
        f'<text x="{scale.x(number):.1f}" y="{HEIGHT - _BOTTOM + 20}" text-anchor="middle">{number}</text>'
        for number in range(scale.first, scale.last + 1, every)
    ]
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    lines.append(
        f'<text x="{middle}" y="{HEIGHT - 15}" text-anchor="middle">rounds of federated training</text>'
    )
    lines.append(
        f'<text x="18" y="{HEIGHT / 2}" transform="rotate(-90 18 {HEIGHT / 2})" text-anchor="middle">{escape(axis)}</text>'
    )
    return lines


def _curve(name: str, curve: Curve, index: int, scale: _Scale) -> str:
    colour = _COLOURS[index % len(_COLOURS)]
    points = " ".join(f"{scale.x(number):.1f},{scale.y(value):.1f}" for number, value in curve)
    line = f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>'
    return line + _legend(name, index, f'stroke="{colour}" stroke-width="2.5"')


def _level(name: str, level: float, index: int, scale: _Scale) -> str:
    colour, y = _COLOURS[index % len(_COLOURS)], scale.y(level)
    dashes = f'stroke="{colour}" stroke-width="1.5" stroke-dasharray="6 4"'
    line = f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" {dashes}/>'
    return line + _legend(name, index, dashes)


def _legend(name: str, index: int, stroke: str) -> str:
    x, y = WIDTH - _RIGHT + 16, _TOP + 12 + index * 22
    return f'<line x1="{x}" x2="{x + 24}" y1="{y}" y2="{y}" {stroke}/><text x="{x + 30}" y="{y + 4}">{escape(name)}</text>'
