// Buttons of commands: name, icon, key, and whether they are possible or on, all from commands.js.

import { commandOf, isPossible, run, shownKey } from "./commands.js";
import { element, icon } from "./dom.js";
import { store } from "./state.js";

/**
 * @param {string} id of the command
 * @param {{text?: string, small?: boolean, class?: string, tip?: string}} [look] without `text` the button is an icon alone
 */
export function commandButton(id, { text, small, class: extra = "", tip } = {}) {
  const command = commandOf(id);
  const key = shownKey(command.keys[0]);
  const kind = text ? "" : "button-icon";
  return element(
    "button",
    {
      type: "button",
      class: `button ${kind} ${small ? "button-small" : ""} ${extra}`,
      "aria-label": text ? undefined : command.name,
      "aria-keyshortcuts": command.keys[0]
        .replace("ctrl", "Control")
        .replace(/\b[a-z]/g, (letter) => letter.toUpperCase()),
      data: { command: id, key: `command-${id}`, tip: tip ?? command.name, keys: key },
      on: { click: () => run(id) },
    },
    command.icon && icon(command.icon),
    text,
  );
}

/** Keep all buttons of commands true to the state. */
export function refreshButtons() {
  for (const node of document.querySelectorAll("[data-command]")) {
    const command = commandOf(node.dataset.command);
    set(node, "aria-disabled", isPossible(command) ? null : "true");
    if (command.isOn) set(node, "aria-pressed", String(command.isOn(store.state)));
  }
}

function set(node, name, value) {
  if (node.getAttribute(name) === value) return;
  if (value === null) node.removeAttribute(name);
  else node.setAttribute(name, value);
}
