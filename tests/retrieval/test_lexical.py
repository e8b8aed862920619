import sqlite3

from hypothesis import given
from hypothesis import strategies as st

from latefold.retrieval.lexical import match_expression, words


def test_stop_words_are_left_out_unless_alone():
    assert words("What is the speed of sound? Sound!") == ["speed", "sound"]
    assert words("to be or not to be") == ["to", "be", "or", "not"]
    assert match_expression("?!") == ""
    assert match_expression("Sound of sound") == '"sound" OR "sound"'


@given(st.text(max_size=80))
def test_no_text_is_fts_syntax(text):
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE t USING fts5(body)")
        expression = match_expression(text)
        if expression and "\0" not in text:
            try:
                expression.encode()
            except UnicodeEncodeError:
                return
            assert connection.execute("SELECT * FROM t WHERE t MATCH ?", (expression,)).fetchall() == []
    finally:
        connection.close()
