// The project as a whole, and how it is looked at.

import * as actions from "../actions.js";
import { openExport } from "../dialogs/export.js";
import { openKeys } from "../dialogs/keys.js";
import { openQueue } from "../dialogs/queue.js";
import { openVersions } from "../dialogs/versions.js";
import { redraw } from "../redraw.js";
import { giveUp, viewport } from "../stage.js";
import { store } from "../state.js";
import { switchTheme } from "../theme.js";
import { giveUpDrag } from "../timeline/timeline.js";
import { DIRECTIONS, group, hasVideo, s } from "./conditions.js";

export const PROJECT = [
  ...group("Project", [
    {
      id: "undo",
      name: "Undo",
      keys: ["ctrl+z"],
      icon: "undo",
      run: actions.undo,
      can: () => Boolean(s.history.undo),
    },
    {
      id: "redo",
      name: "Redo",
      keys: ["ctrl+shift+z", "ctrl+y"],
      icon: "redo",
      run: actions.redo,
      can: () => Boolean(s.history.redo),
    },
    {
      id: "versions",
      name: "Earlier versions",
      keys: ["shift+v"],
      icon: "history",
      run: openVersions,
      can: hasVideo,
    },
    { id: "export", name: "Export", keys: ["shift+e"], icon: "export", run: openExport, can: hasVideo },
    {
      id: "queue",
      name: "Videos",
      keys: ["shift+q"],
      icon: "film",
      run: openQueue,
      can: () => s.queue.length > 1,
    },
  ]),
  ...group("View", [
    {
      id: "zoom-in",
      name: "Zoom in",
      keys: ["+", "="],
      icon: "zoom-in",
      run: () => zoom(() => viewport.zoomBy(1.25)),
      can: hasVideo,
    },
    {
      id: "zoom-out",
      name: "Zoom out",
      keys: ["-"],
      icon: "zoom-out",
      run: () => zoom(() => viewport.zoomBy(0.8)),
      can: hasVideo,
    },
    {
      id: "fit",
      name: "Whole picture",
      keys: ["0"],
      icon: "fit",
      run: () => zoom(() => viewport.fit()),
      can: hasVideo,
    },
    {
      id: "pan-by-key",
      name: "Move the picture",
      keys: ["ctrl+left", "ctrl+right", "ctrl+up", "ctrl+down"],
      run: panByKey,
      can: hasVideo,
    },
    {
      id: "loupe",
      name: "Loupe",
      keys: ["shift+l"],
      icon: "loupe",
      run: () => store.set({ isLoupeOn: !s.isLoupeOn }),
      isOn: () => s.isLoupeOn,
    },
    {
      id: "look",
      name: "Masks filled, as outlines, or off",
      keys: ["shift+m"],
      icon: "contrast",
      run: () => store.set({ look: { filled: "outline", outline: "off", off: "filled" }[s.look] }),
    },
    { id: "theme", name: "Light or dark", keys: ["shift+d"], icon: "sun", run: switchTheme },
    { id: "give-up", name: "Give up what is being drawn; leave the crosshair", keys: ["esc"], run: leave },
    { id: "keys", name: "All keys", keys: ["?"], icon: "help", run: openKeys },
  ]),
];

function zoom(change) {
  change();
  redraw();
}

function panByKey(event) {
  const [dx, dy] = DIRECTIONS[event.key];
  zoom(() => viewport.panBy(-80 * dx, -80 * dy));
}

function leave() {
  if (giveUp() || giveUpDrag()) return;
  store.set({ isCrosshairOn: false, marksAbsent: false, preview: null });
}
