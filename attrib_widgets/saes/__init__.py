"""Sparse autoencoders: what they are, reading and training them, and what their features fire on."""
