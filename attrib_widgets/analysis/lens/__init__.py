"""What the stream would predict at every layer."""
