// Going through the video, and the marks.

import { askFrame } from "../dialogs/frame.js";
import { pause, play, SPEEDS, stepBy } from "../playback.js";
import { store } from "../state.js";
import { crosshairOr, group, hasVideo, s } from "./conditions.js";

export const PLAYING = [
  ...group("Going through the video", [
    {
      id: "play",
      name: "Play or pause",
      keys: ["space"],
      icon: "play",
      run: () => (s.isPlaying ? pause() : play()),
      can: hasVideo,
    },
    {
      id: "step-back",
      name: "Previous frame",
      keys: ["left", ","],
      icon: "step-back",
      run: crosshairOr(() => stepBy(-1), -12, 0),
      can: hasVideo,
    },
    {
      id: "step-forward",
      name: "Next frame",
      keys: ["right", "."],
      icon: "step-forward",
      run: crosshairOr(() => stepBy(1), 12, 0),
      can: hasVideo,
    },
    {
      id: "back-ten",
      name: "Ten frames back",
      keys: ["pageup"],
      run: () => stepBy(-10),
      can: hasVideo,
    },
    {
      id: "forward-ten",
      name: "Ten frames on",
      keys: ["pagedown"],
      run: () => stepBy(10),
      can: hasVideo,
    },
    {
      id: "first",
      name: "First frame",
      keys: ["home"],
      icon: "first",
      run: () => stepBy(-Infinity),
      can: hasVideo,
    },
    {
      id: "last",
      name: "Last frame",
      keys: ["end"],
      icon: "last",
      run: () => stepBy(Infinity),
      can: hasVideo,
    },
    {
      id: "go-to",
      name: "Go to a frame by its number",
      keys: ["g"],
      run: askFrame,
      can: hasVideo,
    },
    {
      id: "speed",
      name: "Playing speed",
      keys: ["x"],
      run: () => store.set({ speed: SPEEDS[(SPEEDS.indexOf(s.speed) + 1) % SPEEDS.length] }),
    },
    {
      id: "mark-first",
      name: "Set or remove the in mark",
      keys: ["i"],
      icon: "mark-in",
      run: () => setMark("first"),
      can: hasVideo,
      isOn: () => s.marks.first !== null,
    },
    {
      id: "mark-last",
      name: "Set or remove the out mark",
      keys: ["o"],
      icon: "mark-out",
      run: () => setMark("last"),
      can: hasVideo,
      isOn: () => s.marks.last !== null,
    },
  ]),
];

function setMark(which) {
  store.set({ marks: { ...s.marks, [which]: s.marks[which] === s.frame ? null : s.frame } });
}
