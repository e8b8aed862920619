"""Codecs of token embeddings behind one contract."""
