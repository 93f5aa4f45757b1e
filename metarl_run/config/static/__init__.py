"""Signatures of components, read from their source text without importing them."""
