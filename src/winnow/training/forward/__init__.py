"""The forward pass: masked logits from flat tokens, without computation that the loss does not need."""
