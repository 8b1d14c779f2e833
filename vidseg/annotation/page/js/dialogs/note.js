// Flag a frame, with a note for whoever looks at it next.

import { setFlag } from "../actions.js";
import { element } from "../dom.js";
import { flagOn, store } from "../state.js";
import { button, mainButton, openDialog } from "./dialog.js";

const MOST_LETTERS = 1000;

export function askNote() {
  const { frame } = store.state;
  const flag = flagOn(frame);
  const field = element("textarea", {
    class: "field",
    rows: 3,
    maxLength: MOST_LETTERS,
    value: flag?.note ?? "",
    autofocus: true,
  });
  const dialog = openDialog({
    title: `Flag frame ${frame}`,
    body: [element("label", { class: "label" }, "What should be looked at here?", field)],
    feet: [
      flag && button("Remove flag", { class: "button button-bad", on: { click: remove } }, "trash"),
      button("Cancel", { on: { click: () => dialog.close() } }),
      mainButton("Save"),
    ].filter(Boolean),
    onSubmit: () => {
      setFlag(frame, field.value.trim());
    },
  });
  // Enter saves, as in other dialogs; Shift and Enter begin a new line.
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    field.form.requestSubmit();
  });

  function remove() {
    setFlag(frame, null);
    dialog.close();
  }
}
