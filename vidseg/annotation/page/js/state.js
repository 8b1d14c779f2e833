// The page's one store: what the server said (see docs/annotate_protocol.md) and what this page alone knows.

import { Store } from "./store.js";

/** Labels of what `kinds` of the timeline mean, for people. */
export const KINDS = {
  ".": "not tracked",
  v: "tracked",
  u: "uncertain",
  a: "out of sight",
  P: "from your clicks",
  D: "drawn by you",
  X: "set absent by you",
};

export const REASONS = {
  low_score: "The tracker is unsure",
  area_jump: "The size jumps",
  objects_merge: "Two objects overlap",
  scene_cut: "The scene changes",
};

/** What the server says, before it has said anything. */
const FROM_SERVER = {
  video: null,
  queue: [],
  tracker: "",
  folder: "",
  objects: [],
  prompts: [],
  absent: [],
  reviewed: [],
  flags: [],
  doubts: [],
  progress: { tracked: 0, reviewed: 0, frames: 0, doubtful: 0 },
  history: { undo: null, redo: null, depth: 0, versions: [] },
  job: null,
  formats: [],
};

export const SERVER_KEYS = Object.keys(FROM_SERVER);

export const store = new Store({
  ...FROM_SERVER,
  connection: "connecting", // or open, lost, refused
  pending: 0, // acts that the server has not answered
  making: 0, // those of them that make a new object
  chosen: null, // id of the object that prompts go to; null: the next prompt makes a new one
  frame: 0, // where the playhead is
  shown: 0, // the frame whose picture is on the screen; behind `frame` while its picture is on the way
  isPlaying: false,
  speed: 1,
  tool: "click",
  brushPx: 24, // in pixels of the video
  look: "filled", // how masks are shown; or outline, off
  marks: { first: null, last: null },
  trackAll: false, // whether tracking is for all objects or for the chosen one
  marksAbsent: false, // whether dragging on an object's row of the timeline sets it absent
  isLoupeOn: false,
  isCrosshairOn: false,
  pointer: null, // {x, y, unitsPerPx} in pixels of the video
  preview: null, // {frame, object, mask}: what a click here would give
  corrected: null, // {object, frame}: a correction that was not carried on to other frames yet
  drawn: [], // drawings that the server has not answered yet
  masks: new Map(), // frame -> {byId: Map(object id -> Mask), isStale}
  rows: new Map(), // object id -> {kinds: string[], scores: Uint8Array, areas: Float32Array, version}
  missing: null, // {frame, message}: a picture that cannot be had
});

export function objectOf(id) {
  return store.state.objects.find((object) => object.id === id) ?? null;
}

export function chosenObject() {
  return objectOf(store.state.chosen);
}

/** What an object is called where it has no label. */
export function nameOf(object) {
  return object.label || `Object ${object.id}`;
}

/** Masks by object id on a frame; undefined where they are not here. */
export function masksOn(frame) {
  return store.state.masks.get(frame)?.byId;
}

const indexes = new WeakMap();

/** The prompt of an object on a frame, or undefined. */
export function promptOn(id, frame) {
  const { prompts } = store.state;
  if (!indexes.has(prompts))
    indexes.set(prompts, new Map(prompts.map((prompt) => [`${prompt.object} ${prompt.frame}`, prompt])));
  return indexes.get(prompts).get(`${id} ${frame}`);
}

/** The frame of a correction of the chosen object that was neither carried on nor taken back; null if there is none. */
export function correctedFrame() {
  const { chosen, corrected } = store.state;
  return corrected?.object === chosen && promptOn(chosen, corrected.frame) ? corrected.frame : null;
}

/** Whether a person said that an object is out of sight on a frame. */
export function isSetAbsent(id, frame) {
  return store.state.absent.some(({ object, first, last }) => object === id && first <= frame && frame <= last);
}

/** Letter of the timeline for an object on a frame. */
export function kindOn(id, frame) {
  if (isSetAbsent(id, frame)) return "X";
  return store.state.rows.get(id)?.kinds[frame] ?? ".";
}

export function isReviewed(frame) {
  return store.state.reviewed.some(([first, last]) => first <= frame && frame <= last);
}

export function flagOn(frame) {
  return store.state.flags.find((flag) => flag.frame === frame) ?? null;
}

export function doubtsOn(frame) {
  return store.state.doubts.filter(({ frames: [first, last] }) => first <= frame && frame <= last);
}

/** The span between the marks, both set and in order; null otherwise. */
export function markedSpan() {
  const { first, last } = store.state.marks;
  return first === null || last === null ? null : { first: Math.min(first, last), last: Math.max(first, last) };
}
