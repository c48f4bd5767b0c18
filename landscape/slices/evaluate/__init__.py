"""Evaluating objectives at many points of a grid: plainly, several at once, or with what stays the same computed once."""
