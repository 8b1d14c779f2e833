"""The tracker contract, the SAM 2-style engine with its parts, checkpoints, the weight-free tracker."""
