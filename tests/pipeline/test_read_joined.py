"""Streams joined from several, as by `cat a.ts b.ts`: all pictures are read, and a loss is still told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import vidseg
from support.hard_videos import CLOSED_GOP, HEVC, encode, number_in, picture
from vidseg.cli import main
from vidseg.errors import DecodeError
from vidseg.testing import FakeTracker

PIECE = 14
NUM_FRAMES = 3 * PIECE
BOX = '{"box": [10, 10, 60, 50]}'

TIMES = {
    "begin again": (0, 0, 0),
    "run back": (1000, 500, 100),
    "go on": (0, PIECE, 2 * PIECE),
    "leap": (0, 100, 900),
    "overflow": (24 * 1000, 0, 0),  # FFmpeg takes the second start for one after the 26 hours of its clock
}
STREAMS: dict[str, dict[str, Any]] = {
    "h264.ts": {"options": CLOSED_GOP},
    "h264.m2ts": {"options": CLOSED_GOP},
    "hevc.ts": {"codec": "libx265", "options": HEVC},
    "mpeg2.ts": {"codec": "mpeg2video", "options": {"bf": "2", "g": "12"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"bf": "2", "g": "12"}},
}
PACKET, VIDEO = 188, 256


def joined(folder: Path, name: str, starts: tuple[int, ...] = TIMES["begin again"]) -> Path:
    """Pieces of `PIECE` numbered pictures, one behind the other.

    Args:
        starts: the time of each piece's first picture, in 1/24 s.
    """
    path = folder / name
    data = b""
    for piece, start in enumerate(starts):
        numbers = range(piece * PIECE, (piece + 1) * PIECE)
        pts = [start + k for k in range(PIECE)]
        part = encode(folder / f"part-{name}", map(picture, numbers), pts=pts, base=24, **STREAMS[name])
        data += part.read_bytes()
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("name", STREAMS)
def test_every_picture_of_a_joined_stream_is_read_from_anywhere(
    tmp_path: Path, name: str, times: str
) -> None:
    path = joined(tmp_path, name, TIMES[times])
    for span, wanted in (
        ({}, range(NUM_FRAMES)),
        ({"start": 20}, range(20, NUM_FRAMES)),
        ({"reverse": True}, range(NUM_FRAMES)[::-1]),
    ):
        source = vidseg.read(path, **span)
        frames = list(source)
        assert [frame.index for frame in frames] == list(wanted)
        assert [number_in(frame.image) for frame in frames] == list(wanted)
        if path.suffix != ".mpg":  # which has no counters
            assert len(source.remarks) == 1
            assert "was joined from several streams" in source.remarks[0]
    if times != "leap":
        seconds = [frame.pts_seconds for frame in vidseg.read(path)]
        assert seconds == sorted(set(seconds))
        assert seconds[-1] - seconds[0] < 2 * NUM_FRAMES / 24


def test_a_run_over_a_joined_stream_is_done_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = joined(tmp_path, "h264.ts"), tmp_path / "out"
    (tmp_path / "box.json").write_text(BOX)
    call = [
        "track",
        str(path),
        "--prompt",
        str(tmp_path / "box.json"),
        "--out",
        str(out),
        "--tracker",
        "flow",
    ]
    assert main(call) == 0
    told = capsys.readouterr().err
    assert "warning: 'h264.ts' was joined from several streams, the first joint at frame 14" in told
    assert "damaged" not in told
    record = json.loads((out / "run.json").read_text())
    assert (record["status"], record["frames_done"], record["error"]) == ("done", NUM_FRAMES, None)
    assert len(record["warnings"]) == 1


def packets_of(path: Path) -> list[bytes]:
    data = path.read_bytes()
    return [data[at : at + PACKET] for at in range(0, len(data), PACKET)]


def stream_of(packet: bytes) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


def read_to_the_end(path: Path) -> int:
    count = 0
    for _ in vidseg.read(path):
        count += 1
    return count


@pytest.mark.parametrize("name", ["h264.ts", "hevc.ts", "mpeg2.ts"])
def test_a_lost_packet_is_told_wherever_it_was(tmp_path: Path, name: str) -> None:
    packets = packets_of(joined(tmp_path, name, TIMES["go on"]))
    video = [k for k, packet in enumerate(packets) if stream_of(packet) == VIDEO]
    begins = [k for k in video if packets[k][1] & 0x40]
    # A piece whose last picture is gone as a whole is a shorter piece.
    joints = [begins[piece * PIECE] for piece in (1, 2)]
    last_pictures = {
        k for joint in joints for k in video if k < joint and k >= max(b for b in begins if b < joint)
    }
    near_joints = [k for k in video if any(abs(k - joint) < 4 for joint in joints)]
    untold = []
    # Without its first packet a stream is a recording that began later.
    for lost in {*video[1:-1:5], *near_joints}:
        path = tmp_path / "loss.ts"
        path.write_bytes(b"".join(packets[:lost] + packets[lost + 1 :]))
        try:
            read_to_the_end(path)
        except DecodeError:
            continue
        untold.append(lost)
    assert set(untold) <= last_pictures


def test_a_piece_that_breaks_off_in_a_picture_is_damaged(tmp_path: Path) -> None:
    whole = packets_of(joined(tmp_path, "h264.ts", (0,)))
    video = [k for k, packet in enumerate(whole) if stream_of(packet) == VIDEO]
    cut = next(k for k in video if k + 1 in video and not whole[k + 1][1] & 0x40)  # in its first picture
    path = tmp_path / "cut.ts"
    path.write_bytes(b"".join(whole + whole[: cut + 1] + whole))
    with pytest.raises(DecodeError, match="is damaged"):
        read_to_the_end(path)


def test_a_gap_without_new_counters_is_a_loss(tmp_path: Path) -> None:
    packets = packets_of(joined(tmp_path, "h264.ts", (0,)))
    begins = [k for k, p in enumerate(packets) if stream_of(p) == VIDEO and p[1] & 0x40]
    path = tmp_path / "gap.ts"
    path.write_bytes(b"".join(packets[: begins[4]] + packets[begins[12] :]))  # to the second keyframe
    with pytest.raises(DecodeError, match="is damaged"):
        read_to_the_end(path)


def test_arrays_folders_and_whole_files_have_no_remarks(tmp_path: Path) -> None:
    source = vidseg.read([picture(k) for k in range(3)])
    assert len(list(source)) == 3
    assert source.remarks == []
    whole = joined(tmp_path, "h264.ts", (0,))
    summary = vidseg.track(whole, json.loads(BOX), tracker=FakeTracker(), out=tmp_path / "out")
    assert summary.warnings == []


def test_a_joined_stream_that_cannot_be_followed_is_told(tmp_path: Path) -> None:
    path = joined(tmp_path, "h264.ts", (0,))
    ids = {"mpegts_start_pid": "300", "mpegts_pmt_start_pid": "500"}
    other = encode(tmp_path / "other.ts", map(picture, range(PIECE)), container=ids)
    path.write_bytes(path.read_bytes() + other.read_bytes())
    with pytest.raises(DecodeError, match=r"another video begins at byte [\d,]+, and is not read") as caught:
        read_to_the_end(path)
    assert caught.value.frames_read == PIECE


def test_mp4_files_one_behind_the_other_are_told(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", map(picture, range(PIECE)))
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(DecodeError, match="another video begins"):
        read_to_the_end(path)


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libx264"), ("a.webm", "libvpx"), ("a.avi", "mpeg4")])
def test_containers_that_can_be_joined_are_read(tmp_path: Path, name: str, codec: str) -> None:
    data = b""
    for piece in range(2):
        numbers = range(piece * PIECE, (piece + 1) * PIECE)
        data += encode(tmp_path / name, map(picture, numbers), codec=codec).read_bytes()
    (tmp_path / name).write_bytes(data)
    assert [number_in(frame.image) for frame in vidseg.read(tmp_path / name)] == list(range(2 * PIECE))


@pytest.mark.parametrize("name", ["h264.ts", "h264.m2ts"])
def test_a_recording_that_begins_in_a_picture_is_whole_from_its_first_keyframe(
    tmp_path: Path, name: str
) -> None:
    path = joined(tmp_path, name, (0,))
    step = 192 if path.suffix == ".m2ts" else PACKET
    whole = path.read_bytes()
    path.write_bytes(whole[4 * step :])  # without the tables and the beginning of the first picture
    path.write_bytes(path.read_bytes() + whole)
    frames = list(vidseg.read(path))
    assert [number_in(frame.image) for frame in frames][-PIECE:] == list(range(PIECE))
