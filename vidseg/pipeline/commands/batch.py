"""`vidseg batch`: many videos, on a Ray cluster or in this process."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidseg.errors import ConfigError, InputError
from vidseg.pipeline.addresses import shown
from vidseg.pipeline.commands.tracker_arguments import add_tracker_arguments, options_of, said_of_tracker
from vidseg.pipeline.commands.worker_arguments import add_worker_arguments, check_worker_arguments
from vidseg.pipeline.file_names import ESCAPED
from vidseg.pipeline.formats import FORMATS

if TYPE_CHECKING:
    from vidseg.pipeline.batch.jobs import JobsFile
    from vidseg.pipeline.batch.pool import Pool
    from vidseg.pipeline.batch.scratch import Scratch
    from vidseg.pipeline.batch.tally import Display, Tally

_ACTIONS = "a file of jobs; or: status DIR (how a run stands), make FOLDER|CSV (write a file of jobs)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="+", metavar="JOBS.jsonl", help=_ACTIONS)
    parser.add_argument("--out", metavar="DIR", help="a folder or an address; of make: the file of jobs")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument("--quiet", action="store_true", help="print errors only")

    running = parser.add_argument_group("running")
    running.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes to work in (default: as many as the cluster has room for); 0: this one, without Ray",
    )
    add_worker_arguments(running)
    running.add_argument("--memory", type=float, metavar="GB", help="memory that a worker is counted with")
    running.add_argument(
        "--retries", type=int, default=3, metavar="N", help="tries after the first (default: 3)"
    )
    running.add_argument(
        "--stall-minutes",
        type=float,
        metavar="M",
        help="end a worker whose job gets no further for so long (default: 60); 0: none",
    )
    running.add_argument("--scratch", metavar="DIR", help="disk for what comes from a store (default: /tmp)")

    add_tracker_arguments(parser, title="tracker of jobs that do not say otherwise")
    jobs = parser.add_argument_group("jobs that do not say otherwise")
    jobs.add_argument("--direction", choices=["forward", "backward", "both"], help="default: forward")
    jobs.add_argument(
        "--format",
        metavar="LIST",
        help="what to write (default: png,rle,overlay; to a store tar,rle,overlay); of "
        + ", ".join(FORMATS.known),
    )
    jobs.add_argument("--reader", choices=["pyav", "decord"], help="default: pyav")
    jobs.add_argument(
        "--save-every", type=int, metavar="N", help="frames between saved states (default: 100)"
    )


def run(args: argparse.Namespace) -> int:
    action = args.what[0] if args.what[0] in ("status", "make") else None
    if len(args.what) != (1 if action is None else 2):
        raise InputError(
            f"vidseg batch takes {_ACTIONS}",
            hint="vidseg batch jobs.jsonl --out DIR; vidseg batch status DIR",
        )
    if action == "status":
        return _status(args.what[1], as_json=args.json)
    if action is None:
        _require_jobs(args.what[0])
    if args.out is None:
        raise InputError("--out is missing", hint=f"vidseg batch {' '.join(args.what)} --out NAME")
    return _make(args.what[1], args.out) if action == "make" else _run(args)


def _status(out: str, *, as_json: bool) -> int:
    from vidseg.pipeline.batch.status import as_text, read_status

    summary = read_status(out)
    print(json.dumps(summary, indent=2) if as_json else as_text(summary))
    return 0


def _require_jobs(source: str) -> None:
    """Raises InputError for a table, a folder or a video: jobs are made of these first."""
    from vidseg.pipeline.batch import stores
    from vidseg.pipeline.batch.make_jobs import VIDEO_SUFFIXES, is_table

    make = f"vidseg batch make {source} --out jobs.jsonl, then vidseg batch jobs.jsonl --out DIR"
    if is_table(source):
        raise InputError(f"'{source}' is a table, not a file of jobs", hint=make)
    if not stores.is_remote(source) and Path(source).is_dir():
        raise InputError(f"'{source}' is a folder, not a file of jobs", hint=make)
    if Path(source).suffix.lower() in VIDEO_SUFFIXES:
        raise InputError(
            f"'{source}' is a video, not a file of jobs", hint=f"vidseg track {source}, or batch make FOLDER"
        )


def _make(source: str, out: str) -> int:
    from vidseg.pipeline.batch import stores
    from vidseg.pipeline.batch.make_jobs import is_table, jobs_of_csv, jobs_of_folder

    left_out: list[str] = []
    if is_table(source) and not stores.is_folder(source):
        jobs = jobs_of_csv(source)
    else:
        jobs, left_out = jobs_of_folder(source)
    if left_out:
        few = ", ".join(left_out[:3]) + (", ..." if len(left_out) > 3 else "")
        print(
            f"vidseg: warning: left out, no prompt file beside it: {len(left_out)} ({few})", file=sys.stderr
        )
    if not jobs:
        raise InputError(f"'{shown(source)}' gives no jobs", hint="a.mp4 goes with a.json or a.png beside it")
    lines = "".join(json.dumps(job, ensure_ascii=False) + "\n" for job in jobs)
    stores.write_whole(out, lines.encode(errors=ESCAPED))
    print(f"{out}: {len(jobs)} jobs")
    return 0


def _run(args: argparse.Namespace) -> int:
    from vidseg.pipeline.batch import stores
    from vidseg.pipeline.batch.jobs import JobsFile
    from vidseg.pipeline.batch.scratch import Scratch

    if args.workers is not None and args.workers < 0:
        raise ConfigError(f"--workers is {args.workers}", hint="a number of processes, or 0 for this one")
    if args.retries < 0:
        raise ConfigError(f"--retries is {args.retries}", hint="a number of tries, or 0 for none")
    check_worker_arguments(args)
    _check_stall(args)
    if args.memory is not None and args.memory <= 0:
        raise ConfigError(f"--memory is {args.memory}", hint="give a number above 0")
    stores.check_address(args.out)
    scratch = Scratch(_scratch(args))
    try:
        address = args.what[0]
        if not stores.is_remote(address):
            return _run_jobs(args, JobsFile(stores.local_path(address), _defaults(args)), scratch)
        path = scratch.folder("jobs") / "jobs.jsonl"
        stores.download(address, path)
        return _run_jobs(args, JobsFile(path, _defaults(args), folder=stores.parent(address)), scratch)
    finally:
        scratch.close()


def _check_stall(args: argparse.Namespace) -> None:
    if args.stall_minutes is None:
        return
    if not 0 <= args.stall_minutes < math.inf:
        raise ConfigError(
            f"--stall-minutes is {args.stall_minutes}", hint="give minutes, or 0 to wait for ever"
        )
    if args.workers == 0:
        raise ConfigError(
            "--stall-minutes does not go with --workers 0",
            hint="this process cannot end itself; give workers",
        )


def _scratch(args: argparse.Namespace) -> Path | None:
    return Path(args.scratch).absolute() if args.scratch else None


def _defaults(args: argparse.Namespace) -> dict[str, Any]:
    from vidseg.pipeline.batch import stores
    from vidseg.pipeline.batch.jobs import REMOTE_FORMATS

    options = options_of(args).with_absolute_paths()  # workers run in another working directory
    said = {name: getattr(options, name) for name in said_of_tracker(args)}
    for name in ("direction", "reader", "save_every"):
        if getattr(args, name) is not None:
            said[name] = getattr(args, name)
    if args.format is not None:
        said["formats"] = [name.strip() for name in args.format.split(",")]
    elif stores.is_remote(args.out):
        said["formats"] = list(REMOTE_FORMATS)
    return said


def _run_jobs(args: argparse.Namespace, jobs: JobsFile, scratch: Scratch) -> int:
    from vidseg.exit_codes import EXIT_INTERRUPTED, EXIT_SOME_FAILED
    from vidseg.pipeline.batch.driver import Driver, stop_on_signals
    from vidseg.pipeline.batch.job_lines import kept_going
    from vidseg.pipeline.batch.jobs import PAGE
    from vidseg.pipeline.batch.report import write_report
    from vidseg.pipeline.batch.status import as_text

    num_jobs = jobs.check()
    out = _absolute(args.out)
    with nullcontext() if args.workers == 0 else _silent_ray():
        pool = _pool(args, out, jobs)
        try:
            displays = _displays(num_jobs, out, quiet=args.quiet, on_ray=args.workers != 0)
            driver = Driver(jobs, num_jobs, out, pool, retries=args.retries, displays=displays)
            with stop_on_signals(driver, pool if args.workers == 0 else None):
                status = driver.run()
        finally:
            pool.close()
    page = None
    if status == "done":
        with kept_going(PAGE):
            page = write_report(out, scratch)
    summary = driver.summary | {"seconds_left": None}
    if args.json:
        print(json.dumps(summary, indent=2))
    elif not args.quiet:
        print(as_text(summary) + (f"\n  {page}" if page else ""))
    if status == "interrupted":
        return EXIT_INTERRUPTED
    return EXIT_SOME_FAILED if summary["failed"] else 0


@contextmanager
def _silent_ray() -> Iterator[None]:
    """Silence Ray, which prints pages on standard output when a worker dies; the report says why it did."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield


def _absolute(out: str) -> str:
    from vidseg.pipeline.batch import stores

    return out if stores.is_remote(out) else str(stores.local_path(out).absolute())


def _pool(args: argparse.Namespace, out: str, jobs: JobsFile) -> Pool[Any]:
    from vidseg.pipeline.batch.jobs import JobOptions
    from vidseg.pipeline.batch.pool import InProcessPool
    from vidseg.pipeline.batch.stage import TrackingStage

    scratch = _scratch(args)
    first_job = next(iter(jobs))[1]
    shared = JobOptions(**jobs.defaults).for_tracker()
    if args.workers == 0:
        return InProcessPool(TrackingStage(out, shared=shared, scratch=scratch), first_job)
    from vidseg.pipeline.batch.ray_pool import STALL_S, Needs, RayPool

    pool: Pool[Any] = RayPool(
        TrackingStage(out, shared=shared, threads=max(1, int(args.cpus)), scratch=scratch),
        first_job,
        workers=args.workers,
        needs=Needs(
            cpus=args.cpus,
            gpus=0.0 if args.device == "cpu" and args.gpus is None else args.gpus,
            memory_bytes=None if args.memory is None else int(args.memory * 1e9),
        ),
        address=args.ray_address,
        stall_s=STALL_S if args.stall_minutes is None else 60 * args.stall_minutes or None,
    )
    return pool


class _Bar:
    """A bar on standard error: jobs done, failed and running, frames a second, time left."""

    def __init__(self, num_jobs: int) -> None:
        from vidseg.pipeline.progress import new_bar

        self._bar = new_bar(num_jobs, of="jobs")

    def show(self, tally: Tally) -> None:
        bar = self._bar
        bar.set_postfix_str(
            f"{tally.failed} failed, {tally.running} running, {tally.frames_per_second:.1f} frames/s",
            refresh=False,
        )
        bar.update(tally.ended - bar.n)

    def close(self) -> None:
        self._bar.close()


def _displays(num_jobs: int, out: str, *, quiet: bool, on_ray: bool) -> list[Display]:
    displays: list[Display] = []
    if not quiet and sys.stderr.isatty():
        displays.append(_Bar(num_jobs))
    if on_ray:
        from vidseg.pipeline.batch.ray_metrics import RayMetrics

        displays.append(RayMetrics(out))
    return displays
