"""One model under study: loading, recording, and the self-check. Only its room `tracing` imports nnsight."""
