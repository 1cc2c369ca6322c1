"""Hostile files of named kinds, made from a seed, and what the programs make of them."""
