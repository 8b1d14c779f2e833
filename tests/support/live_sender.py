"""Sends a live MPEG-TS stream of numbered pictures: `python -m support.live_sender PROTOCOL PORT`.

It keeps to the clock, as a camera does: RATE pictures a second. With `http` it serves one viewer, who may
hold it up; with `udp` it sends, whoever listens. It prints `ready` when a viewer may come.
"""

from __future__ import annotations

import socket
import sys
import time
from contextlib import suppress
from typing import Any

import av

from support.hard_videos import SIZE_HW, picture

RATE = 50
NUM_FRAMES = 200


def send(output_to: Any) -> None:
    with av.open(output_to, "w", format="mpegts") as output:
        stream: Any = output.add_stream("libx264", rate=RATE)
        stream.height, stream.width = SIZE_HW
        stream.pix_fmt = "yuv420p"
        stream.options = {"g": "10", "bf": "0", "tune": "zerolatency", "preset": "ultrafast"}
        began = time.monotonic()
        for number in range(NUM_FRAMES):
            time.sleep(max(0.0, began + number / RATE - time.monotonic()))
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number))))
        output.mux(stream.encode(None))


def serve(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)) as server:
        print("ready", flush=True)
        viewer, _ = server.accept()
        with viewer, viewer.makefile("rwb", buffering=0) as both_ways:
            while both_ways.readline().strip():
                pass
            both_ways.write(b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n\r\n")
            send(both_ways)


if __name__ == "__main__":
    protocol, port = sys.argv[1], int(sys.argv[2])
    with suppress(av.FFmpegError, OSError):  # the viewer may leave first
        if protocol == "http":
            serve(port)
        else:
            print("ready", flush=True)
            send(f"udp://127.0.0.1:{port}?pkt_size=1316")
