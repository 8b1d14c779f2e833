"""`vidseg schema`: prints the JSON Schema of a file format."""

from __future__ import annotations

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=["prompt"], help="which format")


def run(args: argparse.Namespace) -> int:
    from vidseg.pipeline.prompt_forms import prompt_schema

    print(json.dumps(prompt_schema(), indent=2))
    return 0
