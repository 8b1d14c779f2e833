// From a key to the command that it means. Which keys there are is said in commands.js alone.

import { commandOfKey, run } from "./commands.js";
import { keep, recall } from "./kept.js";

/** Single letters can be turned off for people who dictate or whose hands rest on keys (WCAG 2.1.4). */
const LETTERS_KEY = "vidseg.single-keys";

export function lettersAreOn() {
  return recall(LETTERS_KEY) !== "off";
}

export function setLetters(isOn) {
  keep(LETTERS_KEY, isOn ? "on" : "off");
}

/** A key as commands.js writes it: `ctrl+shift+z`, `left`, `?`. Shift is not said with signs that need it anyway. */
function nameOfKey(event) {
  const key = NAMES[event.key] ?? event.key.toLowerCase();
  const isSign = key.length === 1 && key.toLowerCase() === key.toUpperCase();
  return [
    event.ctrlKey || event.metaKey ? "ctrl+" : "",
    event.altKey ? "alt+" : "",
    event.shiftKey && !isSign ? "shift+" : "",
    key,
  ].join("");
}

const NAMES = {
  " ": "space",
  ArrowLeft: "left",
  ArrowRight: "right",
  ArrowUp: "up",
  ArrowDown: "down",
  Escape: "esc",
};

export function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
    const name = nameOfKey(event);
    if (!mayAct(event.target, name)) return;
    const command = commandOfKey(name);
    if (!command) return;
    event.preventDefault();
    run(command.id, event);
  });
}

/** Whether a key means a command here, and not text in a field or the press of a button. */
function mayAct(target, name) {
  if (name.length === 1 && /[a-z0-9]/.test(name) && !lettersAreOn()) return false;
  if (target.matches("input:not([type=checkbox], [type=radio], [type=range], [type=color]), textarea, select"))
    return false;
  if (target.matches("input") && /^(left|right|up|down|home|end|space)$/.test(name)) return false;
  return !(target.matches("button, summary, a") && (name === "space" || name === "enter"));
}
