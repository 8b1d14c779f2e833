"""One page's socket: acts come in, events go out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from vidseg.annotation.acts import Hover, Look, Message, read_act
from vidseg.annotation.events import Event, error_document, masks_message
from vidseg.annotation.workbench import Workbench
from vidseg.errors import InputError, PromptError, VidsegError

MAX_WAITING = 4000
"""A page that has not fetched so many events is cut off; it connects again and gets the state anew."""
RESTING_S = 0.15
"""A frame that stays in sight this long is made ready, so that the first click on it is answered at once."""
TOO_SLOW = 4408


class Threads:
    """Where acts are done: one after another, but looking at frames does not wait for them."""

    def __init__(self) -> None:
        self.acts = ThreadPoolExecutor(1, "vidseg-annotate-acts")
        self.looks = ThreadPoolExecutor(1, "vidseg-annotate-looks")
        self.resting = ThreadPoolExecutor(1, "vidseg-annotate-resting")

    def close(self) -> None:
        for pool in (self.acts, self.looks, self.resting):
            pool.shutdown(wait=True, cancel_futures=True)


class Connection:
    """Serves one socket until it is closed."""

    def __init__(self, socket: WebSocket, bench: Workbench, threads: Threads) -> None:
        self._socket = socket
        self._bench = bench
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Queue[Event] = asyncio.Queue()
        self._held: list[Event] | None = []
        """Events that were told while the page was being greeted; None from then on."""
        self._latest_hover: Hover | None = None
        self._latest_look: Look | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        await self._socket.accept()
        stop = self._bench.listeners.add(self._tell)
        sender = asyncio.create_task(self._send())
        try:
            await self._greet()
            while True:
                self._take(await self._socket.receive_text())
        except (WebSocketDisconnect, KeyError):  # KeyError: a message in binary, which no page sends
            pass
        finally:
            stop()
            sender.cancel()

    async def _greet(self) -> None:
        session = self._bench.session

        def told() -> list[Event]:
            return [{"type": "state", "state": self._bench.state()}, *session.timelines()]

        greeting = await self._loop.run_in_executor(self._threads.looks, told)
        # What was told meanwhile is newer than the state, which would otherwise put it back.
        held, self._held = self._held or [], None
        for event in (*greeting, *held):
            self._waiting.put_nowait(event)

    def _take(self, text: str) -> None:
        """Begin to do what a message asks for."""
        n = None
        try:
            document = json.loads(text)
            n = document.get("n") if isinstance(document, dict) else None
            message = read_act(document)
        except (VidsegError, ValueError, RecursionError) as error:
            told = error if isinstance(error, VidsegError) else InputError("a message that is not JSON")
            self._waiting.put_nowait({**error_document(told), **_numbered(n)})
            return
        if isinstance(message, Hover):
            if self._latest_hover is not None:
                self._waiting.put_nowait({"type": "done", "n": self._latest_hover.n, "skipped": True})
            self._latest_hover = message
        task = asyncio.create_task(self._do(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do(self, message: Message) -> None:
        try:
            answer = await self._done(message)
        except Exception as error:  # a page waits for the answer, whatever went wrong
            self._waiting.put_nowait({**error_document(error), "n": message.n})
        else:
            if answer is not None:
                self._waiting.put_nowait({"type": "done", "n": message.n, **answer})

    async def _done(self, message: Message) -> dict[str, Any] | None:
        if isinstance(message, Look):
            await self._in(self._threads.looks, lambda: self._look(message))
            self._loop.call_later(RESTING_S, self._rest, message)
            return {}
        if isinstance(message, Hover):
            return await self._in(self._threads.acts, lambda: self._hover(message))
        do: Callable[[Workbench], dict[str, Any]] = message.do  # type: ignore[attr-defined]
        return await self._in(self._threads.acts, lambda: do(self._bench))

    async def _in(self, pool: ThreadPoolExecutor, do: Callable[[], Any]) -> Any:
        return await self._loop.run_in_executor(pool, do)

    def _look(self, message: Look) -> None:
        session = self._bench.session
        last = min(message.frame + message.ahead, session.num_frames - 1)
        self._latest_look = message
        self._bench.pictures.look(message.frame)
        for frame_idx in range(message.frame, last + 1):
            session.tell_masks(frame_idx, self._tell)

    def _hover(self, message: Hover) -> dict[str, Any] | None:
        if self._latest_hover is not message:
            return None  # passed over; that was said already
        self._latest_hover = None
        session = self._bench.session
        try:
            mask = session.preview(message.frame, message.object, message.x, message.y, on=message.on)
        except PromptError:  # nothing there, or a locked object: there is nothing to show
            return {"skipped": True}
        self._tell(masks_message(message.frame, [mask], session.size_hw, type="preview", n=message.n))
        return {}

    def _rest(self, look: Look) -> None:
        """Make a frame ready for clicks if it is still in sight."""
        session = self._bench.session
        if self._latest_look is look and look.frame < session.num_frames:
            self._threads.resting.submit(session.answers.prepare, look.frame, look.object)

    def _tell(self, event: Event) -> None:
        """Send an event; any thread may call this."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._queue, event)

    def _queue(self, event: Event) -> None:
        if self._held is None:
            self._waiting.put_nowait(event)
        else:
            self._held.append(event)

    async def _send(self) -> None:
        while True:
            event = await self._waiting.get()
            if self._waiting.qsize() > MAX_WAITING:
                await self._socket.close(TOO_SLOW, "too many events wait")
                return
            if isinstance(event, bytes):
                await self._socket.send_bytes(event)
            else:
                await self._socket.send_text(json.dumps(event, separators=(",", ":"), allow_nan=False))


def _numbered(n: Any) -> dict[str, int]:
    return {"n": n} if isinstance(n, int) and not isinstance(n, bool) else {}
