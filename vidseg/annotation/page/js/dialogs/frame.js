// Go to a frame by its number.

import { element } from "../dom.js";
import { goTo, pause } from "../playback.js";
import { store } from "../state.js";
import { button, mainButton, openDialog } from "./dialog.js";

export function askFrame() {
  const last = store.state.video.frames - 1;
  const field = element("input", {
    class: "field field-number",
    type: "number",
    min: 0,
    max: last,
    value: store.state.frame,
    required: true,
    autofocus: true,
  });
  const dialog = openDialog({
    title: "Go to frame",
    body: [element("label", { class: "label" }, `Number of the frame, 0 to ${last}`, field)],
    feet: [button("Cancel", { on: { click: () => dialog.close() } }), mainButton("Go")],
    onSubmit: () => {
      pause();
      goTo(field.valueAsNumber);
    },
  });
  field.select();
}
