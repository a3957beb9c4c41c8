"""Forward passes that compute the logits of masked tokens."""
