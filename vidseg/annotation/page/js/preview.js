// What a click here would give, while the pointer rests or moves slowly.

import { connection } from "./session.js";
import { chosenObject, store } from "./state.js";
import { TOOLS } from "./tools/tools.js";

const REST_MS = 40;

let timer = 0;
let isWaiting = false;
let asked = 0;
let wanted = null;

/** Ask for a preview at the pointer, if the tool has one. One question is on its way at a time. */
export function wantPreview() {
  clearTimeout(timer);
  const { pointer, tool, preview, isPlaying, connection: status } = store.state;
  const isPossible = pointer && TOOLS[tool].previews && !isPlaying && status === "open" && !chosenObject()?.locked;
  if (!isPossible) {
    wanted = null;
    if (preview) store.set({ preview: null });
    return;
  }
  wanted = pointer;
  timer = setTimeout(ask, REST_MS);
}

export function dropPreview() {
  clearTimeout(timer);
  wanted = null;
  asked = 0;
  store.set({ preview: null });
}

/** Take the answer to the last question; answers to others come too late. */
export function takePreview(header, masks) {
  if (header.n !== asked) return;
  const [[id, mask]] = masks.size ? masks : [[0, null]];
  store.set({ preview: mask && { frame: header.frame, object: id || null, mask } });
}

async function ask() {
  if (isWaiting || !wanted) return;
  const { x, y } = wanted;
  const { shown: frame, chosen: object } = store.state;
  isWaiting = true;
  wanted = null;
  try {
    const question = connection.act("hover", { frame, object, x, y });
    asked = question.number;
    await question;
  } catch {
    // A preview is a help: where there is none, the click will say why.
    store.set({ preview: null });
  } finally {
    isWaiting = false;
    if (wanted) ask();
    else if (!store.state.pointer) store.set({ preview: null });
  }
}
