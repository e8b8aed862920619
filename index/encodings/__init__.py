"""Encodings that fold a document's token vectors into one vector."""
