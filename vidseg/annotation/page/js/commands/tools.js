// Tools, and the crosshair that the keyboard moves.

import * as actions from "../actions.js";
import { stepBy } from "../playback.js";
import { giveUp, moveCrosshair, pressAtCrosshair, sized } from "../stage.js";
import { promptOn, store } from "../state.js";
import { DIRECTIONS, group, hasVideo, isFree, s } from "./conditions.js";

export const TOOLS = [
  ...group("Tools", [
    tool("click", "c", "Click", "click"),
    tool("box", "b", "Box", "box"),
    tool("lasso", "l", "Lasso", "lasso"),
    tool("brush", "d", "Brush (draw)", "brush"),
    tool("eraser", "e", "Eraser", "eraser"),
    tool("pan", "h", "Move the picture (hand)", "hand"),
    {
      id: "smaller",
      name: "Thinner brush",
      keys: ["["],
      run: () => store.set({ brushPx: sized(s.brushPx / 1.2 - 1) }),
    },
    {
      id: "larger",
      name: "Thicker brush",
      keys: ["]"],
      run: () => store.set({ brushPx: sized(s.brushPx * 1.2 + 1) }),
    },
    {
      id: "clear",
      name: "Take back all clicks and drawings of the object on this frame",
      keys: ["backspace"],
      icon: "clear",
      run: actions.clearPrompt,
      can: () => isFree() && Boolean(promptOn(s.chosen, s.shown)),
    },
  ]),
  ...group("Without a mouse", [
    {
      id: "crosshair",
      name: "Crosshair on or off",
      keys: ["k"],
      icon: "crosshair",
      run: toggleCrosshair,
      can: hasVideo,
      isOn: () => s.isCrosshairOn,
    },
    {
      id: "press",
      name: "Press at the crosshair; for boxes and drawings press again to let go",
      keys: ["enter"],
      run: () => pressAtCrosshair(0),
      can: () => s.isCrosshairOn,
    },
    {
      id: "press-off",
      name: "The same with the right button",
      keys: ["shift+enter"],
      run: () => pressAtCrosshair(2),
      can: () => s.isCrosshairOn,
    },
    {
      id: "nudge",
      name: "Move the crosshair by one step, finely",
      keys: ["shift+left", "shift+right", "shift+up", "shift+down"],
      run: nudge,
      can: hasVideo,
    },
  ]),
];

function tool(id, key, name, icon) {
  return { id, name, keys: [key], icon, run: () => choose(id), isOn: () => s.tool === id };
}

function choose(id) {
  giveUp();
  store.set({ tool: id, preview: null });
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
