"""Parts of a model recomputed from a recording: attention, MLPs, experts, how an output enters the stream."""
