"""Two attributions side by side, part by part and word by word."""
