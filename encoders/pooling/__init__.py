"""CRISP pooling: each text's token vectors replaced by fewer, in training and in use (arXiv 2505.11471)."""
