"""The command line: a table of commands, each in a module of its own that is imported when it is called.

A command's module has `add_arguments(parser)` and `run(args) -> exit code`.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import NoReturn

from vidseg import disk_errors, opencv, out_of_memory, plugins, processors
from vidseg.errors import VidsegError, one_line, unknown
from vidseg.exit_codes import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE
from vidseg.pipeline.terminal import flush_output, steady_output
from vidseg.version import __version__

_NEGATIVE_NUMBERS = re.compile(r"-[\d.][-+\d.eE]*[,;][-+\d.eE,; ]*")
"""Several numbers, the first of which is below 0."""
_OPTION = re.compile(r"--[^=]+")


@dataclass(frozen=True)
class Command:
    """A row of the table of commands."""

    module: str
    summary: str
    example: str


COMMANDS: dict[str, Command] = {
    "track": Command(
        "vidseg.pipeline.commands.track",
        "follow objects through a video, a folder of frames or a stream",
        "vidseg track video.mp4 --prompt box.json --out runs/video",
    ),
    "segment": Command(
        "vidseg.pipeline.commands.segment",
        "masks of pictures from boxes and points, by any image model",
        "vidseg segment photo.jpg --box 30,20,120,90 --out runs/photo",
    ),
    "everything": Command(
        "vidseg.pipeline.commands.everything",
        "all masks of a picture, or of a folder of pictures",
        "vidseg everything photo.jpg --sampler two-round --out runs/photo",
    ),
    "batch": Command(
        "vidseg.pipeline.commands.batch",
        "track many videos, on a Ray cluster or in this process; lose nothing, whatever is killed",
        "vidseg batch jobs.jsonl --out runs/today",
    ),
    "annotate": Command(
        "vidseg.annotation.commands.annotate",
        "prompt, watch, correct and export in a page in a browser, on one's own machine",
        "vidseg annotate video.mp4",
    ),
    "convert": Command(
        "vidseg.pipeline.commands.convert",
        "write a finished run in the formats of annotation tools: coco, ytvis, cvat and others",
        "vidseg convert runs/video --format coco,cvat",
    ),
    "demo": Command(
        "vidseg.eval.demo",
        "make a small video, track it and report the score: a first try with nothing to download",
        "vidseg demo --out runs/demo",
    ),
    "eval": Command(
        "vidseg.eval.commands.eval",
        "track a benchmark's videos by its protocol and score them; compare two evaluations",
        "vidseg eval davis2017 --root DAVIS --out runs/mine --tracker mine.yaml",
    ),
    "export": Command(
        "vidseg.export.command",
        "write a model's parts as ONNX graphs, which run without torch",
        "vidseg export sam2.1-hiera-tiny --out onnx",
    ),
    "compress": Command(
        "vidseg.compression.command",
        "make a smaller model: eight bits, fewer channels or fewer blocks; and say what that costs",
        "vidseg compress mobile-sam --int8 --calibrate clip.mp4 --out int8",
    ),
    "bench": Command(
        "vidseg.eval.commands.bench",
        "measure speed, memory and size of trackers, side by side",
        "vidseg bench --tracker flow,sam2.1-hiera-tiny --allow-random-weights",
    ),
    "train": Command(
        "vidseg.training.commands.train",
        "train a tracker of the engine on made clips, still images or videos of your own",
        "vidseg train nano.yaml --out runs/nano",
    ),
    "score": Command(
        "vidseg.eval.commands.score",
        "score masks that exist already, exactly as a benchmark's official program does",
        "vidseg score davis2017 --gt DAVIS/Annotations/480p --pred runs/masks --json scores.json",
    ),
    "schema": Command(
        "vidseg.pipeline.commands.schema",
        "print the JSON Schema of a file format",
        "vidseg schema prompt",
    ),
    "models": Command(
        "vidseg.pipeline.commands.models",
        "list the trackers: size, licence, source, and whether their weights are here",
        "vidseg models",
    ),
    "weights": Command(
        "vidseg.pipeline.commands.weights",
        "get published weights, list them, check them",
        "vidseg weights get sam2.1-hiera-tiny",
    ),
}


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in two lines, instead of printing the whole usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {one_line(message)}\n  fix: {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Errors are one to three lines, never a traceback."""
    with steady_output(), warnings.catch_warnings():
        # Pillow warns about damaged files; if a picture is lost, vidseg says so itself.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.showwarning = lambda message, *_, **__: _warn(str(message))
        return _run(list(sys.argv[1:] if argv is None else argv))


def _run(argv: list[str]) -> int:
    args, modules = _take_plugins(argv)
    if not args or args[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if args[0] in ("-V", "--version"):
        print(f"vidseg {__version__}")
        return 0
    name = args[0]
    if name not in COMMANDS:
        print(
            f"vidseg: {one_line(unknown('command', name, COMMANDS))}\n  fix: vidseg --help", file=sys.stderr
        )
        return EXIT_USAGE
    try:
        opencv.check(_warn)
        plugins.use(*modules)
    except VidsegError as error:
        print(f"vidseg: {error}", file=sys.stderr)
        return error.exit_code
    if not {"-h", "--help"}.isdisjoint(args):
        plugins.load()  # help lists names, those of plug-ins too
    command = COMMANDS[name]
    _let_threads_share_cores()
    module = import_module(command.module)
    parser = _Parser(
        prog=f"vidseg {name}",
        description=command.summary,
        epilog=f"example:\n  {command.example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument(
        "--plugin",
        metavar="MODULE",
        help="a module or a .py file that adds names; may be given several times",
    )
    try:
        options = parser.parse_args(_with_negative_numbers_joined(args[1:]))
    except SystemExit as stop:
        _warn_of_broken_plugins()
        return stop.code if isinstance(stop.code, int) else 0
    try:
        code = int(module.run(options))
        flush_output()
        if not getattr(options, "quiet", False):
            _warn_of_broken_plugins()
        return code
    except KeyboardInterrupt:
        print("vidseg: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except VidsegError as error:
        if options.debug:
            raise
        print(f"vidseg: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        if options.debug:
            raise
        if (told := out_of_memory.explained(error) or disk_errors.explained(error)) is not None:
            print(f"vidseg: {told}", file=sys.stderr)
            return told.exit_code
        kind = type(error).__name__
        print(
            f"vidseg: {kind}: {one_line(' '.join(str(error).split()))}\n"
            "  fix: this is not an error we foresaw; run again with --debug for the traceback",
            file=sys.stderr,
        )
        return EXIT_FAILED


def _take_plugins(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments without `--plugin MODULE`, wherever it stands, and the modules it names.

    Plug-ins are needed before the command's own arguments are parsed, as its help lists names.
    """
    rest: list[str] = []
    modules: list[str] = []
    words = iter(args)
    for word in words:
        if word == "--plugin" and (module := next(words, None)) is not None:
            modules.append(module)
        elif word.startswith("--plugin="):
            modules.append(word.partition("=")[2])
        else:
            rest.append(word)  # the parser will complain about --plugin without a module
    return rest, modules


def _with_negative_numbers_joined(args: Sequence[str]) -> list[str]:
    """The arguments with `--box -10,-5,60,50` as `--box=-10,-5,60,50`.

    argparse takes what begins with '-' and is not one number for an option.
    """
    joined: list[str] = []
    for word in args:
        if joined and _NEGATIVE_NUMBERS.fullmatch(word) and _OPTION.fullmatch(joined[-1]):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _warn_of_broken_plugins() -> None:
    """Warn of plug-ins that were wanted for their names but are broken; the command ran without them."""
    for line in plugins.broken():
        _warn(line)


def _warn(line: str) -> None:
    print(f"vidseg: warning: {line}", file=sys.stderr)


def _let_threads_share_cores() -> None:
    """Let OpenMP begin no more threads than there are processors for, and let these spin a fifteenth as long
    as by default before they sleep.

    Otherwise the threads in a container, one for each processor of its machine, are paused most of the time.
    And those of PyTorch, waiting for the next operation, occupy cores that OpenCV, the decoder and other
    programs need: with one busy program on each core, tracking was two to four times slower. OpenMP reads
    these settings when it is loaded, so they are made before `import torch`; the second one is that of GNU's
    (libgomp, in PyTorch's Linux wheels).
    """
    if processors.limit() is not None:
        os.environ.setdefault("OMP_NUM_THREADS", str(processors.usable()))
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: vidseg COMMAND [options]",
            "",
            "Video segmentation and tracking in one streaming pass, in bounded memory.",
            "",
            *lines,
            "",
            "vidseg COMMAND --help shows a command's options and an example.",
            "Exit codes: 0 done, 1 failed while running, 2 wrong call or input, 3 some items failed,",
            "130 interrupted.",
        ]
    )
