"""Bank policies besides SAM 2's own, which is `vidseg.memory.bank.RecentFrames`; one file each."""
