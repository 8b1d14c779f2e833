"""Models whose products are computed from few bits: simulated, with the rounding of the real thing.

Operands of each product are rounded to what their codes stand for and multiplied in float32. So results are
those of integer products, and neither speed nor memory is gained here.

quantisers  how values are rounded: uniform steps, two ranges, powers of two, groups of channels
layers      layers and attention over rounded operands
places      where they stand in a model
folding     exact changes before rounding: signs of keys, shifts and scales of channels
saved       scales to and from a file; `install` makes a model one of few bits
"""
