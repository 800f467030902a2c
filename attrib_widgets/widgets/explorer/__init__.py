"""The Explorer, layer by layer: testing, answering clicks, setting beside, filling in, writing on, and guessing."""
