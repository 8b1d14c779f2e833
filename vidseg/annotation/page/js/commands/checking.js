// Doubts, checked frames, flags.

import { askNote } from "../dialogs/note.js";
import { checkAndGoOn, goToDoubt, nextDoubt, toggleReviewed } from "../review.js";
import { group, hasVideo } from "./conditions.js";

export const CHECKING = [
  ...group("Checking", [
    {
      id: "next-doubt",
      name: "Next doubtful frame",
      keys: ["n"],
      icon: "next-doubt",
      run: () => goToDoubt(1),
      can: () => nextDoubt(1) !== null,
    },
    {
      id: "previous-doubt",
      name: "Previous doubtful frame",
      keys: ["p"],
      icon: "previous-doubt",
      run: () => goToDoubt(-1),
      can: () => nextDoubt(-1) !== null,
    },
    {
      id: "reviewed",
      name: "Mark as checked (this frame, or between the marks)",
      keys: ["z"],
      icon: "check",
      run: toggleReviewed,
      can: hasVideo,
    },
    {
      id: "check-next",
      name: "Mark the doubtful frames here as checked, and go to the next ones",
      keys: ["shift+n"],
      run: checkAndGoOn,
      can: hasVideo,
    },
    { id: "flag", name: "Flag with a note", keys: ["f"], icon: "flag", run: askNote, can: hasVideo },
  ]),
];
