// Merge the chosen object into another one.

import { mergeObjects } from "../actions.js";
import { element } from "../dom.js";
import { chosenObject, nameOf, store } from "../state.js";
import { button, mainButton, openDialog } from "./dialog.js";

export function askMerge() {
  const object = chosenObject();
  const others = store.state.objects.filter(({ id, locked }) => id !== object.id && !locked);
  const field = element(
    "select",
    { class: "field", autofocus: true },
    ...others.map((other) => element("option", { value: other.id }, nameOf(other))),
  );
  const dialog = openDialog({
    title: `Merge ${nameOf(object)}`,
    body: [
      element(
        "p",
        {},
        `All masks of ${nameOf(object)} are added to the object that you choose, and ${nameOf(object)} is removed. You can undo this.`,
      ),
      element("label", { class: "label" }, "Merge into", field),
    ],
    feet: [button("Cancel", { on: { click: () => dialog.close() } }), mainButton("Merge")],
    onSubmit: () => {
      mergeObjects(object.id, Number(field.value));
    },
  });
}
