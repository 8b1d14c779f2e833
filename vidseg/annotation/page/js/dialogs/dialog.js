// What all dialogs share: title, body, feet; Escape and the cross close them, and the focus goes back to where it was.

import { byId, element, icon } from "../dom.js";

let number = 0;

/**
 * Open a modal dialog.
 *
 * @param {{title: string, body: Node[], feet?: Node[], isWide?: boolean, onSubmit?: () => (boolean|void), onClose?: () => void}} parts
 *   `onSubmit` is called for Enter and for buttons of type submit; the dialog then closes, unless it returns false.
 * @returns {{close: () => void, node: HTMLDialogElement}}
 */
export function openDialog({ title, body, feet, isWide, onSubmit, onClose }) {
  const id = `dialog-${++number}`;
  const form = element(
    "form",
    {
      class: "dialog-form",
      method: "dialog",
      on: {
        submit: (event) => {
          event.preventDefault();
          if (onSubmit?.() !== false) node.close();
        },
        // Enter sends the form from fields; from lists browsers do not.
        keydown: (event) => {
          if (event.key === "Enter" && event.target.matches("select")) form.requestSubmit();
        },
      },
    },
    element("div", { class: "dialog-body" }, ...body),
    feet && element("div", { class: "dialog-feet" }, ...feet),
  );
  const node = element(
    "dialog",
    { class: isWide ? "dialog dialog-wide" : "dialog", "aria-labelledby": id },
    element(
      "div",
      { class: "dialog-head" },
      element("h2", { id }, title),
      element(
        "button",
        { class: "button button-icon", type: "button", "aria-label": "Close", on: { click: () => node.close() } },
        icon("close"),
      ),
    ),
    form,
  );
  const before = document.activeElement;
  node.addEventListener("close", () => {
    node.remove();
    if (before?.isConnected) before.focus();
    onClose?.();
  });
  node.addEventListener("click", (event) => {
    if (event.target === node) node.close();
  });
  byId("dialogs").append(node);
  node.showModal();
  (node.querySelector("[autofocus]") ?? form.querySelector("input, textarea, select, button"))?.focus();
  return { node, close: () => node.close() };
}

export function button(text, properties = {}, name = undefined) {
  return element("button", { type: "button", class: "button", ...properties }, name && icon(name), text);
}

export function mainButton(text, properties = {}) {
  return element("button", { type: "submit", class: "button button-main", ...properties }, text);
}
