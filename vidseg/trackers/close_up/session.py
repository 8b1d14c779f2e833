"""A session that follows objects in a close-up of the picture.

It feeds the part of each frame that `Choice` names to a session of the engine, and gives its results back as
those of the whole picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vidseg.memory.bank import MemoryFrame, ObjectBank
from vidseg.memory.placing import PlacingPolicy
from vidseg.trackers.close_up.choice import Sizes, view_after, view_of
from vidseg.trackers.close_up.memories import MOVABLE, move_to, remember_from
from vidseg.trackers.close_up.result import CloseUpResult
from vidseg.trackers.contract import Frame, FrameResult, Prompt
from vidseg.trackers.frame_order import no_frame_to_correct
from vidseg.trackers.given_frame import as_frame, check_frame
from vidseg.trackers.model import Features
from vidseg.trackers.pending import PendingPrompts, checked_id
from vidseg.trackers.session import EngineSession
from vidseg.trackers.view import View, seen_from

if TYPE_CHECKING:
    from vidseg.trackers.contract import BoolArray, Box, Labels, Points, UInt8Array


@dataclass(frozen=True, slots=True)
class _Last:
    """The frame last stepped to."""

    given: Frame
    """The frame as the caller gave it."""
    frame: Frame
    """The same, which keeps what is computed of it."""
    view: View
    """What was seen of it; masks are as seen from there."""
    result: FrameResult
    """Its result, in pixels of the view."""


class CloseUpSession:
    """One video being tracked; see `vidseg.trackers.contract.Session`.

    Args:
        near: the engine's session, which knows parts of pictures alone; a new one.
        write: writes the session to a file.
    """

    def __init__(
        self, near: EngineSession, *, write: Callable[[CloseUpSession, str | PathLike[str]], None]
    ) -> None:
        self.near = near
        self.pending = PendingPrompts()
        self._write = write
        self._sizes: Sizes = {}
        """How large objects were before the frame last stepped to."""
        self._sizes_then: Sizes = {}
        """Their sizes with that frame, once the view of the next one is chosen."""
        self._last: _Last | None = None
        """None after a session was restored."""
        self._before: tuple[Frame, View] | None = None
        """In a session that was restored, the frame last stepped to, with the model's input for the whole
        picture in the picture's place, and the view that its masks are of."""
        self._remembered: View | None = None
        """The view from which that frame is remembered; None before the first one."""
        self._is_ready = True
        """Whether the next frame is seen from there, too; else its view is still to be chosen."""
        self._chosen: tuple[View, bool] | None = None
        """What `_choose` said, if it was asked before the last frame is remembered from there."""
        self._given: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        """(object id, frame) -> tokens of a prompted frame, of the whole picture and of the part around."""
        near.pending.names = self.pending.names

    @property
    def obj_ids(self) -> list[int]:
        return list(dict.fromkeys([*self.near.banks, *self.pending]))

    @property
    def banks(self) -> dict[int, ObjectBank]:
        """What is remembered of each object."""
        return self.near.banks

    @property
    def view(self) -> View:
        """What was looked at of the frame last stepped to."""
        assert self._last is not None
        return self._last.view

    def prompt(
        self,
        obj_id: int,
        *,
        box: Box | None = None,
        points: Points | None = None,
        labels: Labels | None = None,
        mask: Any = None,
        label: str | None = None,
    ) -> None:
        self.pending.add(obj_id, box=box, points=points, labels=labels, mask=mask, label=label)

    @torch.inference_mode()
    def step(self, frame: Frame | UInt8Array, *, bgr: bool = False) -> FrameResult:
        near = self.near
        given = as_frame(frame, near.last_frame_idx, reverse=near.reverse, bgr=bgr)
        near.moment_of(given)  # first, so that a frame that is refused changes nothing
        frame = given if given.kept is not None else self._own(given)
        prompts = self.pending.fit(frame)
        view = self._view_of(frame, prompts)
        outside = {obj_id: prompt for obj_id, prompt in prompts.items() if not view.holds(prompt)}
        inside = {id_: view.prompt_here(prompt) for id_, prompt in prompts.items() if id_ not in outside}
        with self._prompting(inside):
            result = near.step(view.of(frame))
        self._last, self._remembered = _Last(given, frame, view, result), view
        self._is_ready, self._chosen = False, None
        self._before = None
        for obj_id, prompt in outside.items():
            self._answer_outside(obj_id, prompt)
        return self._shown()

    @torch.inference_mode()
    def condition(self, frame: Frame) -> FrameResult:
        check_frame(frame)
        self.near.moment_of(frame)
        with self._prompting(self.pending.fit(frame)):
            result = self.near.condition(frame)
        # The whole picture is seen until that frame comes.
        self._is_ready, self._chosen = self._last is None and self._before is None, None
        return result

    @torch.inference_mode()
    def refine(
        self,
        obj_id: int,
        *,
        box: Box | None = None,
        points: Points | None = None,
        labels: Labels | None = None,
        mask: Any = None,
    ) -> FrameResult:
        obj_id = checked_id(obj_id)
        last = self._last
        if last is None:
            raise no_frame_to_correct()
        prompt = Prompt.of(box=box, points=points, labels=labels, mask=mask).fit(last.frame.size_hw)
        if last.view.holds(prompt):
            self._remember_from(last.frame, last.view, last.view)
            self._last = replace(last, result=self.near.answer(obj_id, last.view.prompt_here(prompt)))
            self._is_ready, self._chosen = False, None
        else:
            self._answer_outside(obj_id, prompt)
        return self._shown()

    @torch.inference_mode()
    def remove(self, obj_id: int) -> None:
        obj_id = checked_id(obj_id)
        if self._last is not None and not self._is_ready:
            # As `save` does, so that what is seen next does not hang on whether the session was saved before.
            self._chosen = self._chosen or self._choose(self._last)
        if obj_id in self.near.banks or obj_id not in self.pending:
            self.near.remove(obj_id)
        self.pending.forget(obj_id)
        for sizes in (self._sizes, self._sizes_then):
            sizes.pop(obj_id, None)

    def features(self, frame: Frame) -> Features:
        """The features of a whole frame; those of the last one are computed once."""
        last = self._last
        return self.near.features(last.frame if last is not None and last.given is frame else frame)

    def save(self, path: str | PathLike[str]) -> None:
        self._write(self, path)

    @torch.inference_mode()
    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that is needed to go on with the session, for a file: tensors, and JSON values."""
        self._prepare()
        tensors, facts = self.near.state()
        tensors |= self.pending.to_tensors()
        before = self._before
        if self._last is not None:
            before = (self._last.frame, self._last.view)
        if before is not None:
            tensors["before"] = self.near.engine.model_input(before[0]).cpu()
        self._drop_forgotten()
        is_whole = {}
        for (obj_id, frame_idx), (of_whole, of_part) in self._given.items():
            # One of the two is what the bank holds.
            is_whole[obj_id, frame_idx] = self.banks[obj_id].conditioning[frame_idx].tokens_nc is of_whole
            other = of_part if is_whole[obj_id, frame_idx] else of_whole
            tensors[f"given.{obj_id}.{frame_idx}"] = other
        return tensors, facts | {
            "pending": list(self.pending),
            "view": None if self._remembered is None else self._remembered.to_json(),
            "before": None if before is None else [before[0].pts_seconds, before[1].to_json()],
            "sizes": list(self._sizes_then.items()),
            "given": [[*key, is_whole[key]] for key in self._given],
        }

    def take_state(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.near.take_state(tensors, facts | {"pending": []})
        self.pending = PendingPrompts.of_tensors(facts["pending"], tensors, facts["names"])
        self.near.pending.names = self.pending.names
        self._sizes_then = {obj_id: tuple(size) for obj_id, size in facts["sizes"]}
        self._remembered = None if facts["view"] is None else View.of_json(facts["view"])
        if facts["before"] is not None and self.near.last_frame_idx is not None:
            (pts_seconds, view), picture = facts["before"], tensors["before"]
            seen = View.of_json(view)
            frame = Frame(
                self.near.last_frame_idx, pts_seconds, model_input=picture, size_hw=seen.size_hw, kept={}
            )
            self._before = frame, seen
        for obj_id, frame_idx, is_whole in facts["given"]:
            held = self.banks[obj_id].conditioning[frame_idx].tokens_nc
            other = tensors[f"given.{obj_id}.{frame_idx}"]
            if held is not None:
                self._given[obj_id, frame_idx] = (held, other) if is_whole else (other, held)

    def _own(self, given: Frame) -> Frame:
        """A frame with a picture of its own, which is looked at once more on the next frame: the caller may
        have another one in its place by then."""
        if given.image is None or (given.decoded is not None and self.near.engine.model.takes_decoded):
            return replace(given, kept={})
        return replace(given, image=given.image.copy(), kept={})

    @contextmanager
    def _prompting(self, prompts: Mapping[int, Prompt]) -> Iterator[None]:
        """Have the engine's session answer prompts; where it fails, they keep waiting here."""
        self.near.pending.update(prompts)
        try:
            yield
        finally:
            self.near.pending.clear()
        self.pending.clear()

    def _view_of(self, frame: Frame, prompts: Mapping[int, Prompt]) -> View:
        """The view of a new frame; what is remembered is made to fit it."""
        whole = View.whole(frame.size_hw)
        banks = self.near.banks
        if not banks:
            return whole if frame.image is None else view_of(prompts.values(), frame.size_hw)
        self._prepare()
        self._sizes = self._sizes_then
        view = whole if self._remembered is None else self._remembered.on(frame.size_hw)
        if frame.image is None or any(frame.index in bank.conditioning for bank in banks.values()):
            view = whole  # nothing else is there, or a prompt was answered there ahead of time
        self._drop_forgotten()
        for (obj_id, frame_idx), (of_whole, of_part) in self._given.items():
            # An object that is sought on the whole picture looks as it did there.
            banks[obj_id].conditioning[frame_idx].tokens_nc = of_whole if view.is_whole else of_part
        return view

    def _prepare(self) -> None:
        """Choose the view of the next frame, and remember the last one from there."""
        if self._is_ready:
            return
        if self._last is None:
            self._remember_whole()
            return
        last = self._last
        view, is_ahead = self._chosen or self._choose(last)
        given = self._given_on(last.frame.index)
        whole = View.whole(last.frame.size_hw)
        self._remember_from(last.frame, last.view, whole if given else last.view)
        of_whole = {key: memory.tokens_nc for key, memory in given.items()}
        # What was prompted is read for long, and what is seen larger or smaller than before looks different.
        # With a prompt ahead the frame is encoded anew, as a restored session can do it, too.
        is_alike = last.view.is_alike(view, MOVABLE)
        self._remember_from(last.frame, last.view, view, anew=bool(given) or is_ahead or not is_alike)
        for key, memory in given.items():
            self._given.pop(key, None)  # from before the frame was corrected
            of_part, tokens = memory.tokens_nc, of_whole[key]
            if not view.is_whole and tokens is not None and of_part is not None:
                self._given[key] = (tokens, of_part)
        self._is_ready, self._chosen = True, None

    def _choose(self, last: _Last) -> tuple[View, bool]:
        """The view of the next frame, and whether it is whole because a prompt lies ahead."""
        banks, view = self.near.banks, View.whole(last.frame.size_hw)
        is_ahead = any(not m.was_visited for bank in banks.values() for m in bank.conditioning.values())
        if last.frame.image is not None and not is_ahead:
            view, self._sizes_then = view_after(self._masks_on(last.frame.index), last.view, self._sizes)
        return view, is_ahead

    def _masks_on(self, frame_idx: int) -> dict[int, BoolArray]:
        """Object id -> its mask on that frame; from the banks, as the result is the caller's."""
        memories = {obj_id: bank.at(frame_idx) for obj_id, bank in self.near.banks.items()}
        return {
            obj_id: (memory.low_res_logits_hw > 0).cpu().numpy()
            for obj_id, memory in memories.items()
            if memory is not None and memory.low_res_logits_hw is not None
        }

    def _drop_forgotten(self) -> None:
        """Keep nothing of frames that the banks have forgotten."""
        for obj_id, frame_idx in list(self._given):
            if obj_id not in self.banks or frame_idx not in self.banks[obj_id].conditioning:
                del self._given[obj_id, frame_idx]

    def _given_on(self, frame_idx: int) -> dict[tuple[int, int], MemoryFrame]:
        """The memories of objects that were prompted on a frame, by what `_given` calls them."""
        banks = self.near.banks.items()
        return {
            (obj_id, frame_idx): bank.conditioning[frame_idx]
            for obj_id, bank in banks
            if frame_idx in bank.conditioning
        }

    def _remember_from(self, frame: Frame, masked: View, view: View, *, anew: bool = True) -> None:
        """Remember the last frame as seen from a view; its masks stay as they are.

        Args:
            masked: the view that its masks are of.
            anew: whether it is encoded from there; else memories are moved, which must be as seen from
                `masked`.
        """
        assert self._remembered is not None
        if view == self._remembered:
            return
        self._bring(frame, masked, view, anew=anew)

    def _remember_whole(self) -> None:
        """Remember the last frame of a restored session as seen whole, which is how that frame was kept."""
        assert self._before is not None
        frame, masked = self._before
        self._bring(frame, masked, View.whole(frame.size_hw), anew=True)
        for key in self._given_on(frame.index):
            self._given.pop(key, None)
        self._is_ready = True

    def _bring(self, frame: Frame, masked: View, view: View, *, anew: bool) -> None:
        assert self._remembered is not None
        engine, hypotheses = self.near.engine, [h for b in self.near.banks.values() for h in b.hypotheses]
        memories = {id(m): m for h in hypotheses if (m := h.at(frame.index)) is not None}
        if memories:
            bring = remember_from if anew else move_to
            bring(engine, view, frame, list(memories.values()), masked)
        if isinstance(engine.policy, PlacingPolicy):
            scale_xy, shift_xy = self._remembered.places_in(view, engine.model.low_res_size)
            for bank in hypotheses:
                engine.policy.place(bank, scale_xy, shift_xy)
        self._remembered = view

    def _answer_outside(self, obj_id: int, prompt: Prompt) -> None:
        """Answer a prompt beyond the part of the last frame that was seen, on the whole picture.

        What is remembered of the frame before was seen from elsewhere, so that the answer does without.
        """
        last = self._last
        assert last is not None
        whole = View.whole(last.frame.size_hw)
        self._remember_from(last.frame, last.view, whole)
        for known, bank in self.near.banks.items():
            memory = bank.at(last.frame.index)
            if memory is not None and memory.low_res_logits_hw is not None:
                memory.low_res_logits_hw = seen_from(last.view, memory.low_res_logits_hw[None], whole)[0]
                memory.is_initial |= known == obj_id
        self.near.see(last.frame)
        self._last = replace(last, view=whole, result=self.near.answer(obj_id, prompt))
        self._is_ready, self._chosen = False, None

    def _shown(self) -> FrameResult:
        assert self._last is not None
        view, result = self._last.view, self._last.result
        return result if view.is_whole else CloseUpResult(result, view)
