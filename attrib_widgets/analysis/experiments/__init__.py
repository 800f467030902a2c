"""What happens to the answer when a part is patched, ablated or estimated."""
