"""Parts of one run put into another: what they do in all, directly, along paths, and token by token."""
