"""A file of jobs: JSON Lines, one video a line, checked whole before anything starts.

    {"id": "clip-001", "video": "clips/1.mp4", "prompt": "clips/1.json" or {"box": [...]},
     "tracker": "edgetam", "options": {"direction": "both"}}

Paths are relative to the file. A job is read again, from a copy on the disk, when its turn comes, so that
millions of jobs take no memory.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import IO, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from vidseg.errors import ConfigError, InputError, PromptError, VidsegError, one_line
from vidseg.pipeline.atomic import PART
from vidseg.pipeline.batch import stores
from vidseg.pipeline.batch.detector_files import with_resolved_detector
from vidseg.pipeline.discovery_options import discovery_of
from vidseg.pipeline.formats import DEFAULT_FORMATS
from vidseg.pipeline.plan import TrackOptions
from vidseg.pipeline.prompt_forms import LongForm, ShortForm
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.registry import read_config
from vidseg.validation import FileName, Strict, parse

MAX_LINE_BYTES = 16 << 20
REMOTE_FORMATS = ("tar", "rle", "overlay")
"""Formats that are written to a store by default; formats with a file for each frame would need too many
requests."""
REPORT, SUMMARY, PAGE = "report.jsonl", "summary.json", "report.html"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
RESERVED = {name + end for name in (REPORT, SUMMARY, PAGE) for end in ("", PART)}


class JobOptions(TrackerOptions):
    """Keyword arguments of `vidseg.track`; those that a job leaves out are taken from the command."""

    weights: Annotated[str, Field(min_length=1)] | None = None
    formats: list[str] = Field(default=list(DEFAULT_FORMATS))
    direction: Literal["forward", "backward", "both"] = "forward"
    start: Annotated[int, Field(ge=0)] | None = None
    end: Annotated[int, Field(ge=1)] | None = None
    reader: Literal["pyav", "decord"] = "pyav"
    save_every: Annotated[int, Field(ge=0)] = 100
    queue_frames: Annotated[int, Field(ge=1)] = 8
    discover: bool | dict[str, Any] = False
    """Whether to find objects besides those that are prompted, and how; see `vidseg.track`."""

    def for_track(self) -> TrackOptions:
        """The options that say how to run.

        Raises:
            InputError: they contradict each other.
        """
        return TrackOptions(
            formats=self.formats,
            direction=self.direction,
            start=self.start,
            end=self.end,
            reader=self.reader,
            save_every=self.save_every,
            queue_frames=self.queue_frames,
            discover=discovery_of(self.discover),
        )

    def for_tracker(self) -> TrackerOptions:
        """The options that say which tracker to build, and how."""
        return TrackerOptions(**{name: getattr(self, name) for name in TrackerOptions.model_fields})


class JobLine(Strict):
    """One line of a file of jobs."""

    id: str
    video: FileName
    prompt: FileName | dict[str, Any] | None = None
    """May be left out where the options say `discover`."""
    tracker: Annotated[str, Field(min_length=1)] | None = None
    options: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A video to track; its addresses are absolute."""

    id: str
    video: str
    prompt: str | dict[str, Any] | None
    """Address of a prompt file, or its content; None: all objects are to be found."""
    options: JobOptions = field(default_factory=JobOptions)


MOST_TOLD = 5
"""How many faults, and spans of lines with one of them, the message of an error tells."""


class JobsFileError(InputError):
    """Some lines are no jobs. They are named, grouped by fault; of many faults the first ones.

    Args:
        problems: (line number, what is wrong with it), in order.
        so: the consequence for the command.
    """

    def __init__(
        self, name: str, num_lines: int, problems: list[tuple[int, str]], *, so: str = "nothing was started"
    ) -> None:
        super().__init__(
            f"{len(problems)} of {num_lines} lines of '{name}' are no jobs; {so}",
            where=name,
            hint="mend these lines, then run the same command again",
        )
        self.problems = problems

    def __str__(self) -> str:
        first, *rest = super().__str__().splitlines()
        lines: dict[str, list[int]] = {}
        for line_no, what in self.problems:
            lines.setdefault(what, []).append(line_no)
        told = [f"{_numbered(numbers)}: {one_line(what)}" for what, numbers in lines.items()]
        if len(told) > MOST_TOLD:
            told[MOST_TOLD:] = [f"and {len(told) - MOST_TOLD} other faults"]
        return "\n".join([first, "  " + "; ".join(told), rest[-1]])


def _numbered(lines: list[int]) -> str:
    """Line numbers in words: 'line 3', or 'lines 3, 7-9'."""
    spans: list[list[int]] = []
    for line_no in lines:
        if spans and line_no == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], line_no]
        else:
            spans.append([line_no])
    shown = ["-".join(map(str, span)) for span in spans]
    if len(shown) > MOST_TOLD:
        shown[MOST_TOLD:] = ["..."]
    return f"line{'s' if len(lines) > 1 else ''} " + ", ".join(shown)


class JobsFile:
    """The jobs of a file, in order, as often as they are asked for.

    They are those that the file holds when it is first read, however it is changed after that.

    Args:
        path: the file, on this machine.
        defaults: fields of `JobOptions` that the command gives, for jobs that leave them out.
        folder: address to which paths in the file are relative; None: its own folder.
    """

    def __init__(
        self, path: Path, defaults: Mapping[str, Any] | None = None, *, folder: str | None = None
    ) -> None:
        self.path = path
        self.defaults = dict(defaults or {})
        self._folder = str(path.absolute().parent) if folder is None else folder
        self._good_trackers: set[str] = set()
        self._copy: IO[bytes] | None = None

    def check(self) -> int:
        """Read every line, in 16 bytes of memory a job.

        Returns:
            the number of jobs.

        Raises:
            JobsFileError: some lines are no jobs; all of them are named.
            InputError: the file cannot be read, or holds no jobs.
        """
        problems: list[tuple[int, str]] = []
        faults: dict[str, str] = {}
        """Each text is stored once, as a million lines may have the same fault."""
        digests, lines = array("Q"), array("Q")
        line_no = 0
        for line_no, _, line in self._lines():
            if not line.strip():
                continue
            try:
                job = self._parse(line)
                self._check_deeply(job)
            except VidsegError as error:
                told = _told(error)
                problems.append((line_no, faults.setdefault(told, told)))
                continue
            # Some file systems ignore case, so ids that differ only in case would share a folder.
            digests.append(_digest(job.id))
            lines.append(line_no)
        problems += self._repeated(digests, lines)
        if problems:
            raise JobsFileError(str(self.path), line_no, sorted(problems))
        if not digests:
            raise InputError(f"'{self.path}' holds no jobs", hint='a line: {"id", "video", "prompt"}')
        return len(digests)

    def __iter__(self) -> Iterator[tuple[int, Job]]:
        """Each job with its place in the file, which `at` takes."""
        for _, offset, line in self._lines():
            if line.strip():
                yield offset, self._parse(line)

    def at(self, offset: int) -> Job:
        file = self._opened()
        file.seek(offset)
        return self._parse(file.readline())

    def _lines(self) -> Iterator[tuple[int, int, bytes]]:
        """Line number, offset in bytes, and line, for each line."""
        file = self._opened()
        offset = 0
        for line_no in count(1):
            file.seek(offset)  # others may have read elsewhere meanwhile
            if not (line := file.readline(MAX_LINE_BYTES)):
                return
            yield line_no, offset, line
            offset += len(line)

    def _opened(self) -> IO[bytes]:
        """A copy of the file: people edit it while a run is under way, and a pipe can be read but once."""
        if self._copy is None:
            try:
                source = open(self.path, "rb")  # noqa: SIM115
            except FileNotFoundError:
                raise InputError(f"there is no file of jobs '{self.path}'") from None
            except OSError as error:
                raise InputError(f"the jobs '{self.path}' cannot be read ({error.strerror})") from None
            with source:
                copy = tempfile.TemporaryFile()  # noqa: SIM115
                weakref.finalize(self, copy.close)
                shutil.copyfileobj(source, copy, 1 << 20)
            self._copy = copy
        return self._copy

    def _parse(self, line: bytes) -> Job:
        data = _decode(line)
        # pydantic would complain about each field; but people mostly forget that a line is an object.
        if not isinstance(data, dict):
            raise ConfigError("not a JSON object")
        if not isinstance(prompt := data.get("prompt", ""), str | dict):
            raise ConfigError(
                f"the prompt {one_line(json.dumps(prompt), 40)} is neither a file's name nor an object",
                hint='{"box": [x0, y0, x1, y1]}',
            )
        said = parse(JobLine, data, where="", error=ConfigError)
        if not _ID.fullmatch(said.id) or said.id.casefold() in RESERVED or said.id.endswith("."):
            raise ConfigError(
                f"the id '{said.id}' cannot be a folder's name",
                where="field 'id'",
                hint="letters, digits, '.', '_' and '-', at most 200",
            )
        own = {**said.options, **({"tracker": said.tracker} if said.tracker is not None else {})}
        options = parse(JobOptions, {**self.defaults, **own}, where="options", error=ConfigError)
        if options.weights is not None and "weights" in own:
            options = options.model_copy(update={"weights": stores.resolve(options.weights, self._folder)})
        if "tracker" in own and options.tracker.endswith((".yaml", ".yml")):
            options = options.model_copy(update={"tracker": stores.resolve(options.tracker, self._folder)})
        if "discover" in said.options:
            discover = with_resolved_detector(options.discover, self._folder)
            options = options.model_copy(update={"discover": discover})
        prompt = said.prompt
        return Job(
            id=said.id,
            video=stores.resolve(said.video, self._folder),
            prompt=stores.resolve(prompt, self._folder)
            if isinstance(prompt, str)
            else prompt and with_resolved_masks(prompt, self._folder),
            options=options,
        )

    def _check_deeply(self, job: Job) -> None:
        """Check what needs only this machine: names, options that go together, prompts in the line."""
        job.options.for_track()
        if job.options.tracker not in self._good_trackers:
            read_config(job.options.tracker)
            self._good_trackers.add(job.options.tracker)
        stores.check_address(job.video)
        if job.prompt is None:
            if not job.options.discover:
                raise PromptError(
                    "nothing says what to follow",
                    where="field 'prompt'",
                    hint='or "discover": true in options',
                )
        elif isinstance(job.prompt, str):
            stores.check_address(job.prompt)
        elif "objects" in job.prompt:
            parse(LongForm, job.prompt, where="prompt", error=PromptError)
        else:
            parse(ShortForm, job.prompt, where="prompt", error=PromptError)
            if not job.prompt:
                raise PromptError("the prompt says nothing", where="field 'prompt'")

    def _repeated(self, digests: array[int], lines: array[int]) -> list[tuple[int, str]]:
        values = np.frombuffer(digests, np.uint64)
        order = np.argsort(values, kind="stable")
        is_suspect = np.zeros(len(order), bool)
        if len(order):
            same = values[order][1:] == values[order][:-1]
            is_suspect[order[1:][same]] = is_suspect[order[:-1][same]] = True
        if not is_suspect.any():
            return []
        suspects = {int(line_no) for line_no in np.frombuffer(lines, np.uint64)[is_suspect]}
        first: dict[str, int] = {}
        problems = []
        for line_no, _, line in self._lines():
            if line_no in suspects:
                job_id = self._parse(line).id
                before = first.setdefault(job_id.casefold(), line_no)
                if before != line_no:
                    problems.append((line_no, f"the id '{job_id}' is that of line {before}"))
        return problems


def with_resolved_masks(prompt: dict[str, Any], folder: str) -> dict[str, Any]:
    """The content of a prompt with the addresses of its mask files made absolute."""

    def resolved(region: Any) -> Any:
        if isinstance(region, dict) and isinstance(region.get("mask"), str) and region["mask"]:
            return {**region, "mask": stores.resolve(region["mask"], folder)}
        return region

    return map_regions(prompt, resolved)


def map_regions(prompt: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """The content of a prompt with each of its regions changed.

    Malformed parts stay as they are; they are reported later.
    """
    content = change(prompt)
    if isinstance(content.get("objects"), list):
        content = {
            **content,
            "objects": [
                {**thing, "prompts": [change(region) for region in thing["prompts"]]}
                if isinstance(thing, dict) and isinstance(thing.get("prompts"), list)
                else thing
                for thing in content["objects"]
            ],
        }
    return dict(content)


def _decode(line: bytes) -> Any:
    def not_a_number(name: str) -> Any:
        raise ConfigError(f"{name} is not a number of JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        if len(set(keys)) < len(keys):
            raise ConfigError(f"a key stands twice in {keys}")
        return dict(pairs)

    try:
        return json.loads(line.decode("utf-8-sig"), parse_constant=not_a_number, object_pairs_hook=once)
    except UnicodeDecodeError:
        raise ConfigError("not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"not JSON: {error.msg[0].lower()}{error.msg[1:]} (column {error.colno})") from None
    except (ValueError, RecursionError):
        raise ConfigError("not JSON that can be read (too deep, or a number too long)") from None


def _told(error: VidsegError) -> str:
    place = (error.where or "").strip(", ")
    return error.message + (f" ({place})" if place else "") + (f"; {error.hint}" if error.hint else "")


def _digest(job_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(job_id.casefold().encode(), digest_size=8).digest(), "little")
