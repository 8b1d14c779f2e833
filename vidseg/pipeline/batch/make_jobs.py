"""Makes a file of jobs from a folder of videos or from a table."""

from __future__ import annotations

import csv
import io
import json
import re
from itertools import chain, count
from pathlib import PurePosixPath
from typing import Any

from vidseg.errors import InputError
from vidseg.pipeline.addresses import shown
from vidseg.pipeline.batch import stores
from vidseg.pipeline.batch.jobs import RESERVED, JobsFileError, with_resolved_masks

VIDEO_SUFFIXES = {".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv"}
PROMPT_SUFFIXES = (".json", ".png")
TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
DELIMITERS = (",", ";", "\t")
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n")
MAX_ID_STEM = 180
"""Longest part of an id taken from a name: ids have at most 200 letters, and a number may follow."""


def jobs_of_folder(folder: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Jobs for videos and folders of frames with a prompt file of the same name beside them.

    Args:
        folder: searched with all its subfolders; `dogs/a.mp4` goes with `dogs/a.json`, or with the mask
            `dogs/a.png`, and its job is `dogs-a`.

    Returns:
        the jobs, and the videos left out because they have no prompt file.
    """
    if not stores.is_folder(folder):
        raise InputError(f"there is no folder '{shown(folder)}'")
    names = [PurePosixPath(name) for name, _ in stores.list_files(folder)]
    videos = {name for name in names if name.suffix.lower() in VIDEO_SUFFIXES}
    prompts = {
        name.with_suffix(""): name
        for suffix in reversed(PROMPT_SUFFIXES)
        for name in names
        if name.suffix == suffix
    }
    folders = {parent for name in names for parent in name.parents if parent in prompts}
    videos = {name for name in videos if not folders.intersection(name.parents)} | folders
    jobs, left_out = [], []
    taken = set(RESERVED)
    for video in sorted(videos):
        prompt = prompts.get(video if video in folders else video.with_suffix(""))
        if prompt is None:
            left_out.append(str(video))
            continue
        at = stores.resolve(str(prompt), folder)
        jobs.append(
            {
                "id": _id_of(video, taken),
                "video": stores.resolve(str(video), folder),
                "prompt": at if prompt.suffix == ".json" else {"mask": at},
            }
        )
    return jobs, left_out


def _id_of(video: PurePosixPath, taken: set[str]) -> str:
    """A job's id, in the letters that it may have: `dogs/a.mp4` is `dogs-a`, or `dogs-a-2` if that is taken.

    Args:
        taken: ids of other jobs; the new one is added to it.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(video.with_suffix("").parts)).strip("._-")[:MAX_ID_STEM]
    stem = plain or "video"
    ids = chain([stem], (f"{stem}-{number}" for number in count(2)))
    job_id = next(job_id for job_id in ids if job_id.casefold() not in taken)
    taken.add(job_id.casefold())
    return job_id


def jobs_of_csv(table: str) -> list[dict[str, Any]]:
    """Jobs of a table whose first line names its columns: video, prompt, and id, tracker or options.

    Cells are separated by commas, semicolons or tabs; the text is UTF-8, or UTF-16 as Excel saves it.

    A `prompt` that begins with '{' is the content of a prompt. Jobs without an `id` are numbered. Any other
    column is an option of that name; empty cells are ignored. Paths are relative to the table.

    Raises:
        JobsFileError: some rows are no jobs; all of them are named, by their (last) line.
        InputError: the file is no such table.
    """
    try:
        data = stores.read_bytes(table)
        text = data.decode("utf-16" if data[:2] in UTF16_MARKS else "utf-8-sig")
        marked = _SEPARATOR_LINE.match(text)  # Excel's own first line
        text = text[marked.end() :] if marked else text
        delimiter = marked[1] if marked else _delimiter(text)
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
        rows = [(reader.line_num + (marked is not None), row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"'{shown(table)}' is not a CSV table in UTF-8 ({error})") from None
    columns = [(name or "").strip() for name in reader.fieldnames or ()]
    if missing := [f"'{name}'" for name in ("video", "prompt") if name not in columns]:
        raise InputError(
            f"'{shown(table)}' has no column {' and no column '.join(missing)}",
            where=f"line 1, which names these columns: {', '.join(columns) or 'none'}",
            hint="name the columns 'video' and 'prompt' in the first line",
        )
    jobs, problems = [], []
    for number, (line_no, row) in enumerate(rows, start=1):
        fault = _fault(row)
        if fault:
            problems.append((line_no, fault))
        else:
            # As wide in every table: a row added at the end must not change the ids of the others.
            jobs.append(_job_of_row(row, stores.parent(table), f"job-{number:06d}"))
    if problems:
        raise JobsFileError(shown(table), len(rows), problems, so="nothing was written")
    return jobs


def is_table(source: str) -> bool:
    """Whether a source of jobs is a CSV table."""
    return stores.name_of(source).lower().endswith(TABLE_SUFFIXES)


def _delimiter(text: str) -> str:
    """The separator with which the first line has the columns that a table needs; else the comma."""
    head = text.splitlines()[0] if text.strip() else ""
    for delimiter in DELIMITERS:
        names = next(csv.reader([head], delimiter=delimiter), [])
        if {"video", "prompt"} <= {name.strip() for name in names}:
            return delimiter
    return ","


def _fault(row: dict[Any, Any]) -> str | None:
    """Why a row is no job; None if it is one."""
    if None in row or None in row.values():
        return "more or fewer cells than the first line"
    missing = [name for name, cell in row.items() if name.strip() in ("video", "prompt") and not cell.strip()]
    return f"no {missing[0].strip()}" if missing else None


def _job_of_row(row: dict[str, str], folder: str, number: str) -> dict[str, Any]:
    said = {name.strip(): cell.strip() for name, cell in row.items() if cell.strip()}
    prompt = said.pop("prompt")
    job: dict[str, Any] = {
        "id": said.pop("id", number),
        "video": stores.resolve(said.pop("video"), folder),
        "prompt": _prompt(prompt, folder),
    }
    if "tracker" in said:
        tracker = said.pop("tracker")
        is_path = tracker.endswith((".yaml", ".yml"))
        job["tracker"] = stores.resolve(tracker, folder) if is_path else tracker
    if "weights" in said:
        said["weights"] = stores.resolve(said["weights"], folder)
    if said:
        job["options"] = {
            name: cell.split(",") if name == "formats" else _json(cell) for name, cell in said.items()
        }
    return job


def _prompt(cell: str, folder: str) -> Any:
    """The address of a prompt file, or the content of a prompt; malformed content is reported later."""
    if not cell.startswith("{"):
        return stores.resolve(cell, folder)
    content = _json(cell)
    return with_resolved_masks(content, folder) if isinstance(content, dict) else content


def _json(cell: str) -> Any:
    """The value of a cell: that of its JSON, or else its text."""
    try:
        return json.loads(cell)
    except ValueError:
        return cell
