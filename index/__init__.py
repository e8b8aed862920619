"""Token embeddings to bytes, and bytes back to scores."""
