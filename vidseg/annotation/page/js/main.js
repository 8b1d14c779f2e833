// Starts the page: each part attaches itself to the store, then the connection is opened.

import { refreshButtons } from "./buttons.js";
import { showExported } from "./dialogs/export.js";
import { loadIcons } from "./dom.js";
import { listenToKeys } from "./keyboard.js";
import { startBar } from "./panels/bar.js";
import { startFrame } from "./panels/frame.js";
import { makeBrushSize, startNotes } from "./panels/notes.js";
import { startObjects } from "./panels/objects.js";
import { startToolbar } from "./panels/toolbar.js";
import { startTracking } from "./panels/tracking.js";
import { startTransport } from "./panels/transport.js";
import { look, lookAgain, startVideo } from "./playback.js";
import { takePreview } from "./preview.js";
import { connection, listen } from "./session.js";
import { startStage } from "./stage.js";
import { store } from "./state.js";
import { startTheme } from "./theme.js";
import { startTimeline } from "./timeline/timeline.js";
import { showTips } from "./tips.js";

startTheme();
loadIcons();
startToolbar();
startBar();
startObjects();
startFrame();
startTracking();
startTransport();
startTimeline();
makeBrushSize();
startNotes();
startStage();
listenToKeys();
showTips();
store.on(
  Object.keys(store.state).filter((key) => key !== "pointer" && key !== "preview"),
  refreshButtons,
);
store.on(["chosen"], look);
listen({ video: startVideo, stale: lookAgain, exported: showExported, preview: takePreview });
connection.open();
