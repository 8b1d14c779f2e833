"""A folder of videos, or a CSV table, as a file of jobs."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from vidseg.errors import InputError
from vidseg.pipeline.batch import stores

VIDEO_SUFFIXES = {".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv"}
PROMPT_SUFFIXES = (".json", ".png")


def jobs_of_folder(folder: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Jobs for the videos and folders of frames that have a prompt file of their name beside them.

    Args:
        folder: searched with all that is below it; `dogs/a.mp4` goes with `dogs/a.json`, or with the mask
            `dogs/a.png`, and its job is `dogs-a`.

    Returns:
        The jobs, and the videos left out because they have no prompt file.
    """
    if not stores.is_folder(folder):
        raise InputError(f"there is no folder '{folder}'")
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
    for video in sorted(videos):
        prompt = prompts.get(video if video in folders else video.with_suffix(""))
        if prompt is None:
            left_out.append(str(video))
            continue
        at = stores.resolve(str(prompt), folder)
        job_id = re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join((video.with_suffix("")).parts)).lstrip("._-")
        jobs.append(
            {
                "id": job_id,
                "video": stores.resolve(str(video), folder),
                "prompt": at if prompt.suffix == ".json" else {"mask": at},
            }
        )
    return jobs, left_out


def jobs_of_csv(table: str) -> list[dict[str, Any]]:
    """Jobs of a CSV table whose first line names its columns: video, prompt, and id, tracker or options.

    A `prompt` that begins with '{' is a prompt's content. Without an `id`, jobs are numbered. Any other
    column is an option of that name; a cell left empty says nothing. Paths are relative to the table.

    Raises:
        InputError: it is no such table.
    """
    try:
        text = stores.read_bytes(table).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"'{table}' is not a CSV table in UTF-8 ({error})") from None
    if not rows or not {"video", "prompt"} <= rows[0].keys():
        raise InputError(
            f"'{table}' lacks the columns 'video' and 'prompt'", hint="name the columns in the first line"
        )
    return list(_jobs_of_rows(rows, stores.parent(table), table))


def _jobs_of_rows(rows: list[dict[Any, Any]], folder: str, table: str) -> Iterator[dict[str, Any]]:
    width = len(str(len(rows)))
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise InputError(
                "the row has more or fewer cells than the first line", where=f"{table}, row {number}"
            )
        said = {key.strip(): value.strip() for key, value in row.items() if value.strip()}
        for column in ("video", "prompt"):
            if column not in said:
                raise InputError(f"no {column}", where=f"{table}, row {number}")
        prompt = said.pop("prompt")
        job: dict[str, Any] = {
            "id": said.pop("id", f"job-{number:0{width}d}"),
            "video": stores.resolve(said.pop("video"), folder),
            "prompt": _json(prompt) if prompt.startswith("{") else stores.resolve(prompt, folder),
        }
        if "tracker" in said:
            job["tracker"] = said.pop("tracker")
        if said:
            job["options"] = {
                key: value.split(",") if key == "formats" else _json(value) for key, value in said.items()
            }
        yield job


def _json(cell: str) -> Any:
    """A cell's value: what JSON takes it for, else its text."""
    try:
        return json.loads(cell)
    except ValueError:
        return cell
