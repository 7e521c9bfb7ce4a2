"""Weights on the negatives of a batch, from how similar shapes are."""
