"""How long a person waits for `vidseg annotate`: clicks, scrubbing, playing, corrections; and its memory.

    python benchmarks/annotate.py VIDEO.mp4 --objects 1 10 --long-frames 10000 --acts 3000

The server is a process of its own, as for a page; times are those of its client, from the message to the
answer, before which the masks come. The long video is VIDEO to and fro (H.264, a keyframe every 250 frames).
Needs the extra `annotate`.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from websockets.sync.client import connect

import vidseg


class Page:
    """A page's side of a running server."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        found = re.match(r"http://([^/]+)/\?token=(\S+)", process.stdout.readline())
        assert found is not None
        self.pid = process.pid
        self.host, self.token = found.groups()
        address, options = f"ws://{self.host}/socket?token={self.token}", {"max_size": None, "legacy": True}
        self.socket = connect(address, origin=f"http://{self.host}", **options)
        self.http = http.client.HTTPConnection(self.host)
        self.state: dict[str, Any] = {}
        self.number = 0
        while not self.state:
            self.receive()

    def act(self, act: str, **fields: Any) -> tuple[dict[str, Any], float]:
        """The answer to an act, and the seconds until it came."""
        self.number += 1
        began = time.perf_counter()
        self.socket.send(json.dumps({"n": self.number, "act": act, **fields}))
        while True:
            message = self.receive()
            if message.get("n") == self.number and message["type"] in ("done", "error"):
                return message, time.perf_counter() - began

    def receive(self) -> dict[str, Any]:
        data = self.socket.recv(timeout=600)
        if isinstance(data, bytes):
            return {"type": "masks"}
        message: dict[str, Any] = json.loads(data)
        if message["type"] in ("state", "patch"):
            self.state |= message["state"]
        return message

    def rest(self) -> None:
        """Receive until no tracking is under way."""
        while self.state.get("job") is not None:
            self.receive()

    def picture(self, frame: int) -> float:
        """Seconds until a frame's picture has come."""
        began = time.perf_counter()
        self.http.request("GET", f"/frame/0/{frame}.jpg?token={self.token}")
        self.http.getresponse().read()
        return time.perf_counter() - began

    def near(self, frame: int) -> tuple[int, float]:
        """The frame whose picture is nearest of those that are ready, and the seconds until it has come."""
        began = time.perf_counter()
        found = None
        while found is None:  # at the very beginning, none may be there
            self.http.request("GET", f"/near/0/{frame}.jpg?token={self.token}")
            answer = self.http.getresponse()
            answer.read()
            found = re.search(r"/(\d+)\.jpg", answer.headers.get("location", ""))
        self.picture(int(found[1]))
        return int(found[1]), time.perf_counter() - began

    def memory_mib(self) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@contextmanager
def page(video: Path, tracker: str) -> Iterator[Page]:
    with tempfile.TemporaryDirectory() as out:
        command = [
            sys.executable,
            "-m",
            "vidseg",
            "annotate",
            str(video),
            "--out",
            f"{out}/run",
            "--no-browser",
        ]
        with subprocess.Popen([*command, "--tracker", tracker], stdout=subprocess.PIPE, text=True) as process:
            try:
                yield Page(process)
            finally:
                process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--objects", type=int, nargs="*", default=[1, 10])
    parser.add_argument("--tracker", default="vidseg-nano")
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--long-frames", type=int, default=0, help="scrub in a video of so many frames")
    parser.add_argument("--acts", type=int, default=0, help="watch the memory over so many acts")
    options = parser.parse_args()
    for count in options.objects:
        with page(options.video, options.tracker) as opened:
            answers(opened, count, options.repeats)
    if options.long_frames:
        with tempfile.TemporaryDirectory() as folder:
            video = Path(folder) / "long.mp4"
            frames = write_long(options.video, video, options.long_frames)
            with page(video, "flow") as opened:
                watching(opened, frames, options.repeats)
    if options.acts:
        with page(options.video, options.tracker) as opened:
            memory(opened, options.acts)


def answers(opened: Page, count: int, repeats: int) -> None:
    """Previews, clicks and corrections with so many objects, resting and while tracking."""
    video = opened.state["video"]
    width, height, frames = video["width"], video["height"], video["frames"]
    spread = random.Random(1)

    def place() -> dict[str, float]:
        return {"x": spread.uniform(0.2, 0.8) * width, "y": spread.uniform(0.2, 0.8) * height}

    opened.act("look", frame=0)
    time.sleep(1)  # a person looks before she clicks; the frame is encoded meanwhile
    name = f"{count} object{'s' * (count > 1)}"
    objects = [
        opened.act("click", frame=0, object=None, on=True, **place())[0]["object"] for _ in range(count)
    ]
    tell(f"{name}, preview", lambda: opened.act("hover", frame=0, object=None, **place())[1], repeats)
    tell(
        f"{name}, click",
        lambda: opened.act("click", frame=0, object=objects[0], on=True, **place())[1],
        repeats,
    )
    for _ in range(repeats):
        opened.act("undo")
    opened.act("track", direction="forward")
    time.sleep(1)
    tell(
        f"{name}, preview while tracking",
        lambda: opened.act("hover", frame=0, object=None, **place())[1],
        repeats,
    )
    tell(
        f"{name}, click while tracking",
        lambda: opened.act("click", frame=0, object=objects[0], on=False, **place())[1],
        repeats // 2,
    )
    began = time.perf_counter()
    opened.rest()
    print(f"{name}, tracking: the rest of {frames} frames took {time.perf_counter() - began:.1f} s")
    frame = frames // 2
    opened.act("look", frame=frame, object=objects[0])
    time.sleep(2)  # meanwhile the object is made ready to be corrected there
    first = opened.act("click", frame=frame, object=objects[0], on=True, **place())[1]
    print(f"{name}, first click of a correction: {1000 * first:.0f} ms")
    tell(
        f"{name}, further clicks of a correction",
        lambda: opened.act("click", frame=frame, object=objects[0], on=True, **place())[1],
        repeats // 4,
    )

    def click_where_the_pointer_rests() -> float:
        at = {"frame": frame, "object": objects[0], **place(), "on": True}
        opened.act("hover", **at)
        return opened.act("click", **at)[1]

    tell(f"{name}, clicks of a correction after their previews", click_where_the_pointer_rests, repeats // 4)
    began = time.perf_counter()
    opened.act("retrack", object=objects[0], frame=frame)
    opened.rest()
    print(f"{name}, tracking the correction on: {time.perf_counter() - began:.1f} s")


def watching(opened: Page, frames: int, repeats: int) -> None:
    """Scrubbing and playing in a long video."""
    spread = random.Random(1)
    began = time.perf_counter()

    def anywhere() -> int:
        return spread.randrange(frames)

    time.sleep(1)  # a person looks before she scrubs; pictures of keyframes are made meanwhile
    tell("jump, video just opened, nearest picture", lambda: opened.near(anywhere())[1], repeats)
    tell("jump, video just opened, the frame's own picture", lambda: opened.picture(anywhere()), repeats)
    frame = spread.randrange(frames // 2, frames)
    opened.picture(frame)
    opened.act("look", frame=frame)
    steps = itertools.accumulate([-1] * repeats, initial=frame)
    tell("stepping back from there", lambda: opened.picture(next(steps)), repeats)
    frame = spread.randrange(frames // 2)
    opened.act("look", frame=frame)
    time.sleep(1)
    played = time.perf_counter()
    for number in range(frame, frame + 300):
        if number % 30 == 0:
            opened.act("look", frame=number)
        opened.picture(number)
    print(f"playing: {300 / (time.perf_counter() - played):.0f} frames/s")
    sample = [anywhere() for _ in range(repeats)]
    while any(opened.near(number)[0] != number for number in sample):
        time.sleep(1)
    print(f"pictures of all frames were there after {time.perf_counter() - began:.0f} s")
    tell("jump, pictures there", lambda: opened.picture(anywhere()), repeats)


def memory(opened: Page, acts: int) -> None:
    """The server's memory over the acts of a long session."""
    video = opened.state["video"]
    spread = random.Random(1)
    sizes: list[float] = []
    obj_id = opened.act("click", frame=0, object=None, x=video["width"] / 2, y=video["height"] / 2, on=True)[
        0
    ]["object"]
    for number in range(acts):
        frame = spread.randrange(video["frames"])
        at = {"frame": frame, "object": obj_id}
        x, y = spread.uniform(0.3, 0.7) * video["width"], spread.uniform(0.3, 0.7) * video["height"]
        opened.act("look", frame=frame, ahead=8)
        opened.picture(frame)
        kind = number % 6
        if kind == 0:
            opened.act("brush", **at, points=[[x, y], [x + 9, y + 9]], radius=8, mode="add")
        elif kind == 1:
            opened.act("hover", **at, x=x, y=y)
        elif kind == 2:
            opened.act("track", direction="forward", first=frame, last=frame + 4, objects=[obj_id])
            opened.rest()
        elif kind == 3:
            opened.act("reviewed", first=frame, last=frame, on=bool(number % 12 < 6))
        elif kind == 4:
            opened.act("flag", frame=frame, note=f"act {number}")
        else:
            opened.act("undo")
        if number % (acts // 10) == acts // 10 - 1:
            sizes.append(opened.memory_mib())
            print(f"memory after {number + 1} acts: {sizes[-1]:.0f} MiB", flush=True)
    print(f"memory from a tenth of the acts on: {max(sizes) - sizes[0]:+.0f} MiB")


def tell(what: str, measure: Callable[[], float], repeats: int) -> None:
    times = sorted(measure() for _ in range(repeats))
    median, p95 = 1000 * statistics.median(times), 1000 * percentile(times, 0.95)
    print(f"{what}: median {median:.0f} ms, p95 {p95:.0f} ms", flush=True)


def percentile(rising: Sequence[float], share: float) -> float:
    return rising[min(len(rising) - 1, round(share * (len(rising) - 1)))]


def write_long(video: Path, path: Path, frames: int) -> int:
    """Write a video that plays another one to and fro again and again; returns how many frames it has.

    Args:
        frames: how many it has at least.
    """
    images = [frame.image for frame in vidseg.read(video, keep_decoded=False)]
    images += images[-2:0:-1]
    once = path.with_name("once.mp4")
    with av.open(str(once), "w") as output:
        stream: Any = output.add_stream("libx264", rate=30, options={"preset": "veryfast", "g": "250"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(stream.encode())
    times = -(-frames // len(images))
    with av.open(str(path), "w") as output:
        copied: Any = None
        for number in range(times):
            with av.open(str(once)) as source:
                original = source.streams.video[0]
                copied = copied or output.add_stream_from_template(original)
                lasts = round(len(images) / (30 * original.time_base))
                for packet in source.demux(original):
                    if packet.dts is not None:
                        packet.stream = copied
                        packet.pts, packet.dts = packet.pts + number * lasts, packet.dts + number * lasts
                        output.mux(packet)
    return times * len(images)


if __name__ == "__main__":
    main()
