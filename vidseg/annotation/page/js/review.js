// Checking: from doubt to doubt, and marking what was looked at.

import * as actions from "./actions.js";
import { goTo, pause } from "./playback.js";
import { isReviewed, markedSpan, store } from "./state.js";

/** First frame of the next doubt (step 1) or of the one before (-1) that nobody has checked; null if there is none. */
export function nextDoubt(step) {
  const { doubts, frame } = store.state;
  const starts = doubts.map(openFrame).filter((start) => start !== null && (step > 0 ? start > frame : start < frame));
  if (starts.length === 0) return null;
  return step > 0 ? Math.min(...starts) : Math.max(...starts);
}

/** The first frame of a doubt that is not checked; null if all are. */
function openFrame({ frames: [first, last] }) {
  for (let frame = first; frame <= last; frame++) if (!isReviewed(frame)) return frame;
  return null;
}

export function goToDoubt(step) {
  const frame = nextDoubt(step);
  if (frame === null) return;
  const { doubts, objects } = store.state;
  const doubt = doubts.find((one) => openFrame(one) === frame);
  const [id] = doubt.objects.filter((object) => objects.some((other) => other.id === object));
  pause();
  if (id !== undefined) store.set({ chosen: id });
  goTo(frame);
}

/** Mark the frames between the marks as checked, or this one where there are none; take it back where all were. */
export function toggleReviewed() {
  const { first, last } = markedSpan() ?? { first: store.state.frame, last: store.state.frame };
  let isDone = true;
  for (let frame = first; frame <= last; frame++) isDone &&= isReviewed(frame);
  return actions.setReviewed(first, last, !isDone);
}
