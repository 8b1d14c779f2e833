"""Generated prompts, options, tables and damaged files: no traceback, no hang, nothing half-written.

    python benchmarks/bad_inputs.py [--cases 10000] [--first 0]

A case is told by its number, which is its seed: `--first 4711 --cases 1` runs that one again. Cases run in
child processes, so that a decoder that crashes or hangs costs one case and is counted.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

HANG_S = 120.0
"""A case that takes more seconds than this counts as hanging; a normal one takes a tenth of a second."""
CASES_A_CHILD = 500


def work(first: int, count: int) -> None:
    """The work of a child process: runs cases, and prints a line when each begins and when it ends."""
    from support.bad_cases import BadCases, run_case

    with tempfile.TemporaryDirectory() as folder:
        cases = BadCases(Path(folder) / "whole")
        for number in range(first, first + count):
            print(f"begin {number}", flush=True)
            call, wrong = run_case(cases, Path(folder) / str(number), random.Random(number))
            print(f"over {number}" if wrong is None else f"wrong {number} {wrong} {call}", flush=True)


def run(first: int, count: int) -> list[str]:
    """Run cases in child processes.

    Returns:
        what is wrong, in one line each.
    """
    wrong: list[str] = []
    number, end = first, first + count
    while number < end:
        child = subprocess.Popen(
            [sys.executable, __file__, "--child", "--first", str(number), "--cases",
             str(min(CASES_A_CHILD, end - number))],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace",
        )  # fmt: skip
        assert child.stdout is not None
        begun = number - 1
        while True:
            alarm = threading.Timer(HANG_S, child.kill)
            alarm.start()
            line = child.stdout.readline()
            was_hanging = not alarm.is_alive()
            alarm.cancel()
            if not line:
                break
            what, _, rest = line.strip().partition(" ")
            if what == "begin":
                begun = int(rest)
            elif what in ("over", "wrong"):
                number = int(rest.split()[0]) + 1
                if what == "wrong":
                    wrong.append(rest)
                    print(rest, flush=True)
        code = child.wait()
        if code != 0:
            how = "hung" if was_hanging else f"ended its process with {code}"
            wrong.append(f"{begun} {how}")
            print(wrong[-1], flush=True)
            number = max(number, begun + 1)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        work(args.first, args.cases)
        return
    began = time.monotonic()
    wrong = run(args.first, args.cases)
    print(f"{args.cases} cases in {time.monotonic() - began:.0f} s, {len(wrong)} went wrong")


if __name__ == "__main__":
    main()
