// The playhead: going to a frame, playing, and what must be here for it.

import { Pictures } from "./pictures.js";
import { redraw } from "./redraw.js";
import { connection } from "./session.js";
import { store } from "./state.js";

const LOOK_AHEAD = 24;
/** While playing, masks are asked for when fewer than this many frames ahead have theirs. */
const LEAST_AHEAD = 12;
const REST_MS = 120;

export const SPEEDS = [0.25, 0.5, 1, 2];

export const pictures = new Pictures(
  (frame, signal) => connection.picture(store.state.video.index, frame, signal),
  (frame) => connection.nearPicture(store.state.video.index, frame),
  onArrival,
  (frame, { message }) => {
    if (frame === store.state.frame) store.set({ shown: frame, missing: { frame, message } });
  },
);

let nextTick = 0;
let restTimer = 0;
let isLooking = false;
let mustLook = false;

/** Begin with another video; where the page was loaded again, on the frame where it was. */
export function startVideo(video) {
  pictures.reset(video.frames, video.width, video.height);
  store.set({ frame: 0, shown: 0, isPlaying: false, missing: null });
  goTo(history.state?.video === video.name ? history.state.frame : 0);
}

/** Put the playhead on a frame, or on the nearest one that there is. */
export function goTo(frame) {
  const { video } = store.state;
  if (!video) return;
  const next = Math.min(Math.max(Math.round(frame), 0), video.frames - 1);
  store.set({ frame: next, missing: null });
  pictures.moveTo(next);
  if (pictures.get(next)) show(next);
  clearTimeout(restTimer);
  restTimer = setTimeout(rest, REST_MS);
}

/** The playhead has come to rest. */
function rest() {
  const { video, frame } = store.state;
  history.replaceState({ video: video.name, frame }, "");
  look();
}

export function stepBy(frames) {
  pause();
  goTo(store.state.frame + frames);
}

export function play() {
  const { video, frame } = store.state;
  if (!video) return;
  if (frame >= video.frames - 1) goTo(0);
  store.set({ isPlaying: true, preview: null });
  nextTick = performance.now();
  requestAnimationFrame(tick);
}

export function pause() {
  store.set({ isPlaying: false });
}

/** Masks of these frames have changed: ask again if they are in sight. */
export function lookAgain(first, last) {
  const { shown } = store.state;
  if (first <= shown + LOOK_AHEAD && shown <= last) look();
}

/** No frame is passed over: where pictures come more slowly than the video's rate, it plays more slowly. */
function tick(now) {
  const { isPlaying, frame, video, speed } = store.state;
  if (!isPlaying || !video) return;
  if (frame >= video.frames - 1) return pause();
  if (now >= nextTick && pictures.has(frame + 1)) {
    nextTick = Math.max(nextTick + 1000 / ((video.rate || 25) * speed), now - 100);
    goTo(frame + 1);
    if (!hasMasksAhead()) look();
  }
  requestAnimationFrame(tick);
}

function onArrival(frame) {
  const { frame: playhead, isPlaying } = store.state;
  // Under a fast hand the picture of a frame just passed is better than none; the number beside it is always its own.
  if (frame === playhead || (!isPlaying && !pictures.has(playhead) && isNearer(frame))) show(frame);
}

function isNearer(frame) {
  const { frame: playhead, shown } = store.state;
  return Math.abs(frame - playhead) < Math.abs(shown - playhead);
}

function show(frame) {
  pictures.shown = frame;
  store.set({ shown: frame, preview: null });
  // The frame may have been in sight already, without its picture.
  redraw();
  if (!hasMasks(frame)) look();
}

function hasMasks(frame) {
  const entry = store.state.masks.get(frame);
  return Boolean(entry) && !entry.isStale;
}

function hasMasksAhead() {
  const { frame, video } = store.state;
  for (let next = frame; next <= Math.min(frame + LEAST_AHEAD, video.frames - 1); next++)
    if (!hasMasks(next)) return false;
  return true;
}

/** Tell the server what is in sight and which object is chosen; one message is on its way at a time, and the last one is always sent. */
export async function look() {
  if (store.state.connection !== "open") return;
  if (isLooking) {
    mustLook = true;
    return;
  }
  isLooking = true;
  mustLook = false;
  try {
    const { chosen, frame, isPlaying } = store.state;
    await connection.act("look", { frame, ahead: isPlaying ? LOOK_AHEAD : 2, object: chosen });
  } catch {
    // The connection broke: with the new one comes the whole state, and this is asked again.
  } finally {
    isLooking = false;
    if (mustLook) look();
  }
}
