"""`vidseg annotate`: prompt, watch, correct and export in a page in a browser on one's own machine."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from contextlib import suppress

from vidseg.annotation.annotate import check_extra, serving
from vidseg.annotation.listening import check_port
from vidseg.annotation.memory import set_aside
from vidseg.pipeline.commands.tracker_arguments import add_tracker_arguments, options_of
from vidseg.trackers.registry import build_tracker


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a video, a folder of frames, a folder of videos, or the folder of a run",
    )
    parser.add_argument(
        "--out", metavar="DIR", help="the project's folder (default: runs/<name of the source>)"
    )
    serving_group = parser.add_argument_group("serving")
    serving_group.add_argument(
        "--port", type=int, default=0, metavar="P", help="port to listen on (default: any that is free)"
    )
    serving_group.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="H",
        help="address to listen on; others than 127.0.0.1 let other machines in (default: 127.0.0.1)",
    )
    serving_group.add_argument(
        "--no-browser", action="store_true", help="print the page's address, and open no browser"
    )
    add_tracker_arguments(parser)


def run(args: argparse.Namespace) -> int:
    check_port(args.port)  # before a tracker is loaded
    check_extra()
    from vidseg.annotation.opening import asked_again

    asked = asked_again(options_of(args), args.source, args.out)
    _, server = serving(args.source, args.out, build_tracker(asked), asked, host=args.host, port=args.port)

    set_aside()

    def announce() -> None:
        print(server.address, flush=True)
        if args.host not in ("127.0.0.1", "localhost", "::1"):
            print(
                "vidseg: warning: other machines can reach this server;"
                " whoever has the address can change the project",
                file=sys.stderr,
            )
        print("vidseg: Ctrl-C ends it; everything is saved as it is done", file=sys.stderr)
        if not args.no_browser:
            webbrowser.open(server.address)

    with suppress(KeyboardInterrupt):  # the way to end it
        server.run(announce)
    return 0
