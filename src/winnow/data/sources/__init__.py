"""Where texts come from: files, the Hub, grammars, and mixtures of them."""
