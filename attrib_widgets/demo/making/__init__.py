"""How the embedded model was made: its facts, corpus, training, dictionaries, evaluation and card."""
