"""The benchmark of page retrieval: routes from a PDF to its pages, and what codes of page vectors keep."""
