"""Arguments of commands that work on Ray: where its workers are, and what each of them gets."""

from __future__ import annotations

import argparse

from vidseg.errors import ConfigError


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


def check_worker_arguments(args: argparse.Namespace) -> None:
    """Check what each worker is to get.

    Raises:
        ConfigError: no CPU, or less than no GPU.
    """
    if args.cpus <= 0:
        raise ConfigError(f"--cpus is {args.cpus}", hint="give a number above 0")
    if args.gpus is not None and args.gpus < 0:
        raise ConfigError(f"--gpus is {args.gpus}", hint="give a number above 0, or 0 for none")
