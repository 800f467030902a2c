"""One model under study: loading, recording, and the self-check. The only room that imports nnsight."""
