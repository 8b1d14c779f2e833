"""The measurements of trackers as tables for terminals, and as a plot."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

from vidseg.errors import InputError
from vidseg.eval.bench import Measured


def as_text(rows: Sequence[Measured]) -> str:
    """The measurements as a table for terminals."""
    width = max(8, *(len(row.name) for row in rows))
    stages = list(dict.fromkeys(name for row in rows for name in row.ms_by_stage))
    head = f"{'tracker':<{width}} {'params M':>9} {'GFLOPs':>9} {'ms':>9}"
    head += "".join(f" {name:>9}" for name in stages)
    lines = [f"{head} {'frames/s':>9} {'peak MiB':>9} {'KiB/frame':>10} {'J&F':>6}"]
    for row in rows:
        line = f"{row.name:<{width}} {row.parameters / 1e6:9.1f} {_shown(row.gflops, 9)} {row.ms:9.1f}"
        line += "".join(f" {_shown(row.ms_by_stage.get(name), 9)}" for name in stages)
        peak = row.peak_memory_bytes.get("gpu", row.peak_memory_bytes.get("host", 0)) / 2**20
        growth = None if row.growth_bytes_per_frame is None else row.growth_bytes_per_frame / 1024
        lines.append(
            f"{line} {row.frames_per_second:9.2f} {peak:9.0f} {_shown(growth, 10)} {_shown(row.score, 6)}"
        )
    return "\n".join(
        [*lines, "", "stages in ms, medians; J&F on the made video unless --results gives another"]
    )


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """The efficiencies as a table for terminals."""
    width = max(8, *(len(row["name"]) for row in rows))
    lines = [f"{'tracker':<{width}} {'params M':>9} {'GFLOPs':>9} {'EER':>6} {'frames/s':>9} {'J&F':>6}"]
    lines += [
        f"{row['name']:<{width}} {row['parameters_m']:9.1f} {_shown(row['gflops'], 9)} "
        f"{_shown(row['eer'], 6, 2)} {row['frames_per_second']:9.2f} {_shown(row['score'], 6)}"
        for row in rows
    ]
    return "\n".join(lines)


def as_plot(rows: Sequence[Measured]) -> str:
    """The trackers as an SVG: frames a second to the right, on a logarithmic axis; the score upwards.

    Raises:
        InputError: no tracker has a score.
    """
    points = [(row.frames_per_second, row.score, row.name) for row in rows if row.score is not None]
    if not points:
        raise InputError("there are no scores to plot", hint="give --results, or weights that are not random")
    width, height, margin = 640, 400, 50
    speeds = [math.log10(speed) for speed, *_ in points]
    low, high = math.floor(min(speeds)), math.ceil(max(speeds) + 1e-9)
    bottom = 10 * math.floor(min(score for _, score, _ in points) / 10)
    top = max(10 * math.ceil(max(score for _, score, _ in points) / 10), bottom + 10)

    def at(log_speed: float, score: float) -> tuple[float, float]:
        x = margin + (width - 2 * margin) * (log_speed - low) / max(high - low, 1)
        return x, height - margin - (height - 2 * margin) * (score - bottom) / (top - bottom)

    parts = [f'<path d="M{margin} {margin}V{height - margin}H{width - margin}" fill="none" stroke="#888"/>']
    for power in range(low, high + 1):
        x, y = at(power, bottom)
        parts.append(f'<text x="{x:.0f}" y="{y + 20:.0f}" text-anchor="middle">{10.0**power:g}</text>')
    for mark in range(bottom, top + 1, 10):
        x, y = at(low, mark)
        parts.append(f'<text x="{x - 8:.0f}" y="{y + 4:.0f}" text-anchor="end">{mark}</text>')
    for log_speed, (_, score, name) in zip(speeds, points, strict=True):
        x, y = at(log_speed, score)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="#2a6db0"/>')
        parts.append(f'<text x="{x + 8:.1f}" y="{y - 6:.1f}">{html.escape(name)}</text>')
    parts.append(f'<text x="{width / 2}" y="{height - 8}" text-anchor="middle">frames a second</text>')
    parts.append(f'<text x="12" y="{margin - 16}">J&amp;F</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12">{"".join(parts)}</svg>\n'
    )


def _shown(value: float | None, width: int, decimals: int = 1) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.{decimals}f}"
