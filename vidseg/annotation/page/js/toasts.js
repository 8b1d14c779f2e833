// Short messages over the picture, where they hide no control: what failed, and what was done out of sight.

import { byId, element, icon } from "./dom.js";

const SHOWN_MS = 6000;
const MOST = 4;
const ICONS = { bad: "warning", good: "check", plain: "help" };

/**
 * @param {string} text what happened; for failures also how to mend it
 * @param {"plain"|"good"|"bad"} kind failures stay until they are closed
 */
export function toast(text, kind = "plain") {
  const toasts = byId("toasts");
  const same = [...toasts.children].find((child) => child.dataset.text === text);
  same?.remove();
  const card = element(
    "div",
    { class: `toast toast-${kind}`, data: { text } },
    icon(ICONS[kind]),
    element("p", {}, text),
    element(
      "button",
      { class: "button button-icon button-small", "aria-label": "Close message", on: { click: () => card.remove() } },
      icon("close"),
    ),
  );
  toasts.append(card);
  while (toasts.children.length > MOST) toasts.firstChild.remove();
  if (kind !== "bad") setTimeout(() => card.remove(), SHOWN_MS);
}
