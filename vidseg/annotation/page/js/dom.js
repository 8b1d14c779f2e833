// Builds elements. Text always becomes text nodes: nothing that a project holds is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element.
 *
 * @param {string} tag
 * @param {Object} [properties] `class`, `on` (listeners by event), `data` (data-*), names with a hyphen and `role`, `for` as
 *   attributes, all others as properties of the element. Undefined ones are left out.
 * @param {...(Node|string|number|null|undefined|false)} children
 * @returns {HTMLElement}
 */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name === "class") node.className = value;
    else if (name === "on")
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name === "role" || name === "for" || name.includes("-")) node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false).map(asNode));
  return node;
}

function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}

/** Put the page's own icons into it, once: icons that name another file come a moment late each time they are made. */
export async function loadIcons() {
  const text = await (await fetch(new URL("../icons/icons.svg", import.meta.url))).text();
  const icons = document.importNode(new DOMParser().parseFromString(text, "image/svg+xml").documentElement, true);
  icons.setAttribute("hidden", "");
  document.body.append(icons);
}

/** Show another icon in a button. */
export function setIcon(button, name) {
  button.querySelector("use").setAttribute("href", `#icon-${name}`);
}

/** One of the page's own icons, for the eye only: what it stands for is told by the control around it. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

const putOff = new Map();
let pressed = null;

/** While a button is held down it must not be replaced: the press would be lost. What waits for it is done afterwards. */
document.addEventListener(
  "pointerdown",
  ({ target }) => {
    pressed = target;
  },
  true,
);
for (const event of ["pointerup", "pointercancel"]) {
  document.addEventListener(event, () => setTimeout(letGo), true);
}

function letGo() {
  pressed = null;
  for (const [parent, children] of putOff) replace(parent, ...children);
  putOff.clear();
}

/** Put `children` in place of what `parent` holds, and keep the focus on the control of the same `data-key`. */
export function replace(parent, ...children) {
  if (pressed?.closest?.("button") && parent.contains(pressed)) {
    putOff.set(parent, children);
    return;
  }
  const focused = parent.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  parent.replaceChildren(...children.filter(Boolean));
  if (focused) parent.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

export function byId(id) {
  return document.getElementById(id);
}

/** Run `act` once per picture that the screen shows, however often it is asked for. */
export function oncePerFrame(act) {
  let isAsked = false;
  return () => {
    if (isAsked) return;
    isAsked = true;
    requestAnimationFrame(() => {
      isAsked = false;
      act();
    });
  };
}
