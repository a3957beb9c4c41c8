"""Forward passes that compute the logits of the masked tokens."""
