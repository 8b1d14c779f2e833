// The column of tools at the left.

import { commandButton } from "../buttons.js";
import { byId, element } from "../dom.js";

const GROUPS = [
  ["click", "box", "lasso", "brush", "eraser"],
  ["clear"],
  ["pan", "zoom-in", "zoom-out", "fit", "loupe"],
  ["look", "crosshair"],
];

export function startToolbar() {
  const parts = GROUPS.flatMap((ids, at) => [
    at && element("span", { class: "divider" }),
    ...ids.map((id) => commandButton(id)),
  ]);
  byId("tools").append(...parts.filter(Boolean));
}
