// From the server's messages to the store.

import { Connection } from "./connection.js";
import { readMasks } from "./masks.js";
import { SERVER_KEYS, store } from "./state.js";
import { toast } from "./toasts.js";

/** Frames whose masks stay here. Run lengths are small: about 1 kB an object and frame. */
const MOST_FRAMES = 3000;

const listeners = { exported: () => {}, video: () => {}, stale: () => {}, preview: () => {} };

export const connection = new Connection({
  onMessage,
  onMasks,
  onStatus: (status) => store.set({ connection: status }),
});

/** Be told of `exported` (the message), `video` (another one was opened), `stale` (masks must be asked for again), `preview`. */
export function listen(changes) {
  Object.assign(listeners, changes);
}

function onMessage(message) {
  if (message.type === "state") takeState(message.state);
  else if (message.type === "patch") takePatch(message.state);
  else if (message.type === "timeline") takeTimeline(message);
  else if (message.type === "timeline_gone") takeTimelineGone(message);
  else if (message.type === "stale") takeStale(message);
  else if (message.type === "exported") listeners.exported(message);
  else if (message.type === "error")
    toast([message.message, message.where, message.hint].filter(Boolean).join(" "), "bad");
}

/** All of the state: on connection, on a connection that was lost and found, and for another video. */
function takeState(state) {
  const isSame = sameVideo(store.state.video, state.video);
  store.state.rows.clear();
  store.touch("rows");
  if (isSame) {
    takeStale({ first: 0, last: state.video.frames - 1 });
    delete state.video;
  } else {
    store.state.masks.clear();
    store.set({
      preview: null,
      corrected: null,
      drawn: [],
      marks: { first: null, last: null },
      chosen: null,
      isPlaying: false,
      missing: null,
    });
  }
  takePatch(state);
  if (!isSame) listeners.video(state.video);
}

function sameVideo(one, other) {
  return Boolean(one) && one.index === other.index && one.name === other.name && one.frames === other.frames;
}

function takePatch(changes) {
  const known = Object.fromEntries(Object.entries(changes).filter(([key]) => SERVER_KEYS.includes(key)));
  const before = store.state.objects;
  store.set(known);
  if (known.objects) keepChoice(before, known.objects);
}

/** The chosen object stays chosen; where it has gone its neighbour is; on a new page the first one, unless this page makes it. */
function keepChoice(before, objects) {
  const { chosen, making } = store.state;
  if (objects.some(({ id }) => id === chosen)) return;
  if (chosen === null && (before.length > 0 || making > 0)) return;
  const place = Math.max(
    before.findIndex(({ id }) => id === chosen),
    0,
  );
  store.set({ chosen: (objects[place] ?? objects[objects.length - 1])?.id ?? null });
}

function takeTimeline({ object, first, kinds, scores, areas }) {
  const { rows, video } = store.state;
  if (!rows.has(object)) {
    const count = video?.frames ?? first + kinds.length;
    rows.set(object, {
      kinds: new Array(count).fill("."),
      scores: new Uint8Array(count),
      version: 0,
      areas: new Float32Array(count),
    });
  }
  const row = rows.get(object);
  row.version++;
  for (let at = 0; at < kinds.length; at++) {
    row.kinds[first + at] = kinds[at];
    row.scores[first + at] = scores[at];
    row.areas[first + at] = areas[at];
  }
  store.touch("rows");
}

function takeTimelineGone({ object }) {
  store.state.rows.delete(object);
  store.touch("rows");
}

/** Old masks stay in sight until the new ones are here: an empty picture in between would flicker. */
function takeStale({ first, last }) {
  for (const [frame, entry] of store.state.masks) if (first <= frame && frame <= last) entry.isStale = true;
  listeners.stale(first, last);
}

function onMasks(message) {
  const { header, masks } = readMasks(message);
  if (header.type === "preview") {
    listeners.preview(header, masks);
    return;
  }
  const { masks: kept } = store.state;
  kept.delete(header.frame);
  kept.set(header.frame, { byId: masks, isStale: false });
  if (kept.size > MOST_FRAMES) kept.delete(kept.keys().next().value);
  store.touch("masks");
}
