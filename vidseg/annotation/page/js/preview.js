// What a click here would give, while the pointer rests or moves slowly.

import { connection } from "./session.js";
import { chosenObject, store } from "./state.js";
import { TOOLS } from "./tools/tools.js";

const REST_MS = 40;

let timer = 0;
let isWaiting = false;
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
  store.set({ preview: null });
}

async function ask() {
  if (isWaiting || !wanted) return;
  const { x, y } = wanted;
  const { shown: frame, chosen: object } = store.state;
  isWaiting = true;
  wanted = null;
  try {
    await connection.act("hover", { frame, object, x, y });
  } catch {
    // A preview is a help: where there is none, the click will say why.
    store.set({ preview: null });
  } finally {
    isWaiting = false;
    if (wanted) ask();
    else if (!store.state.pointer) store.set({ preview: null });
  }
}
