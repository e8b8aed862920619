"""The library's face: what goes in comes out, errors are typed, nothing is half done."""

import pytest

from latefold import Document, Index, IndexConfig, TokenEmbeddings, load_encoder
from latefold.encoders.errors import (
    DocumentNotFoundError,
    DuplicateDocumentError,
    EncoderMismatchError,
    IndexExistsError,
    IndexNotFoundError,
    InvalidEmbeddingsError,
    InvalidInputError,
)

TEXTS = {
    "csv": "The csv module reads and writes tabular data in comma separated files.",
    "json": "JSON is a lightweight data interchange format; loads parses a string.",
    "socket": "Sockets let two programs talk to each other over a network connection.",
    "thread": "A thread of execution runs beside others in the same process and shares memory.",
}


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("minilm")


@pytest.fixture
def index(tmp_path, encoder):
    index = Index.create(tmp_path / "i", encoder=encoder)
    index.add([Document(name, text, title=name, metadata={"size": len(text)}) for name, text in TEXTS.items()])
    yield index
    index.close()


@pytest.mark.parametrize("mode", ["auto", "exact", "ann", "hybrid"])
def test_a_question_finds_its_document(index, mode):
    assert index.search("talking to another computer through a network", 1, mode=mode)[0].id == "socket"
    (hit, *_) = index.search("parse a json string", mode=mode)
    assert (hit.id, hit.title, hit.text) == ("json", "json", TEXTS["json"])
    assert hit.metadata == {"size": len(TEXTS["json"])}


def test_a_list_of_questions_gives_a_list_of_lists(index):
    found = index.search(["tabular data", "shares memory"], 2)
    assert [hits[0].id for hits in found] == ["csv", "thread"]


def test_documents_come_back_as_they_went_in(index):
    assert len(index) == 4
    assert "csv" in index
    assert "nothing" not in index
    assert index.get("csv") == Document("csv", TEXTS["csv"], "csv", {"size": len(TEXTS["csv"])})
    assert index.ids() == list(TEXTS)
    assert index.ids(filter={"size": {"$gt": 70}}) == [name for name, text in TEXTS.items() if len(text) > 70]
    with pytest.raises(DocumentNotFoundError, match="nothing"):
        index.get("nothing")


def test_plain_dicts_and_generators_are_documents_too(index):
    assert index.add({"id": f"x{i}", "text": f"extra {i}"} for i in range(3)) == 3
    assert index.get("x1") == Document("x1", "extra 1")


def test_add_refuses_known_ids_and_writes_nothing(index):
    generation = index.generation
    with pytest.raises(DuplicateDocumentError, match="csv"):
        index.add([Document("new", "x"), Document("csv", "y")])
    with pytest.raises(DuplicateDocumentError, match="twice"):
        index.add([Document("new", "x"), Document("new", "y")])
    assert (index.generation, len(index)) == (generation, 4)


def test_upsert_encodes_only_what_changed(index):
    report = index.upsert([Document("csv", TEXTS["csv"], "csv", {"size": len(TEXTS["csv"])}), Document("json", "new")])
    assert (report.added, report.updated, report.unchanged) == (0, 1, 1)
    assert index.get("json").text == "new"
    assert len(index) == 4


def test_delete_is_all_or_nothing(index):
    with pytest.raises(DocumentNotFoundError, match="nope"):
        index.delete(["csv", "nope"])
    assert len(index) == 4
    assert index.delete("csv") == 1
    assert index.delete(filter={"size": {"$gt": 10_000}}) == 0
    assert index.delete(filter={"id": {"$in": ["json", "thread"]}}) == 2
    assert index.ids() == ["socket"]
    with pytest.raises(InvalidInputError):
        index.delete()


def test_an_index_reopens_with_its_encoder(index):
    with Index.open(index.path) as again:
        assert again.encoder.fingerprint.digest == index.encoder.fingerprint.digest
        assert again.search("comma separated", 1)[0].id == "csv"


def test_another_encoder_is_refused(index):
    other = load_encoder("minilm-128")
    with pytest.raises(EncoderMismatchError, match=r"384 dims.*128 dims"):
        Index.open(index.path, encoder=other)


def test_readers_see_a_change_when_they_refresh(index):
    with Index.open(index.path) as reader:
        index.add([Document("fresh", "something new")])
        assert "fresh" not in reader
        assert reader.refresh()
        assert "fresh" in reader
        assert not reader.refresh()


def test_optimize_keeps_ids_and_scores(index):
    index.add([Document("extra", "one more segment")])
    index.delete("csv")
    before = index.search("programs and data", 10, mode="exact")
    stats = index.optimize()
    assert (stats.segments, stats.deleted, stats.documents) == (1, 0, 4)
    assert index.search("programs and data", 10, mode="exact") == before
    assert index.verify().documents == 4


def test_stats_count_what_is_there(index):
    stats = index.stats().to_dict()
    assert stats["documents"] == 4
    assert stats["tokens"] == int(index.encoder.encode_documents([f"{n}\n{t}" for n, t in TEXTS.items()]).offsets[-1])
    assert stats["bytes"]["total"] == sum(value for key, value in stats["bytes"].items() if key != "total")
    assert stats["fingerprint"] == index.encoder.fingerprint.digest
    assert stats["codec"] == "lvq8"


def test_create_refuses_what_is_not_its_own(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(IndexExistsError, match=r"notes\.txt"):
        Index.create(tmp_path, dim=4)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    Index.create(tmp_path / "a", dim=4).close()
    with pytest.raises(IndexExistsError, match="already"):
        Index.create(tmp_path / "a", dim=4)
    with pytest.raises(IndexNotFoundError, match="no latefold index"):
        Index.open(tmp_path / "b")
    for dim in (0, -1, 2.5, True):
        with pytest.raises(InvalidInputError, match="dim"):
            Index.create(tmp_path / "c", dim=dim)
    with pytest.raises(InvalidInputError, match="fp16"):
        Index.create(tmp_path / "c", dim=4, config=IndexConfig(codec="magic"))
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    "document",
    [
        {"id": "", "text": "x"},
        {"id": "x" * 1025, "text": "x"},
        {"id": 3, "text": "x"},
        {"id": "a\0", "text": "x"},
        {"id": "a", "text": "x\0y"},
        {"id": "a", "text": "\udc80"},
        {"id": "a", "text": None},
        {"id": "a", "text": "x", "title": 3},
        {"id": "a"},
        {"id": "a", "text": "x", "year": 1999},
        {"id": "a", "text": "x", "metadata": {"k": float("nan")}},
        {"id": "a", "text": "x", "metadata": {"k": {1, 2}}},
        {"id": "a", "text": "x", "metadata": "k"},
        "text",
    ],
)
def test_unusable_documents_are_refused(tmp_path, document):
    with Index.create(tmp_path / "i", dim=2) as index:
        with pytest.raises(InvalidInputError):
            index.add([document], embeddings=TokenEmbeddings.from_list([[[1.0, 0.0]]]))
        assert len(index) == 0


def test_own_vectors_need_matching_embeddings(tmp_path, make_embeddings):
    with Index.create(tmp_path / "i", dim=16) as index:
        with pytest.raises(InvalidInputError, match="no encoder"):
            index.add([Document("a", "x")])
        with pytest.raises(InvalidEmbeddingsError, match="8 dimensions"):
            index.add([Document("a", "x")], embeddings=make_embeddings(1, dim=8))
        with pytest.raises(InvalidEmbeddingsError, match="1 documents were given with 2"):
            index.add([Document("a", "x")], embeddings=make_embeddings(2))
        with pytest.raises(EncoderMismatchError, match="brought by the caller"):
            Index.open(index.path, encoder=load_encoder("minilm"))
        assert len(index) == 0


def test_own_vectors_are_replaced_by_upsert(tmp_path, make_embeddings):
    with Index.create(tmp_path / "i", dim=16) as index:
        old, new = make_embeddings(5), make_embeddings(5)
        documents = [Document(f"d{i}", "same text") for i in range(5)]
        index.add(documents, embeddings=old)
        assert index.upsert(documents, embeddings=new).updated == 5
        for i, hits in enumerate(index.search(embeddings=new, k=1, mode="exact")):
            assert hits[0].id == f"d{i}"
        with pytest.raises(DuplicateDocumentError):
            index.upsert([documents[0]] * 2, embeddings=make_embeddings(2))


def test_progress_counts_every_document(tmp_path, encoder):
    seen = []
    documents = [Document(str(i), f"text {i}") for i in range(30)]
    config = IndexConfig(batch_documents=8)
    with Index.create(tmp_path / "i", encoder=encoder, config=config) as index:
        index.add(documents, progress=lambda phase, done, total: seen.append((phase, done, total)))
    counts = [done for _, done, _ in seen]
    assert counts == sorted(counts)
    assert seen[-1] == ("encode", 30, 30)
