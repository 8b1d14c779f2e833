"""Bank policies besides SAM 2's own (`vidseg.memory.bank.RecentFrames`); one file each."""
