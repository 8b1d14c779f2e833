"""Arguments of commands that work on Ray: where its workers are, and what each of them gets."""

from __future__ import annotations

import argparse


def add_worker_arguments(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add `--ray-address`, `--cpus` and `--gpus`; how many workers there are is each command's own."""
    parser.add_argument("--ray-address", metavar="A", help="a cluster's; default: start Ray on this machine")
    parser.add_argument("--cpus", type=float, default=1.0, metavar="C", help="CPUs a worker (default: 1)")
    parser.add_argument(
        "--gpus",
        type=float,
        metavar="G",
        help="GPUs a worker, or a part of one (default: 1 where there are any)",
    )
