"""Text (later page images) to token embeddings."""
