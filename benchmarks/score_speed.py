"""CPU seconds of `vidseg score` against the official programs, on the same masks, turn by turn in one run.

    python benchmarks/score_speed.py --gt GT --pred PRED \
        [--davis2017-evaluation CHECKOUT] [--vos-benchmark CHECKOUT] [--python PYTHON] \
        [--rounds 3] [--workers 1,2,4]

GT and PRED hold a folder of label maps for each sequence. The checkouts are those of
davisvideochallenge/davis2017-evaluation and hkchengrex/vos-benchmark; PYTHON is an interpreter that has what
they need (numpy, opencv-python, scikit-image, scipy, pandas, tqdm). Every program runs as one process of its
own with one thread, start-up included; a column takes off what it spends on a sequence of three frames.
Look whether J&F agrees. With --workers, ours is also timed on ten copies of every sequence with so many
processes, by the clock, and with its peak memory.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Program:
    """A scoring program: how it is run, and how its score is read."""

    name: str
    command: Callable[[Path, Path, Path], list[str]]
    """(ground truth, prediction, scratch folder) -> command line."""
    read_jf: Callable[[Path, Path], float]
    """(prediction, scratch folder) -> J&F, 0 to 1."""
    folder: Path | None = None
    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)
    start_up_s: list[float] = field(default_factory=list)
    jf: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gt", type=Path, required=True)
    parser.add_argument("--pred", type=Path, required=True)
    parser.add_argument("--davis2017-evaluation", type=Path, dest="davis", metavar="CHECKOUT")
    parser.add_argument("--vos-benchmark", type=Path, dest="vos", metavar="CHECKOUT")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", metavar="LIST", help="numbers of processes, separated by commas")
    args = parser.parse_args()

    programs = [vidseg("davis2017"), vidseg("vos-benchmark")]
    if args.davis:
        programs.append(davis2017_evaluation(args.davis.resolve(), args.python))
    if args.vos:
        programs.append(vos_benchmark(args.vos.resolve(), args.python))
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        truth, prediction = scratch / "gt", scratch / "pred"
        shutil.copytree(args.gt, truth)
        shutil.copytree(args.pred, prediction)
        frames = sum(len(list(folder.glob("*.png"))) - 2 for folder in truth.iterdir() if folder.is_dir())
        small = [small_copy(folder, scratch / "small" / folder.name) for folder in (truth, prediction)]
        for _ in range(args.rounds):
            for program in programs:
                cpu, wall, _ = timed(program, truth, prediction, scratch / "out")
                program.cpu_s.append(cpu)
                program.wall_s.append(wall)
                program.jf = program.read_jf(prediction, scratch / "out")
                program.start_up_s.append(timed(program, small[0], small[1], scratch / "out")[0])
        report(programs, frames)
        if args.workers:
            report_scaling(truth, prediction, scratch, [int(n) for n in args.workers.split(",")], args.rounds)


def vidseg(protocol: str, workers: int = 1) -> Program:
    def command(truth: Path, prediction: Path, out: Path) -> list[str]:
        arguments = ["score", protocol, "--gt", str(truth), "--pred", str(prediction)]
        arguments += ["--workers", str(workers), "--json", str(out / "scores.json")]
        return [sys.executable, "-m", "vidseg", *arguments]

    def read_jf(prediction: Path, out: Path) -> float:
        scores = json.loads((out / "scores.json").read_text())["global"]
        return scores["J&F-Mean"] if "J&F-Mean" in scores else scores["J&F"] / 100

    return Program(f"vidseg score {protocol}", command, read_jf)


def davis2017_evaluation(checkout: Path, python: str) -> Program:
    def command(truth: Path, prediction: Path, out: Path) -> list[str]:
        root = out / "DAVIS"
        (root / "ImageSets/2017").mkdir(parents=True)
        (root / "Annotations").mkdir()
        (root / "Annotations/480p").symlink_to(truth)
        names = sorted(folder.name for folder in truth.iterdir() if folder.is_dir())
        (root / "ImageSets/2017/val.txt").write_text("\n".join(names))
        for name in names:  # the program counts pictures without opening them
            (root / "JPEGImages/480p" / name).mkdir(parents=True)
            for mask in (truth / name).glob("*.png"):
                (root / "JPEGImages/480p" / name / f"{mask.stem}.jpg").touch()
        for old in prediction.glob("*.csv"):
            old.unlink()  # otherwise the program reads its previous results
        script = str(checkout / "evaluation_method.py")
        options = ["--davis_path", str(root), "--results_path", str(prediction), "--set", "val"]
        return [python, script, "--task", "semi-supervised", *options]

    def read_jf(prediction: Path, out: Path) -> float:
        with open(prediction / "global_results-val.csv") as table:
            return float(next(csv.DictReader(table))["J&F-Mean"])

    return Program("davis2017-evaluation", command, read_jf, checkout)


def vos_benchmark(checkout: Path, python: str) -> Program:
    def command(truth: Path, prediction: Path, out: Path) -> list[str]:
        return [python, str(checkout / "benchmark.py"), "-g", str(truth), "-m", str(prediction), "-n", "1"]

    def read_jf(prediction: Path, out: Path) -> float:
        line = (prediction / "results.csv").read_text().splitlines()[1]
        return float(line.split(",")[2]) / 100

    return Program("vos-benchmark", command, read_jf, checkout)


def small_copy(folder: Path, to: Path) -> Path:
    """Copy the first three frames of the first sequence, enough for a program to run through."""
    sequence = sorted(path for path in folder.iterdir() if path.is_dir())[0]
    (to / sequence.name).mkdir(parents=True)
    for mask in sorted(sequence.glob("*.png"))[:3]:
        shutil.copy(mask, to / sequence.name)
    return to


def timed(program: Program, truth: Path, prediction: Path, out: Path) -> tuple[float, float, float]:
    """CPU seconds (of the program's children, too), seconds by the clock, peak MiB of the largest process."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    command = program.command(truth, prediction, out)
    one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    one_thread["OPENCV_FOR_THREADS_NUM"] = "1"  # else OpenCV's threads wait for each other, and that counts
    began = time.perf_counter()
    child = subprocess.Popen(
        command,
        cwd=program.folder,
        env={**os.environ, **one_thread},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"failed with {child.returncode}: {' '.join(command)}")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - began, usage.ru_maxrss / 1024


def report(programs: list[Program], frames: int) -> None:
    print(f"{frames} scored frames; best of {len(programs[0].cpu_s)} rounds\n")
    print(
        f"{'program':<32} {'CPU s':>7} {'clock s':>8} {'frames/CPU s':>13} {'net of start-up':>16} {'J&F':>8}"
    )
    for program in programs:
        cpu, wall, start = min(program.cpu_s), min(program.wall_s), min(program.start_up_s)
        net = frames / max(cpu - start, 1e-9)
        print(f"{program.name:<32} {cpu:7.2f} {wall:8.2f} {frames / cpu:13.1f} {net:16.1f} {program.jf:8.4f}")
    for mine, theirs in (
        ("vidseg score davis2017", "davis2017-evaluation"),
        ("vidseg score vos-benchmark", "vos-benchmark"),
    ):
        pair = [next((p for p in programs if p.name == name), None) for name in (mine, theirs)]
        if pair[0] is None or pair[1] is None:
            continue
        whole = min(pair[1].cpu_s) / min(pair[0].cpu_s)
        net = (min(pair[1].cpu_s) - min(pair[1].start_up_s)) / (min(pair[0].cpu_s) - min(pair[0].start_up_s))
        print(f"\n{mine}: {whole:.1f} times the frames per CPU second of {theirs}, {net:.1f} net of start-up")


def report_scaling(
    truth: Path, prediction: Path, scratch: Path, counts: list[int], rounds: int, copies: int = 10
) -> None:
    """Frames a second by the clock with some numbers of processes, on copies of the sequences."""
    many = []
    for folder in (truth, prediction):
        many.append(scratch / "many" / folder.name)
        for sequence in (path for path in sorted(folder.iterdir()) if path.is_dir()):
            for copy in range(copies):
                shutil.copytree(sequence, many[-1] / f"{sequence.name}-{copy}", copy_function=os.link)
    frames = sum(len(list(folder.glob("*.png"))) - 2 for folder in many[0].iterdir())
    of_one = timed(vidseg("davis2017"), truth, prediction, scratch / "out")[2]
    print(f"\n{frames} scored frames, {copies} times the sequences; with these once: peak {of_one:.0f} MiB\n")
    print(f"{'processes':>9} {'clock s':>8} {'frames/s':>9} {'of linear':>10} {'peak MiB':>9}")
    best: dict[int, tuple[float, float, float]] = {}
    for _ in range(rounds):
        for count in counts:
            run = timed(vidseg("davis2017", count), many[0], many[1], scratch / "out")
            best[count] = min(best.get(count, run), run, key=lambda r: r[1])
    first = counts[0]
    for count, (_, wall, peak) in best.items():
        share = best[first][1] * first / (wall * count)
        print(f"{count:9} {wall:8.2f} {frames / wall:9.1f} {share:10.0%} {peak:9.0f}")


if __name__ == "__main__":
    main()
