"""The bundled encoder against BM25, the sentence model it is made from, and other ways to have fewer vectors."""
