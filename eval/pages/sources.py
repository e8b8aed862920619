"""The documents of the known-item collection: PDFs that Debian 12 packages, each with its licence and its hash."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_DOC: Final = "usr/share/doc"
_R: Final = "usr/lib/R/site-library"


@dataclass(frozen=True)
class Source:
    """A PDF in a Debian package.

    name: of the file in the collection, without its ending. title: what the document is called. package, version: where
    it is from; another version of the package serves as well as long as the PDF is the same. path: in the package; one
    that ends in `.gz` is unpacked. pages: how many of its pages are kept, from the first; None for all. licence: as
    `debian/copyright` of the package gives it for this file. sha256: of the whole PDF.
    """

    name: str
    title: str
    package: str
    version: str
    path: str
    pages: int | None
    licence: str
    sha256: str


SOURCES: Final = (
    Source(
        "eyes17", "expEYES-17 user manual", "eyes17-manuals-en", "5.1.2+repack-1",
        f"{_DOC}/eyes17/en/eyes17.pdf.gz", 40, "GPL-3+",
        "387f709bd28de20f9b0862b7cad8b98b62af7c14342f1bae285bad95ce9e7d8d",
    ),
    Source(
        "gle", "The GLE graphics layout engine manual", "gle-graphics-manual", "0~20221108-3",
        "usr/share/gle-graphics/doc/gle-manual.pdf", 49, "BSD-2-clause",
        "4e1b6199017e3f85520635f17d9b52322f3e5409676be0fdcfa890015c46004a",
    ),
    Source(
        "reportlab", "ReportLab PDF generation user guide", "python-reportlab-doc", "3.6.12-1+deb12u1",
        f"{_DOC}/python-reportlab-doc/reportlab-userguide.pdf", 47, "BSD-3-clause",
        "91ad5429d7b2907b8efefd7b95facfe2fb01ec31b8cefb024e47b0a7ac713420",
    ),
    Source(
        "theora", "Theora specification", "libtheora-doc", "1.1.1+dfsg.1-16.1+deb12u1",
        f"{_DOC}/libtheora-dev/Theora.pdf.gz", 54, "BSD-3-clause",
        "23cf177bcd3182e89144c2259c85c3c4b1b01ca9826b91809945628313b0a1aa",
    ),
    Source(
        "dotguide", "Drawing graphs with dot", "graphviz-doc", "2.42.2-7+deb12u1",
        f"{_DOC}/graphviz/pdf/dotguide.pdf.gz", None, "EPL-1.0",
        "6aa4a4f220de2a2a3a00f3cd48a6aebd972a2691dddfd228b97f0733b38e8066",
    ),
    Source(
        "xfig-howto", "Xfig howto", "xfig-doc", "1:3.2.8b-2",
        f"{_DOC}/xfig/xfig-howto.pdf", None, "xfig (MIT-like)",
        "807fa165ab27848bcf29b7869729af400d5fa8e669f8ce92c34be8a0532cddb5",
    ),
    Source(
        "lme4", "Fitting linear mixed-effects models using lme4", "r-cran-lme4", "1.1-31-1",
        f"{_R}/lme4/doc/lmer.pdf", None, "GPL-2+",
        "d13d6caf549b44c3543d01a7445c327ac472d266a8aee24f68a8d31d45d02ec9",
    ),
    Source(
        "strucplot", "The strucplot framework", "r-cran-vcd", "1:1.4-11-1",
        f"{_R}/vcd/doc/strucplot.pdf", None, "GPL-2",
        "45dd7f7b8d6f3f5ca1816a585bb0e8410c4fe02c50876cd5174069b70a724b8c",
    ),
    Source(
        "spacetime", "spacetime: spatio-temporal data in R", "r-cran-spacetime", "1.2-8+dfsg-1",
        f"{_R}/spacetime/doc/jss816.pdf", None, "GPL-2+",
        "c58e0aa1674d1330982a5a7b30e4d762a108861f3298f34caedbbac923d70ffe",
    ),
    Source(
        "sandwich", "Various versatile variances: clustered covariances in R", "r-cran-sandwich", "3.0-2-1",
        f"{_R}/sandwich/doc/sandwich-CL.pdf", None, "GPL-2",
        "f3a765482a629c8c9369020d13632ec5c37520df17e22266eb9e2928270e94bb",
    ),
    Source(
        "pyxplot", "Pyxplot users' guide", "pyxplot-doc", "0.9.2-13",
        f"{_DOC}/pyxplot/pyxplot.pdf", 51, "GPL-2+",
        "e2b8db47a908d24f16715fa9c2b7683a9b57ea37bbcf21c519f8a6ea91ec4fca",
    ),
    Source(
        "hmmer", "HMMER user's guide", "hmmer-doc", "3.3.2+dfsg-1",
        f"{_DOC}/hmmer/Userguide.pdf.gz", 56, "GPL-3",
        "35a0e8094d3630d55512e9486b5e56bfa2570a839b56b3852da8527f9fe83a7a",
    ),
    Source(
        "mrbayes", "MrBayes manual", "mrbayes-doc", "3.2.7a-6",
        f"{_DOC}/mrbayes/Manual_MrBayes_v3.2.pdf", 42, "GPL-2+",
        "2755675698bfe01b80e3c43345d3540a764f17c843ce1ea756329de7703e5e03",
    ),
    Source(
        "maint-guide", "Debian new maintainers' guide", "maint-guide", "1.2.53",
        f"{_DOC}/maint-guide/maint-guide.en.pdf", 43, "GPL-2+",
        "0b94abf28167fb3fe59db3d03f99b5faa50d9f6f696a7864825c5d0378ba27ef",
    ),
    Source(
        "packaging-tutorial", "Debian packaging tutorial", "packaging-tutorial", "0.29",
        f"{_DOC}/packaging-tutorial/packaging-tutorial.pdf", 40, "GPL-3+ or CC-BY-SA-3.0",
        "cc7c8684cf47b66bbec047f2a0d074e5a326848d8f9de8ab17daa19759e801ae",
    ),
    Source(
        "r-lang", "R language definition", "r-doc-pdf", "4.2.2.20221110-2",
        "usr/share/R/doc/manual/R-lang.pdf", 40, "GPL-2",
        "4a6120ba505021d7c208078b575fe3f5d5dc91636dcf17de8a4208adda90d7dc",
    ),
    Source(
        "hsqldb", "HyperSQL user guide", "libhsqldb-java-doc", "2.7.1-1+deb12u1",
        f"{_DOC}/libhsqldb-java/guide/guide.pdf.gz", 49, "BSD-3-clause",
        "3b16bb65d5076b7ee9b188ae050fa10278bc9b08168a4fa5bb9b2c5d6fa363ba",
    ),
    Source(
        "yosys", "Yosys manual", "yosys-doc", "0.23-6",
        f"{_DOC}/yosys/manual.pdf", 55, "ISC",
        "bdc348b5b8e36505ca448f407841551615b66f995e4f718bd80fc386a487661c",
    ),
)  # fmt: skip
"""Varied in kind (manuals, papers, a specification, slides) and in looks; ranges end where a chapter ends."""
