"""The tracker contract, the engine with its models and parts, weights, and the weight-free tracker."""
