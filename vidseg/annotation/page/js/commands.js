// All that can be done by a key, once: buttons, the keyboard and the list under `?` are made from these tables.

import { CHECKING } from "./commands/checking.js";
import { OBJECTS } from "./commands/objects.js";
import { PLAYING } from "./commands/playing.js";
import { PROJECT } from "./commands/project.js";
import { TOOLS } from "./commands/tools.js";
import { TRACKING } from "./commands/tracking.js";
import { store } from "./state.js";

/**
 * @typedef {Object} Command
 * @property {string} id
 * @property {string} group heading under `?`
 * @property {string} name what it does, in a person's words
 * @property {string[]} keys as keyboard.js names them, the first is the one that is shown
 * @property {string} [icon]
 * @property {(event?: KeyboardEvent) => void} run
 * @property {(state: Object) => boolean} [can] whether it is possible now
 * @property {(state: Object) => boolean} [isOn] whether it is switched on, for commands that are switches
 */

/** @type {Command[]} */
export const COMMANDS = [...TOOLS, ...PLAYING, ...OBJECTS, ...TRACKING, ...CHECKING, ...PROJECT];

const byId = new Map(COMMANDS.map((command) => [command.id, command]));
const byKey = new Map(COMMANDS.flatMap((command) => command.keys.map((key) => [key, command])));

export function commandOf(id) {
  return byId.get(id);
}

export function commandOfKey(key) {
  return byKey.get(key);
}

export function isPossible(command) {
  return command.can?.(store.state) ?? true;
}

export function run(id, event) {
  const command = byId.get(id);
  if (isPossible(command)) command.run(event);
}

/** Keys for people: `Ctrl+Shift+Z`, `←`. */
export function shownKey(key) {
  return key.split("+").length > 1 && key !== "+" ? key.split("+").map(shownPart).join("+") : shownPart(key);
}

function shownPart(part) {
  const names = { left: "←", right: "→", up: "↑", down: "↓", pageup: "Page Up", pagedown: "Page Down" };
  return names[part] ?? part.charAt(0).toUpperCase() + part.slice(1);
}
