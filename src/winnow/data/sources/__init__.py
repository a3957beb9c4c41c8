"""Sources of texts: files, the Hugging Face Hub, grammars, and mixtures of sources."""
