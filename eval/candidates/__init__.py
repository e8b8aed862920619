"""The candidate stage: one short vector a document, and everything it is compared with."""
