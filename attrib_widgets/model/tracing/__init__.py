"""The only room that traces: recording, editing, sweeping, differentiating."""
