"""Reads the state of a run of jobs from its folder, from another terminal or later."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

from vidseg.errors import InputError, SourceError, one_line
from vidseg.pipeline.batch import stores
from vidseg.pipeline.batch.jobs import SUMMARY

SILENT_S = 60.0
"""A driver writes its state every few seconds; if it has not for this long, it was killed."""


def read_status(out: str) -> dict[str, Any]:
    """The contents of summary.json and `seconds_left` (or None).

    `status` is 'killed' if the driver no longer writes the file.

    Raises:
        InputError: there is no run of jobs.
    """
    try:
        summary = json.loads(stores.read_bytes(stores.join(out, SUMMARY)))
    except SourceError:
        raise InputError(
            f"there is no run of jobs in '{out}'", hint="give the --out of a `vidseg batch`"
        ) from None
    except ValueError:
        summary = None
    if not isinstance(summary, dict) or not summary.keys() >= {
        "status",
        "jobs",
        "done",
        "failed",
        "updated_at",
    }:
        raise InputError(f"'{stores.join(out, SUMMARY)}' is not of a run of jobs")
    updated = datetime.fromisoformat(summary["updated_at"])
    silent_s = (datetime.now(timezone.utc) - updated).total_seconds()
    if summary["status"] == "running" and silent_s > SILENT_S:
        summary["status"] = "killed"
    # Jobs done by an earlier run took no time in this one.
    worked = summary["done"] - summary["done_before"] + summary["failed"]
    summary["seconds_left"] = None
    if summary["status"] == "running" and worked:
        summary["seconds_left"] = round(summary["seconds"] / worked * summary["left"])
    return summary


def as_text(summary: dict[str, Any]) -> str:
    """The state in a few lines for people."""
    head = f"{summary['status']}: {summary['done']} of {summary['jobs']} jobs done"
    if summary["done_before"]:
        head += f" ({summary['done_before']} of them before)"
    head += f", {summary['failed']} failed"
    if summary["status"] == "running":
        head += f", {summary['running']} running on {summary['workers']} workers"
    lines = [head, f"  {summary['frames']} frames, {summary['frames_per_second']:.1f} a second"]
    if summary["seconds_left"] is not None:
        lines.append(f"  about {_time(summary['seconds_left'])} left")
    if summary["status"] in ("killed", "interrupted"):
        lines.append(f"  {summary['left']} jobs left; the same command goes on")
    lines += [f"  failed: {count} x {kind}" for kind, count in sorted(summary["failures"].items())]
    named = summary.get("first_failed", [])
    lines += [
        f"    {failed['id']}: {one_line(failed['reason'] or 'no reason is known', 200)}" for failed in named
    ]
    if named and len(named) < summary["failed"]:
        lines.append(f"    and {summary['failed'] - len(named)} more")
    return "\n".join(lines)


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
