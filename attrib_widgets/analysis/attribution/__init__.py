"""Which parts wrote the prediction: at one position, at many, over a phrase, layer by layer."""
