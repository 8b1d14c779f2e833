"""`vidseg.annotate`: opens the page on a video from Python; in a notebook, in a frame below the cell."""

from __future__ import annotations

import webbrowser
from html import escape
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vidseg import processors
from vidseg.annotation.memory import share_arenas
from vidseg.errors import ConfigError, MissingExtraError
from vidseg.python_words import in_python
from vidseg.trackers.choices import DEFAULT_TRACKER
from vidseg.trackers.contract import Tracker
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.registry import build_tracker

if TYPE_CHECKING:
    from vidseg.annotation.server import AnnotationServer
    from vidseg.annotation.session import AnnotationSession
    from vidseg.annotation.workbench import Workbench

FRAME_HEIGHT_PX = 760
"""Height of the page in a notebook."""


class Annotation:
    """A page that is being served until `close()`.

    What is done in the page is seen in `session`, and the other way round.
    """

    def __init__(self, bench: Workbench, server: AnnotationServer) -> None:
        self._bench = bench
        self._server = server
        server.start()

    @property
    def address(self) -> str:
        """Where the page is; the token in it lets in whoever has it."""
        return self._server.address

    @property
    def session(self) -> AnnotationSession:
        """The interactive session on the video that is open."""
        return self._bench.session

    def close(self) -> None:
        """End the server and save the project. It is safe to call this twice."""
        self._server.stop()

    def __enter__(self) -> Annotation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Annotation({self.address!r})"

    def _repr_html_(self) -> str:
        """The page itself, for notebooks on this machine."""
        address = escape(self.address, quote=True)
        return (
            f'<iframe src="{address}" style="width: 100%; height: {FRAME_HEIGHT_PX}px; border: 0"'
            ' title="vidseg annotate"></iframe>'
        )


def annotate(
    source: str | PathLike[str],
    *,
    tracker: str | PathLike[str] | Tracker = DEFAULT_TRACKER,
    out: str | PathLike[str] | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    browser: bool = False,
    **tracker_options: Any,
) -> Annotation:
    """Prompt, watch, correct and export in a page; as the last line of a notebook's cell it is shown there.

    Args:
        source: a video, a folder of frames, a folder of videos (a queue), or a run that `vidseg.track` made.
        tracker: a name that `vidseg models` lists, the path of a YAML file, or a tracker.
        out: the project's folder; None: runs/<name of the source>, or that of the run.
        host: the address to listen on; others than this machine's own let other machines in.
        port: 0 takes any that is free.
        browser: whether to open the page in a browser, too.
        **tracker_options: see `vidseg.load`.

    Raises:
        InputError: the source cannot be read or sought in, or the folder belongs to something else.
        MissingExtraError: the extra `annotate` is not installed.
    """
    from vidseg.annotation.opening import asked_again

    with in_python():
        if isinstance(tracker, Tracker):
            if tracker_options:
                raise ConfigError(
                    f"'{min(tracker_options)}' for a tracker that is loaded", hint="give it to vidseg.load"
                )
            bench, server = serving(source, out, tracker, TrackerOptions(), host=host, port=port)
        else:
            asked = asked_again(TrackerOptions.of(tracker, **tracker_options), source, out)
            bench, server = serving(source, out, build_tracker(asked), asked, host=host, port=port)
    annotation = Annotation(bench, server)
    if browser:
        webbrowser.open(annotation.address)
    return annotation


def serving(
    source: str | PathLike[str],
    out: str | PathLike[str] | None,
    tracker: Tracker,
    asked: TrackerOptions,
    *,
    host: str,
    port: int,
) -> tuple[Workbench, AnnotationServer]:
    """A workbench and a server for it, which is not running yet."""
    check_extra()
    from vidseg.annotation.server import AnnotationServer
    from vidseg.annotation.workbench import Workbench

    share_cores()
    share_arenas()
    bench = Workbench(source, out, tracker=tracker, asked=asked)
    try:
        return bench, AnnotationServer(bench, host=host, port=port)
    except BaseException:
        bench.close()
        raise


def check_extra() -> None:
    """Raise a MissingExtraError if what the server is built of is not installed."""
    for package in ("starlette", "uvicorn", "websockets"):
        try:
            __import__(package)
        except ImportError:
            raise MissingExtraError(package, "annotate", needed_for="vidseg annotate") from None


def share_cores() -> None:
    """Give PyTorch half of the cores in each thread: answers are made while tracking goes on, and two threads
    that both want all cores wait for each other."""
    import torch

    torch.set_num_threads(max(1, processors.usable() // 2))
