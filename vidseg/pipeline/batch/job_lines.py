"""report.jsonl: one line for each job, in the order in which they ended."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from vidseg.errors import OutputError, VidsegError, told
from vidseg.pipeline.addresses import shown
from vidseg.pipeline.batch import stores
from vidseg.pipeline.batch.jobs import REPORT
from vidseg.pipeline.batch.stage import JobOutcome
from vidseg.pipeline.batch.status import read_status
from vidseg.pipeline.file_lock import lock
from vidseg.pipeline.file_names import ESCAPED


class Report:
    """Writes the lines."""

    def __init__(self, file: IO[bytes], address: str | None) -> None:
        self._file = file
        self._address = address

    def write(self, outcome: JobOutcome, tries: int) -> None:
        line: dict[str, Any] = {"id": outcome.id, "status": outcome.status, "tries": tries}
        if outcome.was_done_before:
            line["was_done_before"] = True
        line |= {"frames": outcome.frames, "seconds": outcome.seconds}
        if outcome.status == "failed":
            line |= {
                "kind": outcome.kind,
                "reason": outcome.reason,
                "where": outcome.where,
                "hint": outcome.hint,
            }
        self._file.write(json.dumps(line, ensure_ascii=False).encode(errors=ESCAPED) + b"\n")
        self._file.flush()

    def close(self) -> None:
        if self._address is not None:
            self._file.seek(0)
            stores.write_whole_from(self._file, self._address)
        self._file.close()


def open_report(out: str) -> Report:
    """Begin the report of a run in a folder, and keep other drivers out of it.

    On a store, which has no locks, one can only warn of them; the report is sent there when the run ends.

    Raises:
        OutputError: another driver is at work there, or the folder cannot be written to.
    """
    if stores.is_remote(out):
        import tempfile

        _warn_of_another_run(out)
        # `Report.close` closes it.
        return Report(tempfile.TemporaryFile("w+b"), stores.join(out, REPORT))
    path = stores.local_path(out) / REPORT
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "ab")  # noqa: SIM115
        _lock(file, out)
        file.truncate(0)
    except OSError as error:
        raise OutputError(
            f"the output folder '{out}' cannot be used ({error.strerror})", hint="choose another --out"
        ) from None
    return Report(file, None)


def _warn_of_another_run(out: str) -> None:
    with suppress(VidsegError):
        if read_status(out)["status"] == "running":
            warnings.warn(
                f"another run of jobs writes to '{shown(out)}', or was killed within the last minute",
                stacklevel=2,
            )


def _lock(file: IO[bytes], out: str) -> None:
    try:
        lock(file.fileno())
    except BlockingIOError:
        file.close()
        raise OutputError(
            f"another run of jobs is writing to '{out}'", hint="wait for it, or choose another --out"
        ) from None


@contextmanager
def kept_going(name: str) -> Iterator[None]:
    """Warn if a file about the run cannot be written: the jobs are worth more than what is told of them."""
    try:
        yield
    except (OSError, VidsegError) as error:
        warnings.warn(f"'{name}' could not be written ({told(error)})", stacklevel=2)
