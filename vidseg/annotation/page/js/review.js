// Checking: from doubt to doubt, and marking what was looked at.

import * as actions from "./actions.js";
import { goTo, pause } from "./playback.js";
import { doubtsOn, isReviewed, markedSpan, store } from "./state.js";

/** First frame of the next doubt (step 1) or of the one before (-1) that nobody has checked; null if there is none. */
export function nextDoubt(step) {
  const { frame } = store.state;
  const starts = openDoubts()
    .map(({ start }) => start)
    .filter((start) => (step > 0 ? start > frame : start < frame));
  if (starts.length === 0) return null;
  return step > 0 ? Math.min(...starts) : Math.max(...starts);
}

let kept = {};

/** Doubts with a frame that nobody has checked; found anew only when doubts or checked frames change. */
function openDoubts() {
  const { doubts, reviewed } = store.state;
  if (kept.doubts !== doubts || kept.reviewed !== reviewed) {
    const open = doubts.map((doubt) => ({ doubt, start: openFrame(doubt) })).filter(({ start }) => start !== null);
    kept = { doubts, reviewed, open };
  }
  return kept.open;
}

/** The first frame of a doubt that is not checked; null if all are. */
function openFrame({ frames: [first, last] }) {
  for (let frame = first; frame <= last; frame++) if (!isReviewed(frame)) return frame;
  return null;
}

export function goToDoubt(step) {
  const frame = nextDoubt(step);
  if (frame === null) return;
  const { objects } = store.state;
  const { doubt } = openDoubts().find(({ start }) => start === frame);
  const [id] = doubt.objects.filter((object) => objects.some((other) => other.id === object));
  pause();
  if (id !== undefined) store.set({ chosen: id });
  goTo(frame);
}

/** Mark the doubtful spans that hold this frame as checked, or the frame alone where there is none, and go to the next one. */
export async function checkAndGoOn() {
  const { frame } = store.state;
  const spans = doubtsOn(frame).map(({ frames }) => frames);
  const first = Math.min(frame, ...spans.map(([start]) => start));
  const last = Math.max(frame, ...spans.map(([, end]) => end));
  if (await actions.setReviewed(first, last, true)) goToDoubt(1);
}

/** Mark the frames between the marks as checked, or this one where there are none; take it back where all were. */
export function toggleReviewed() {
  const { first, last } = markedSpan() ?? { first: store.state.frame, last: store.state.frame };
  let isDone = true;
  for (let frame = first; frame <= last; frame++) isDone &&= isReviewed(frame);
  return actions.setReviewed(first, last, !isDone);
}
