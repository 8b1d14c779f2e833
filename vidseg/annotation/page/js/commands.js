// All that can be done by a key, once: buttons, the keyboard and the list under `?` are made from this table.

import * as actions from "./actions.js";
import { openExport } from "./dialogs/export.js";
import { askFrame } from "./dialogs/frame.js";
import { openKeys } from "./dialogs/keys.js";
import { askMerge } from "./dialogs/merge.js";
import { askNote } from "./dialogs/note.js";
import { openQueue } from "./dialogs/queue.js";
import { openVersions } from "./dialogs/versions.js";
import { rename } from "./panels/objects.js";
import { goTo, pause, play, SPEEDS, stepBy } from "./playback.js";
import { checkAndGoOn, goToDoubt, nextDoubt, toggleReviewed } from "./review.js";
import { giveUp, moveCrosshair, pressAtCrosshair, sized, viewport } from "./stage.js";
import { chosenObject, kindOn, markedSpan, promptOn, store } from "./state.js";
import { redraw } from "./redraw.js";
import { switchTheme } from "./theme.js";
import { TOOLS } from "./tools/tools.js";

/**
 * @typedef {Object} Command
 * @property {string} id
 * @property {string} group heading under `?`
 * @property {string} name what it does, in a person's words
 * @property {string[]} keys as keyboard.js names them, the first is the one that is shown
 * @property {string} [icon]
 * @property {(event?: KeyboardEvent) => void} run
 * @property {(state: Object) => boolean} [can] whether it is possible now
 * @property {(state: Object) => boolean} [isOn] whether it is switched on, for commands that are switches
 */

const s = store.state;
const hasVideo = () => Boolean(s.video);
const hasChosen = () => Boolean(chosenObject());
const isFree = () => hasChosen() && !chosenObject().locked;
const isIdle = () => hasVideo() && !s.job && s.prompts.length > 0;
const canTrack = () => isIdle() && (s.trackAll || s.chosen === null || isFree());

function tool(id, key, name, icon) {
  return { id, group: "Tools", name, keys: [key], icon, run: () => choose(id), isOn: () => s.tool === id };
}

function choose(id) {
  giveUp();
  store.set({ tool: id, preview: null });
}

function zoom(change) {
  change();
  redraw();
}

function chooseObject(step) {
  const place = s.objects.findIndex(({ id }) => id === s.chosen);
  const next = s.objects[place < 0 ? 0 : (place + step + s.objects.length) % s.objects.length];
  if (next) store.set({ chosen: next.id });
}

function setMark(which) {
  store.set({ marks: { ...s.marks, [which]: s.marks[which] === s.frame ? null : s.frame } });
}

function crosshairOr(step, dx, dy) {
  return (event) => (s.isCrosshairOn ? moveCrosshair(dx, dy) : step(event));
}

function toggleMarkedAbsent() {
  const { first, last } = markedSpan();
  let isAbsent = true;
  for (let frame = first; frame <= last; frame++) isAbsent &&= kindOn(s.chosen, frame) === "X";
  actions.setAbsent(s.chosen, first, last, !isAbsent);
}

/** @type {Command[]} */
export const COMMANDS = [
  tool("click", "c", "Click", "click"),
  tool("box", "b", "Box", "box"),
  tool("lasso", "l", "Lasso", "lasso"),
  tool("brush", "d", "Brush (draw)", "brush"),
  tool("eraser", "e", "Eraser", "eraser"),
  tool("pan", "h", "Move the picture (hand)", "hand"),
  { id: "smaller", group: "Tools", name: "Thinner brush", keys: ["["], run: () => store.set({ brushPx: sized(s.brushPx / 1.2 - 1) }) },
  { id: "larger", group: "Tools", name: "Thicker brush", keys: ["]"], run: () => store.set({ brushPx: sized(s.brushPx * 1.2 + 1) }) },
  { id: "clear", group: "Tools", name: "Take back all clicks and drawings of the object on this frame", keys: ["backspace"], icon: "clear", run: actions.clearPrompt, can: () => isFree() && Boolean(promptOn(s.chosen, s.shown)) },
  { id: "crosshair", group: "Without a mouse", name: "Crosshair on or off", keys: ["k"], icon: "crosshair", run: toggleCrosshair, can: hasVideo, isOn: () => s.isCrosshairOn },
  { id: "press", group: "Without a mouse", name: "Press at the crosshair; for boxes and drawings press again to let go", keys: ["enter"], run: () => pressAtCrosshair(0), can: () => s.isCrosshairOn },
  { id: "press-off", group: "Without a mouse", name: "The same with the right button", keys: ["shift+enter"], run: () => pressAtCrosshair(2), can: () => s.isCrosshairOn },
  { id: "nudge-left", group: "Without a mouse", name: "Move the crosshair by one step, finely", keys: ["shift+left", "shift+right", "shift+up", "shift+down"], run: nudge, can: hasVideo },

  { id: "play", group: "Going through the video", name: "Play or pause", keys: ["space"], icon: "play", run: () => (s.isPlaying ? pause() : play()), can: hasVideo },
  { id: "step-back", group: "Going through the video", name: "Previous frame", keys: ["left", ","], icon: "step-back", run: crosshairOr(() => stepBy(-1), -12, 0), can: hasVideo },
  { id: "step-forward", group: "Going through the video", name: "Next frame", keys: ["right", "."], icon: "step-forward", run: crosshairOr(() => stepBy(1), 12, 0), can: hasVideo },
  { id: "back-ten", group: "Going through the video", name: "Ten frames back", keys: ["pageup"], run: () => stepBy(-10), can: hasVideo },
  { id: "forward-ten", group: "Going through the video", name: "Ten frames on", keys: ["pagedown"], run: () => stepBy(10), can: hasVideo },
  { id: "first", group: "Going through the video", name: "First frame", keys: ["home"], icon: "first", run: () => stepBy(-Infinity), can: hasVideo },
  { id: "last", group: "Going through the video", name: "Last frame", keys: ["end"], icon: "last", run: () => stepBy(Infinity), can: hasVideo },
  { id: "go-to", group: "Going through the video", name: "Go to a frame by its number", keys: ["g"], run: askFrame, can: hasVideo },
  { id: "speed", group: "Going through the video", name: "Playing speed", keys: ["x"], run: () => store.set({ speed: SPEEDS[(SPEEDS.indexOf(s.speed) + 1) % SPEEDS.length] }) },
  { id: "mark-first", group: "Going through the video", name: "Set or remove the in mark", keys: ["i"], icon: "mark-in", run: () => setMark("first"), can: hasVideo, isOn: () => s.marks.first !== null },
  { id: "mark-last", group: "Going through the video", name: "Set or remove the out mark", keys: ["o"], icon: "mark-out", run: () => setMark("last"), can: hasVideo, isOn: () => s.marks.last !== null },

  { id: "new-object", group: "Objects", name: "New object", keys: ["a"], icon: "plus", run: actions.beginObject, can: hasVideo },
  { id: "object-up", group: "Objects", name: "Choose the object above", keys: ["up"], run: crosshairOr(() => chooseObject(-1), 0, -12), can: () => s.isCrosshairOn || s.objects.length > 0 },
  { id: "object-down", group: "Objects", name: "Choose the object below", keys: ["down"], run: crosshairOr(() => chooseObject(1), 0, 12), can: () => s.isCrosshairOn || s.objects.length > 0 },
  ...Array.from({ length: 9 }, (_, at) => ({ id: `object-${at + 1}`, group: "Objects", name: at ? "" : "Choose the first to ninth object", keys: [`${at + 1}`], run: () => store.set({ chosen: s.objects[at].id }), can: () => at < s.objects.length })),
  { id: "rename", group: "Objects", name: "Label", keys: ["f2", "w"], icon: "pencil", run: () => rename(s.chosen), can: hasChosen },
  { id: "visible", group: "Objects", name: "Show or hide", keys: ["v"], icon: "eye", run: () => actions.setObject(s.chosen, { visible: !chosenObject().visible }), can: hasChosen },
  { id: "locked", group: "Objects", name: "Lock or unlock", keys: ["q"], icon: "lock", run: () => actions.setObject(s.chosen, { locked: !chosenObject().locked }), can: hasChosen },
  { id: "merge", group: "Objects", name: "Merge into another object", keys: ["m"], icon: "merge", run: askMerge, can: () => isFree() && s.objects.length > 1 },
  { id: "delete", group: "Objects", name: "Delete", keys: ["delete"], icon: "trash", run: () => actions.removeObject(s.chosen), can: isFree },

  { id: "track-forward", group: "Tracking", name: "Track forward", keys: ["t"], icon: "track-forward", run: () => actions.track("forward", { first: s.frame }), can: canTrack },
  { id: "track-backward", group: "Tracking", name: "Track backward", keys: ["shift+t"], icon: "track-backward", run: () => actions.track("backward", { last: s.frame }), can: canTrack },
  { id: "track-both", group: "Tracking", name: "Track whole video", keys: ["y"], icon: "track-both", run: () => actions.track("both"), can: canTrack },
  { id: "track-between", group: "Tracking", name: "Track between marks", keys: ["u"], icon: "track-between", run: () => actions.track("both", markedSpan()), can: () => canTrack() && Boolean(markedSpan()) },
  { id: "retrack", group: "Tracking", name: "Carry correction on", keys: ["r"], icon: "redo", run: actions.retrack, can: () => canRetrack() },
  { id: "track-all", group: "Tracking", name: "Track all objects, or the chosen one", keys: ["shift+a"], run: () => store.set({ trackAll: !s.trackAll }), isOn: () => s.trackAll },
  { id: "stop", group: "Tracking", name: "Stop tracking", keys: ["s"], icon: "stop", run: actions.cancelJob, can: () => Boolean(s.job) },
  { id: "absent", group: "Tracking", name: "Object is out of sight between the marks, or not", keys: ["j"], run: toggleMarkedAbsent, can: () => isFree() && Boolean(markedSpan()) },
  { id: "absent-drag", group: "Tracking", name: "Mark out of sight by dragging on the timeline", keys: ["shift+j"], icon: "absent", run: () => store.set({ marksAbsent: !s.marksAbsent }), can: () => s.objects.length > 0, isOn: () => s.marksAbsent },

  { id: "next-doubt", group: "Checking", name: "Next doubtful frame", keys: ["n"], icon: "next-doubt", run: () => goToDoubt(1), can: () => nextDoubt(1) !== null },
  { id: "previous-doubt", group: "Checking", name: "Previous doubtful frame", keys: ["p"], icon: "previous-doubt", run: () => goToDoubt(-1), can: () => nextDoubt(-1) !== null },
  { id: "reviewed", group: "Checking", name: "Mark as checked (this frame, or between the marks)", keys: ["z"], icon: "check", run: toggleReviewed, can: hasVideo },
  { id: "check-next", group: "Checking", name: "Mark the doubtful frames here as checked, and go to the next ones", keys: ["shift+n"], run: checkAndGoOn, can: hasVideo },
  { id: "flag", group: "Checking", name: "Flag with a note", keys: ["f"], icon: "flag", run: askNote, can: hasVideo },

  { id: "undo", group: "Project", name: "Undo", keys: ["ctrl+z"], icon: "undo", run: actions.undo, can: () => Boolean(s.history.undo) },
  { id: "redo", group: "Project", name: "Redo", keys: ["ctrl+shift+z", "ctrl+y"], icon: "redo", run: actions.redo, can: () => Boolean(s.history.redo) },
  { id: "versions", group: "Project", name: "Earlier versions", keys: ["shift+v"], icon: "history", run: openVersions, can: hasVideo },
  { id: "export", group: "Project", name: "Export", keys: ["shift+e"], icon: "export", run: openExport, can: hasVideo },
  { id: "queue", group: "Project", name: "Videos", keys: ["shift+q"], icon: "film", run: openQueue, can: () => s.queue.length > 1 },

  { id: "zoom-in", group: "View", name: "Zoom in", keys: ["+", "="], icon: "zoom-in", run: () => zoom(() => viewport.zoomBy(1.25)), can: hasVideo },
  { id: "zoom-out", group: "View", name: "Zoom out", keys: ["-"], icon: "zoom-out", run: () => zoom(() => viewport.zoomBy(0.8)), can: hasVideo },
  { id: "fit", group: "View", name: "Whole picture", keys: ["0"], icon: "fit", run: () => zoom(() => viewport.fit()), can: hasVideo },
  { id: "pan-by-key", group: "View", name: "Move the picture", keys: ["ctrl+left", "ctrl+right", "ctrl+up", "ctrl+down"], run: panByKey, can: hasVideo },
  { id: "loupe", group: "View", name: "Loupe", keys: ["shift+l"], icon: "loupe", run: () => store.set({ isLoupeOn: !s.isLoupeOn }), isOn: () => s.isLoupeOn },
  { id: "look", group: "View", name: "Masks filled, as outlines, or off", keys: ["shift+m"], icon: "contrast", run: () => store.set({ look: { filled: "outline", outline: "off", off: "filled" }[s.look] }) },
  { id: "theme", group: "View", name: "Light or dark", keys: ["shift+d"], icon: "sun", run: switchTheme },
  { id: "give-up", group: "View", name: "Give up what is being drawn; leave the crosshair", keys: ["esc"], run: leave },
  { id: "keys", group: "View", name: "All keys", keys: ["?"], icon: "help", run: openKeys },
];

const byId = new Map(COMMANDS.map((command) => [command.id, command]));
const byKey = new Map(COMMANDS.flatMap((command) => command.keys.map((key) => [key, command])));

export function commandOf(id) {
  return byId.get(id);
}

export function commandOfKey(key) {
  return byKey.get(key);
}

export function isPossible(command) {
  return command.can?.(s) ?? true;
}

export function run(id, event) {
  const command = byId.get(id);
  if (isPossible(command)) command.run(event);
}

/** Keys for people: `Ctrl+Shift+Z`, `←`. */
export function shownKey(key) {
  return key.split("+").length > 1 && key !== "+" ? key.split("+").map(shownPart).join("+") : shownPart(key);
}

function shownPart(part) {
  const names = { left: "←", right: "→", up: "↑", down: "↓", pageup: "Page Up", pagedown: "Page Down" };
  return names[part] ?? part.charAt(0).toUpperCase() + part.slice(1);
}

/** The last correction can be carried on, or what was said on this frame, where it was tracked around it. */
function canRetrack() {
  if (s.job || !isFree()) return false;
  return s.corrected?.object === s.chosen || (Boolean(promptOn(s.chosen, s.shown)) && actions.hasTrackedNeighbours(s.chosen, s.shown));
}

function toggleCrosshair() {
  if (s.isCrosshairOn) return store.set({ isCrosshairOn: false, pointer: null, preview: null });
  document.getElementById("picture").focus();
  store.set({ isCrosshairOn: true });
  moveCrosshair(0, 0);
}

/** Finely by the crosshair if it is on; ten frames where it is not. */
function nudge(event) {
  const [dx, dy] = DIRECTIONS[event.key];
  if (s.isCrosshairOn) moveCrosshair(dx, dy);
  else if (dx) stepBy(10 * dx);
}

function panByKey(event) {
  const [dx, dy] = DIRECTIONS[event.key];
  zoom(() => viewport.panBy(-80 * dx, -80 * dy));
}

const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function leave() {
  if (giveUp()) return;
  store.set({ isCrosshairOn: false, marksAbsent: false, preview: null });
}
