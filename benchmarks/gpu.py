"""Trackers on one GPU: do they agree with the CPU, and what does a frame take? Beside the official predictor.

    python benchmarks/gpu.py --out gpu.json --davis DAVIS       # under eight minutes
    python benchmarks/gpu.py --out gpu.json --seconds 150       # what fits, the most wanted first
    python benchmarks/gpu.py --table gpu.json                   # the rows of docs/speed.md
    python benchmarks/gpu.py --rehearse --out cpu.json          # every part in small on a CPU: does it run?

Parts run one after the other in a process of their own, which is begun anew after an error, a crash or too
long a time, and the JSON is written after each: so what fails costs its own figures alone. What is measured,
and how, stands in gpu_parts.py.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

Run = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Runs a part by its name and arguments."""


@dataclass(frozen=True)
class Part:
    """Something to measure or to check."""

    kind: str
    """A function of `gpu_parts.PARTS`."""
    arguments: dict[str, Any]
    seconds: float = 60.0
    """It is given up after this."""

    @property
    def name(self) -> str:
        return " ".join(str(word) for word in (self.kind, *self.arguments.values()))


def _frames(kind: str, tracker: str, objects: int, steps: int = 60, seconds: float = 45.0) -> Part:
    return Part("frames", {"kind": kind, "tracker": tracker, "objects": objects, "steps": steps}, seconds)


def parts(davis: Path | None, frames: int, sequences: int) -> list[Part]:
    """Everything, the most wanted first."""
    compared = [
        Part("agreement", {"davis": str(davis), "sequence": index, "frames": frames}, 90.0)
        for index in range(sequences)
    ]
    return [
        Part("rate", {}),
        _frames("vidseg", "sam2.1-hiera-tiny", 1, 30),
        _frames("vidseg --graphs", "sam2.1-hiera-tiny", 1),
        _frames("official", "sam2.1-hiera-tiny", 1, 30),
        *(compared if davis else []),
        *(_frames("vidseg --graphs", name, 1) for name in ("vidseg-nano", "edgetam", "efficienttam-ti-512")),
        _frames("vidseg --graphs", "sam2.1-hiera-tiny", 10, 30),
        _frames("official", "sam2.1-hiera-tiny", 10, 10),
        Part("tests", {"which": "gives_what_the_cpu_gives or same_to_the_bit or recorded"}, 120.0),
        _frames("vidseg", "vidseg-nano", 1),
        _frames("vidseg --graphs", "sam2.1-hiera-tiny", 64, 8),
        _frames("vidseg", "sam2.1-hiera-tiny", 10, 20),
        Part("streams", {"processes": 1, "streams": 4}),
        Part("streams", {"processes": 4, "streams": 1}),
        _frames("official", "sam2.1-hiera-tiny", 64, 3),
        _frames("vidseg compiled", "sam2.1-hiera-tiny", 1, 30, 120.0),
        _frames("vidseg compiled", "sam2.1-hiera-tiny", 1, 31, 60.0),  # again: what a second start takes
        _frames("official compiled", "sam2.1-hiera-tiny", 1, 30, 150.0),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, help="the JSON to write")
    parser.add_argument(
        "--table", type=Path, help="print the rows of a JSON as Markdown, and measure nothing"
    )
    parser.add_argument("--davis", type=Path, help="a folder as DAVIS: masks are compared on its sequences")
    parser.add_argument("--frames", type=int, default=25, help="of each sequence")
    parser.add_argument("--sequences", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=460.0, help="begin nothing later than this")
    parser.add_argument("--only", help="parts whose name contains this, as 'frames vidseg edgetam 1'")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--rehearse", action="store_true", help="every part in small on a CPU")
    args = parser.parse_args()
    if args.table:
        print(table(json.loads(args.table.read_text(encoding="utf-8"))))
        return
    wanted = [
        part
        for part in parts(args.davis, args.frames, args.sequences)
        if args.only is None or args.only in part.name
    ]
    if args.rehearse:  # a laptop's processor may be slow, and have other things to do
        wanted = [replace(part, seconds=20 * part.seconds) for part in wanted]
    measure_all(wanted, args.seconds, args.out, Worker(_run, {"dtype": args.dtype, "small": args.rehearse}))


def _run(kind: str, arguments: dict[str, Any]) -> dict[str, Any]:
    import gpu_parts  # here, as the process that waits needs neither PyTorch nor the GPU

    return gpu_parts.PARTS[kind](**arguments)


def measure_all(wanted: list[Part], seconds: float, out: Path | None, worker: Worker) -> dict[str, Any]:
    """Run parts until the time is over, and write what was found after each."""
    start = time.monotonic()
    found: dict[str, Any] = {"rows": []}
    try:
        for part in wanted:
            row = {"part": part.kind, **part.arguments}
            is_over = time.monotonic() - start > seconds
            row |= {"error": "no time was left"} if is_over else worker.ask(part)
            found["rows"].append(row)
            shown = {key: value for key, value in row.items() if key != "kernels"}
            print(f"{time.monotonic() - start:6.1f} s  {shown}", flush=True)
            if out is not None:
                write(out, found)
    finally:
        worker.end()
    return found


def write(path: Path, found: dict[str, Any]) -> None:
    """Write the JSON whole: whoever stops the program finds the last one."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(found, indent=1), encoding="utf-8")
    os.replace(part, path)


class Worker:
    """A process that runs parts; it is begun anew after one that failed, as the GPU may be of no more use.

    Args:
        run: runs a part in the process.
        given: arguments that every part gets.
    """

    def __init__(self, run: Run, given: dict[str, Any]) -> None:
        self._run = run
        self._given = given
        self._process: BaseProcess | None = None
        self._line: Connection | None = None

    def ask(self, part: Part) -> dict[str, Any]:
        """What a part found, or 'error' and why."""
        line = self._line or self._begin()
        line.send((part.kind, {**part.arguments, **self._given}))
        if not line.poll(part.seconds):
            answer: dict[str, Any] = {"error": f"given up after {part.seconds:.0f} s"}
        else:
            try:
                answer = line.recv()
            except EOFError:
                answer = {"error": "its process died"}
        if "error" in answer:
            self.end()
        return answer

    def end(self) -> None:
        """End the process, whatever it does, and those that it began."""
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):  # it has no group yet, or is gone
                os.killpg(self._process.pid or 0, signal.SIGKILL)
            self._process.kill()
            self._process.join()
        self._process = self._line = None

    def _begin(self) -> Connection:
        context = get_context("spawn")
        line, other = context.Pipe()
        # No daemon: streams are processes of their own.
        self._process = context.Process(target=_serve, args=(other, self._run))
        self._process.start()
        other.close()
        self._line = line
        return line


def _serve(line: Connection, run: Run) -> None:
    """What the process does: run parts as they come, until nobody asks any more."""
    os.setsid()  # a group of its own, which can be ended as one
    while True:
        try:
            kind, arguments = line.recv()
        except EOFError:
            return
        try:
            answer = run(kind, arguments)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        line.send(answer)


def table(found: dict[str, Any]) -> str:
    """The rows of frames as Markdown; below them what else was found, and what failed."""
    rows = found["rows"]
    lines = [
        "| | objects | median ms | p95 | read at once | launches | GPU busy, ms | GB allocated, reserved "
        "| first mask, s | share of the rate |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    rate = next((row["tflops"] for row in rows if "tflops" in row), None)
    for row in rows:
        if "median_ms" not in row:
            continue
        share = ""
        if rate and row.get("tera_operations"):
            share = f"{row['tera_operations'] / row['median_ms'] * 1e3 / rate:.0%}"
        lines.append(
            f"| {row['kind']}: `{row['tracker']}` | {row['objects']} | {row['median_ms']:.1f} "
            f"| {row['p95_ms']:.1f} | {row['at_once_ms']:.1f} | {row.get('launches', 0):.0f} "
            f"| {row.get('gpu_busy_ms', 0):.1f} | {row['allocated_gb']:.2f}, {row['reserved_gb']:.2f} "
            f"| {row['first_mask_s']:.2f} | {share} |"
        )
    others = [row for row in rows if "median_ms" not in row]
    return "\n".join([*lines, "", *(f"- {json.dumps(row)}" for row in others)])


if __name__ == "__main__":
    main()
