"""What an experiment replaces: parts of the model at some positions, and the tensors that are put there."""
