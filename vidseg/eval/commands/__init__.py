"""The commands of evaluation: score, eval, bench."""
