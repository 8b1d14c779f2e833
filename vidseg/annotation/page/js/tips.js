// A small label at any control with `data-tip`, when it is pointed at or reached by the keyboard; Escape puts it away.

import { element } from "./dom.js";

const DELAY_MS = 350;
const GAP_PX = 6;

let tip = null;
let timer = 0;

export function showTips() {
  const at = (event) => event.target.closest?.("[data-tip]");
  document.addEventListener("pointerover", (event) => later(at(event), DELAY_MS));
  document.addEventListener("pointerdown", hide);
  document.addEventListener("focusin", (event) => {
    const control = at(event);
    if (control?.matches(":focus-visible")) later(control, 0);
  });
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", hide);
}

function later(control, delay) {
  hide();
  if (control) timer = setTimeout(() => show(control), delay);
}

function hide() {
  clearTimeout(timer);
  tip?.remove();
  tip = null;
}

function show(control) {
  if (!control.isConnected) return;
  const { tip: text, keys } = control.dataset;
  tip = element("div", { class: "tip", "aria-hidden": "true" }, text, keys && element("kbd", {}, keys));
  document.body.append(tip);
  const box = control.getBoundingClientRect();
  const isAtSide = control.closest("#tools");
  const left = isAtSide ? box.right + GAP_PX : box.left + box.width / 2 - tip.offsetWidth / 2;
  const below = box.bottom + GAP_PX;
  const isBelow = below + tip.offsetHeight < innerHeight;
  const top = isAtSide
    ? box.top + box.height / 2 - tip.offsetHeight / 2
    : isBelow
      ? below
      : box.top - GAP_PX - tip.offsetHeight;
  tip.style.left = `${Math.min(Math.max(left, GAP_PX), innerWidth - tip.offsetWidth - GAP_PX)}px`;
  tip.style.top = `${Math.min(Math.max(top, GAP_PX), innerHeight - tip.offsetHeight - GAP_PX)}px`;
}
