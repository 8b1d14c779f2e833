// Objects: choosing, naming, showing, locking, merging, deleting.

import * as actions from "../actions.js";
import { askMerge } from "../dialogs/merge.js";
import { rename } from "../panels/objects.js";
import { chosenObject, store } from "../state.js";
import { crosshairOr, group, hasChosen, hasVideo, isFree, s } from "./conditions.js";

export const OBJECTS = [
  ...group("Objects", [
    {
      id: "new-object",
      name: "New object",
      keys: ["a"],
      icon: "plus",
      run: actions.beginObject,
      can: hasVideo,
    },
    {
      id: "object-up",
      name: "Choose the object above",
      keys: ["up"],
      run: crosshairOr(() => chooseObject(-1), 0, -12),
      can: () => s.isCrosshairOn || s.objects.length > 0,
    },
    {
      id: "object-down",
      name: "Choose the object below",
      keys: ["down"],
      run: crosshairOr(() => chooseObject(1), 0, 12),
      can: () => s.isCrosshairOn || s.objects.length > 0,
    },
    ...Array.from({ length: 9 }, (_, at) => ({
      id: `object-${at + 1}`,
      name: at ? "" : "Choose the first to ninth object",
      keys: [`${at + 1}`],
      run: () => store.set({ chosen: s.objects[at].id }),
      can: () => at < s.objects.length,
    })),
    {
      id: "rename",
      name: "Label",
      keys: ["f2", "w"],
      icon: "pencil",
      run: () => rename(s.chosen),
      can: hasChosen,
    },
    {
      id: "visible",
      name: "Show or hide",
      keys: ["v"],
      icon: "eye",
      run: () => actions.setObject(s.chosen, { visible: !chosenObject().visible }),
      can: hasChosen,
    },
    {
      id: "locked",
      name: "Lock or unlock",
      keys: ["q"],
      icon: "lock",
      run: () => actions.setObject(s.chosen, { locked: !chosenObject().locked }),
      can: hasChosen,
    },
    {
      id: "merge",
      name: "Merge into another object",
      keys: ["m"],
      icon: "merge",
      run: askMerge,
      can: () => isFree() && s.objects.length > 1,
    },
    {
      id: "delete",
      name: "Delete",
      keys: ["delete"],
      icon: "trash",
      run: () => actions.removeObject(s.chosen),
      can: isFree,
    },
  ]),
];

function chooseObject(step) {
  const place = s.objects.findIndex(({ id }) => id === s.chosen);
  const next = s.objects[place < 0 ? 0 : (place + step + s.objects.length) % s.objects.length];
  if (next) store.set({ chosen: next.id });
}
