"""A plug-in of vidseg: each module registers one thing by name."""
