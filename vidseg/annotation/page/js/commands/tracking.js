// Tracking, carrying corrections on, and spans out of sight.

import * as actions from "../actions.js";
import { correctedFrame, kindOn, markedSpan, promptOn, store } from "../state.js";
import { group, hasVideo, isFree, s } from "./conditions.js";

const isIdle = () => hasVideo() && !s.job && s.prompts.length > 0;
const canTrack = () => isIdle() && (s.trackAll || s.chosen === null || isFree());

export const TRACKING = [
  ...group("Tracking", [
    {
      id: "track-forward",
      name: "Track forward",
      keys: ["t"],
      icon: "track-forward",
      run: () => actions.track("forward", { first: s.frame }),
      can: canTrack,
    },
    {
      id: "track-backward",
      name: "Track backward",
      keys: ["shift+t"],
      icon: "track-backward",
      run: () => actions.track("backward", { last: s.frame }),
      can: canTrack,
    },
    {
      id: "track-both",
      name: "Track whole video",
      keys: ["y"],
      icon: "track-both",
      run: () => actions.track("both"),
      can: canTrack,
    },
    {
      id: "track-between",
      name: "Track between marks",
      keys: ["u"],
      icon: "track-between",
      run: () => actions.track("both", markedSpan()),
      can: () => canTrack() && Boolean(markedSpan()),
    },
    {
      id: "retrack",
      name: "Carry correction on",
      keys: ["r"],
      icon: "redo",
      run: actions.retrack,
      can: () => canRetrack(),
    },
    {
      id: "track-all",
      name: "Track all objects, or the chosen one",
      keys: ["shift+a"],
      run: () => store.set({ trackAll: !s.trackAll }),
      isOn: () => s.trackAll,
    },
    {
      id: "stop",
      name: "Stop tracking",
      keys: ["s"],
      icon: "stop",
      run: actions.cancelJob,
      can: () => Boolean(s.job),
    },
    {
      id: "absent",
      name: "Object is out of sight between the marks, or not",
      keys: ["j"],
      run: toggleMarkedAbsent,
      can: () => isFree() && Boolean(markedSpan()),
    },
    {
      id: "absent-drag",
      name: "Mark out of sight by dragging on the timeline",
      keys: ["shift+j"],
      icon: "absent",
      run: () => store.set({ marksAbsent: !s.marksAbsent }),
      can: () => s.objects.length > 0,
      isOn: () => s.marksAbsent,
    },
  ]),
];

/** The last correction can be carried on, or what was said on this frame, where it was tracked around it. */
function canRetrack() {
  if (s.job || !isFree()) return false;
  return (
    correctedFrame() !== null ||
    (Boolean(promptOn(s.chosen, s.shown)) && actions.hasTrackedNeighbours(s.chosen, s.shown))
  );
}

function toggleMarkedAbsent() {
  const { first, last } = markedSpan();
  let isAbsent = true;
  for (let frame = first; frame <= last; frame++) isAbsent &&= kindOn(s.chosen, frame) === "X";
  actions.setAbsent(s.chosen, first, last, !isAbsent);
}
