"""The vocabulary: components, places and targets, one or several of them, how numbers and tokens are printed, and what
errors say. It imports no other room, and no torch.
"""
