"""An elastic supernet of a plain vision transformer, and the subnet that fits a budget (`--within-ms`).

subnet      what a subnet is, and its slice of the supernet's weights
reorder     hidden units of the perceptrons from the most to the least important; importance of layers
choices     which subnets there are; how one is drawn, changed and made smaller
sandwich    training: the largest, the smallest and a random subnet in each step
times       how long each block takes on this machine, at each width
search      the nearest subnet to the teacher within the budget
make        all of this, one after another
command     `vidseg compress --within-ms`

Source: "SuperSAM: Crafting a SAM Supernetwork via Structured Pruning and Unstructured Parameter
Prioritization" (arXiv:2501.08504).
"""
