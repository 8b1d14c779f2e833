// What a person can do to the project. Each is one act of the protocol; the server answers with the new state.

import { dropPreview } from "./preview.js";
import { connection } from "./session.js";
import { chosenObject, correctedFrame, kindOn, nameOf, promptOn, store } from "./state.js";
import { toast } from "./toasts.js";

/** The id of the object that the prompt in hand makes, null if it is refused; a promise until the server has answered. */
let making = null;

/** Send an act; a refusal is shown. @returns {Promise<Object|null>} null if it was refused */
export async function send(act, fields = {}) {
  store.set({ pending: store.state.pending + 1 });
  try {
    return await connection.act(act, fields);
  } catch (error) {
    toast(error.message, "bad");
    return null;
  } finally {
    store.set({ pending: store.state.pending - 1 });
  }
}

/** Whether an object was tracked on a frame beside this one: a prompt here then corrects it. */
export function hasTrackedNeighbours(object, frame) {
  return [frame - 1, frame + 1].some((other) => "vua".includes(kindOn(object, other)));
}

/** A prompt for the chosen object on the frame in sight, or for a new object, which is then chosen. */
async function prompt(act, fields) {
  const { shown: frame, chosen } = store.state;
  if (chosenObject()?.locked) {
    toast(`${nameOf(chosenObject())} is locked. Unlock it to change its mask.`, "bad");
    return;
  }
  dropPreview();
  let object = chosen;
  // A fast hand says more of a new object before the server has given it an id.
  while (object === null && making) object = await making;
  if (object === null) return make(act, { frame, object, ...fields });
  const isCorrection = hasTrackedNeighbours(object, frame);
  const done = await send(act, { frame, object, ...fields });
  if (done && isCorrection) store.set({ corrected: { object, frame } });
}

/** A prompt for a new object, which is chosen if nobody has chosen or begun another one meanwhile. */
async function make(act, fields) {
  store.set({ making: store.state.making + 1 });
  const answer = send(act, fields);
  const made = answer.then((done) => done?.object ?? null);
  making = made;
  const done = await answer;
  store.set({ making: store.state.making - 1 });
  if (making !== made) return;
  making = null;
  if (done && store.state.chosen === null) store.set({ chosen: done.object });
}

export function addPoint(x, y, isOn) {
  if (!isOn && store.state.chosen === null && !making) {
    toast("Click the object itself first; then a right click takes away what does not belong to it.");
    return;
  }
  return prompt("click", { x, y, on: isOn });
}

export function removePoint(point) {
  return send("unprompt", { frame: store.state.shown, object: store.state.chosen, point });
}

export function setBox(box) {
  return prompt("box", { box });
}

/** @param {import("./tools/drawing.js").Drawing} drawing */
export async function draw(drawing) {
  const pending = { frame: store.state.shown, drawing };
  store.set({ drawn: [...store.state.drawn, pending] });
  const points = drawing.points.map(({ x, y }) => [x, y]);
  const mode = drawing.isErasing ? "erase" : "add";
  if (drawing.kind === "area") await prompt("lasso", { points, mode });
  else await prompt("brush", { points, mode, radius: drawing.radius });
  store.set({ drawn: store.state.drawn.filter((other) => other !== pending) });
}

export function clearPrompt() {
  const { shown: frame, chosen: object } = store.state;
  if (promptOn(object, frame)) return send("unprompt", { frame, object });
}

/** Begin with a new object: the next prompt makes it. */
export function beginObject() {
  making = null;
  store.set({ chosen: null });
}

export function setObject(object, changes) {
  return send("set_object", { object, ...changes });
}

export function removeObject(object) {
  return send("remove_object", { object });
}

export async function mergeObjects(object, into) {
  if (await send("merge_objects", { object, into })) store.set({ chosen: into });
}

export function setAbsent(object, first, last, isOn) {
  return send("absent", { object, first, last, on: isOn });
}

/** @param {"forward"|"backward"|"both"} direction @param {{first?: number, last?: number}} [bounds] */
export async function track(direction, bounds = {}) {
  const { trackAll, chosen } = store.state;
  store.set({ corrected: null });
  await send("track", { objects: trackAll || chosen === null ? null : [chosen], direction, ...bounds });
}

export function retrack() {
  const { chosen, shown } = store.state;
  const frame = correctedFrame() ?? shown;
  store.set({ corrected: null });
  return send("retrack", { object: chosen, frame });
}

export function cancelJob() {
  return send("cancel");
}

export function setReviewed(first, last, isOn) {
  return send("reviewed", { first, last, on: isOn });
}

export function setFlag(frame, note) {
  return send("flag", { frame, note });
}

export function undo() {
  return send("undo");
}

export function redo() {
  return send("redo");
}
