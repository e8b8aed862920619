"""latefold: late-interaction (multi-vector) retrieval, from a folder of documents to a served index.

The public names are loaded on first use, so that importing the package costs nothing.
"""

__version__ = "0.1.0"

_PUBLIC = {
    "CrossEncoderSearch": "retrieval.cur.options",
    "Document": "retrieval.types",
    "Explanation": "retrieval.types",
    "Hit": "retrieval.types",
    "Index": "retrieval.index",
    "IndexConfig": "retrieval.config",
    "LatefoldError": "encoders.errors",
    "TokenEmbeddings": "encoders.embeddings",
    "load_encoder": "encoders.base",
    "load_scorer": "encoders.scorers.load",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_PUBLIC[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
