"""Titles of pages: real beginnings of pages of filings, manuals and papers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefold.ingest.page_titles import file_title, page_heading, page_title


@pytest.mark.parametrize(
    ("title", "source", "want"),
    [
        ("ADBE 10-K FY22", "filings/ADOBE_2022_10K.pdf", "ADOBE 2022 10K"),
        ("Annual report", "adobe-2022.pdf", "Annual report (adobe 2022)"),
        ("Annual report", "2022_01_31_0007.pdf", "Annual report (2022 01 31 0007)"),
        ("The R language definition", "r/R-lang.pdf", "The R language definition (R lang)"),
        ("Packaging tutorial", "packaging-tutorial.pdf", "Packaging tutorial"),
        ("0001018724-18-000005", "AMAZON_2017_10K.pdf", "AMAZON 2017 10K"),
        ("report.doc", "a b.pdf", "a b"),
        ("Microsoft Word - x", "___.pdf", "___.pdf"),
        ("", "scan.tiff", "scan"),
    ],
)
def test_the_title_of_a_file_says_which_it_is(title, source, want):
    assert file_title(title, source) == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("Table of Contents\nConsolidated Balance Sheets\n$ in millions, unaudited", "Consolidated Balance Sheets"),
        ("UNITED STATES\nSECURITIES COMMISSION\nWashington, D.C. 20549", "UNITED STATES SECURITIES COMMISSION"),
        ("Results of operations\nsales grew by 3 %", "Results of operations"),
        ("and substantial amounts of training for sales people.\nMore Text", ""),
        ("Sentence number one is about retrieval with several vectors. Sentence two", ""),
        ("4.2 First Supplemental Indenture, dated as of March 24", ""),
        ("\n \n", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_a_heading_is_told_from_prose(text, want):
    assert page_heading(text) == want
    assert page_title("File", text) == (f"File: {want}" if want else "File")


@given(st.text())
def test_a_heading_is_one_short_line_of_the_page(text):
    heading = page_heading(text)
    assert len(heading) <= 120
    assert "\n" not in heading
    assert set(heading.split()[:-1]) <= set(text.split())
