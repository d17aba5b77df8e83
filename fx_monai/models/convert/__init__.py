"""Weights of other projects: which tensor of theirs goes where in the network. Key mapping only; facts, no code."""
