// All keys, by group, from the table of commands.

import { COMMANDS, shownKey } from "../commands.js";
import { element } from "../dom.js";
import { lettersAreOn, setLetters } from "../keyboard.js";
import { mainButton, openDialog } from "./dialog.js";

const MOUSE = [
  ["Click tool: part of the object, or not", "left, right button"],
  ["Draw, or erase", "left, right button"],
  ["Choose the object under the pointer", "Alt + click"],
  ["Zoom", "wheel"],
  ["Brush size", "Alt + wheel"],
  ["Move the picture", "middle button, or Ctrl + drag"],
  ["Out of sight", "Shift + drag on an object's row"],
  ["Zoom the timeline", "wheel on the timeline"],
];

export function openKeys() {
  const groups = new Map();
  for (const command of COMMANDS.filter(({ name }) => name))
    groups.set(command.group, [...(groups.get(command.group) ?? []), command]);
  const letters = element("input", {
    type: "checkbox",
    checked: lettersAreOn(),
    on: { change: () => setLetters(letters.checked) },
  });
  openDialog({
    title: "Keys",
    isWide: true,
    body: [
      element(
        "div",
        { class: "keys" },
        ...[...groups].map(([title, commands]) => section(title, commands.map(row))),
        section("Mouse", MOUSE.map(mouseRow)),
      ),
      element(
        "label",
        { class: "choice" },
        letters,
        element(
          "span",
          {},
          "Single letters and numbers are keys",
          element("small", {}, "Turn this off if you dictate text or press letters by accident."),
        ),
      ),
    ],
    feet: [mainButton("Close", { autofocus: true })],
  });
}

function section(title, rows) {
  return element("section", {}, element("h3", {}, title), element("dl", {}, ...rows.flat()));
}

function row({ name, keys }) {
  const isDigit = keys[0] === "1";
  const parts = isDigit
    ? [element("kbd", {}, "1"), " … ", element("kbd", {}, "9")]
    : keys.slice(0, 2).flatMap((key, at) => [at ? " " : null, element("kbd", {}, shownKey(key))]);
  return [element("dt", {}, name), element("dd", {}, ...parts)];
}

function mouseRow([name, how]) {
  return [element("dt", {}, name), element("dd", { class: "quiet" }, how)];
}
