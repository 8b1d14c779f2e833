"""report.html: what failed and why, then how results look. One file that loads nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import suppress
from html import escape
from typing import Any

from vidseg.errors import VidsegError
from vidseg.pipeline.batch import stores
from vidseg.pipeline.batch.jobs import PAGE, REPORT, SUMMARY
from vidseg.pipeline.batch.scratch import Scratch
from vidseg.pipeline.file_names import ESCAPED

MAX_FAILURES = 1000
"""The page lists the first failed jobs, up to this many."""
MAX_SHEETS = 48
"""Pictures are shown of about this many jobs, spread over all that are done."""
PICTURES = 4
"""How many frames of a job are shown, from its first to its last."""
PICTURE_WIDTH = 240
"""Width of each of them, in pixels."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 68rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; vertical-align: top; }
td { border-bottom: 1px solid #8884; }
code { font-size: .9em; } .hint { opacity: .7; } figure { margin: 1.2rem 0; } figure img { max-width: 100%; }
:root { color-scheme: light dark; }
"""


def write_report(out: str, scratch: Scratch | None = None) -> str:
    """Write OUT/report.html from OUT/report.jsonl and the outputs of jobs; returns its address.

    At most 1,000 failures are listed, and contact sheets of at most 48 results, spread evenly over the run,
    are shown: nobody could read a page about a million jobs.

    Args:
        scratch: for pictures that come from a store.
    """
    scratch = scratch or Scratch()
    summary = json.loads(stores.read_bytes(stores.join(out, SUMMARY)))
    failures: list[dict[str, Any]] = []
    num_good = sum(line["status"] == "done" for line in _lines(out))
    step = max(1, -(-num_good // MAX_SHEETS))
    shown: list[dict[str, Any]] = []
    seen = 0
    for line in _lines(out):
        if line["status"] == "done":
            if seen % step == 0:
                shown.append(line)
            seen += 1
        elif len(failures) < MAX_FAILURES:
            failures.append(line)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>vidseg batch</title>",
        f"<style>{_STYLE}</style>",
        f"<h1>{summary['done']} of {summary['jobs']} jobs done, {summary['failed']} failed</h1>",
        f"<p>{summary['frames']} frames in {summary['seconds']:.0f} s on {summary['workers']} workers, "
        f"{summary['frames_per_second']:.1f} a second; {summary['done_before']} jobs had been done before, "
        f"{summary['retries']} tries were repeated, {summary['left']} jobs are left.</p>",
        *_failures(failures, summary["failed"]),
        *_results(out, shown, num_good, scratch),
        "</html>\n",
    ]
    address = stores.join(out, PAGE)
    stores.write_whole(address, "\n".join(parts).encode(errors=ESCAPED))
    return address


def _lines(out: str) -> Iterator[dict[str, Any]]:
    for line in stores.read_lines(stores.join(out, REPORT)):
        with suppress(ValueError):  # a full disk may have taken half a line
            yield json.loads(line)


def _failures(failures: list[dict[str, Any]], total: int) -> Iterator[str]:
    if not failures:
        return
    more = f" (the first {len(failures)} of {total})" if total > len(failures) else ""
    yield f"<h2>Failed{more}</h2><table><tr><th>job<th>why<th>tries"
    for line in sorted(failures, key=lambda line: (line["kind"], line["id"])):
        place = f"<br><code>{escape(line['where'])}</code>" if line.get("where") else ""
        hint = f"<br><span class=hint>{escape(line['hint'])}</span>" if line.get("hint") else ""
        why = f"{escape(line['kind'])}: {escape(line['reason'] or '')}{place}{hint}"
        yield f"<tr><td>{escape(line['id'])}<td>{why}<td>{line['tries']}"
    yield "</table>"


def _results(out: str, lines: list[dict[str, Any]], num_good: int, scratch: Scratch) -> Iterator[str]:
    if not lines:
        return
    yield f"<h2>Results ({len(lines)} of {num_good})</h2>"
    for line in lines:
        caption = f"<figcaption>{escape(line['id'])}, {line['frames']} frames</figcaption>"
        sheet = contact_sheet(stores.join(out, line["id"]), scratch)
        picture = ""
        if sheet is not None:
            picture = f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(sheet).decode()}">'
        yield f"<figure>{caption}{picture}</figure>"


def contact_sheet(folder: str, scratch: Scratch) -> bytes | None:
    """Four pictures of a job's overlay side by side, as JPEG; None if it has no overlay."""
    import cv2
    import numpy as np

    from vidseg.pipeline.read import read

    address = stores.join(folder, "overlay.mp4")
    try:
        if not stores.exists(address):
            return None
        path = stores.local_path(address)
        if stores.is_remote(address):
            path = scratch.folder("report") / "overlay.mp4"
            stores.download(address, path)
        with read(path) as source:
            length = source.info.num_frames or source.info.num_frames_from_header or 1
        pictures = []
        for wanted in sorted({round(place * (length - 1) / (PICTURES - 1)) for place in range(PICTURES)}):
            with read(path, start=wanted, end=wanted + 1) as source:
                image = next(iter(source)).image
            if image is None:
                return None
            height = max(1, round(image.shape[0] * PICTURE_WIDTH / image.shape[1]))
            pictures.append(cv2.resize(image, (PICTURE_WIDTH, height), interpolation=cv2.INTER_AREA))
        sheet = np.concatenate(pictures, axis=1)
        is_good, data = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
        return data.tobytes() if is_good else None
    except (VidsegError, StopIteration):
        return None
