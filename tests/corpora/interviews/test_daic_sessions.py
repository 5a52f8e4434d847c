"""Finding the sessions of a corpus, in folders and in archives, and opening them."""

import zipfile

import pytest
from support.daic_tree import TRAIN, Tree

from sertransfer.corpora.interviews import sessions
from sertransfer.corpora.interviews.sessions import find_sessions, open_session
from sertransfer.errors import BadInput, Faults


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "DAIC"
    root.mkdir()
    tree = Tree(root)
    tree.session(300)
    tree.splits(train=[300])
    return tree


def refused(root):
    with pytest.raises(BadInput) as refusal:
        Tree(root).read()
    (fault,) = refusal.value.faults
    return fault


def test_sessions_are_found_by_name(tree):
    (tree.root / "301_P.ZIP").write_bytes(b"")
    (tree.root / "302_P").write_bytes(b"a file, no folder")
    (tree.root / "0303_P").mkdir()
    (tree.root / "documents").mkdir()
    found = find_sessions(tree.root)
    assert found == {300: [tree.root / "300_P"], 301: [tree.root / "301_P.ZIP"]}
    assert find_sessions(tree.root / "nowhere") == {}


def test_one_level_too_high(tree):
    fault = refused(tree.root.parent)
    assert "one level too high" in fault.found
    assert str(tree.root) in fault.remedy


@pytest.mark.parametrize("name", ["300_P", "renamed"])
def test_one_level_too_low(tree, name):
    folder = (tree.root / "300_P").rename(tree.root / name)
    tree.session(301)
    fault = refused(folder)
    assert "one level too low" in fault.found
    assert fault.remedy == f"name {tree.root}"


def test_split_files_and_sessions_in_different_folders(tree):
    (tree.root / "data").mkdir()
    (tree.root / "300_P").rename(tree.root / "data" / "300_P")
    assert refused(tree.root).found == "no session"
    assert refused(tree.root / "data").found == "no split file"


def test_other_folders(tree, tmp_path):
    assert refused(tmp_path / "nowhere").found == "no such folder"
    assert refused(tree.root / TRAIN).found == "a file"
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty").found == "an empty folder"
    for path in (tree.root / "300_P").iterdir():
        path.unlink()
    (tree.root / "300_P").rmdir()
    assert refused(tree.root).found == "no session"


def test_a_folder_that_cannot_be_listed_holds_nothing(tree, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tree.root), "iterdir", refuse)
    assert find_sessions(tree.root) == {}
    faults = Faults()
    assert open_session(300, [tree.root / "300_P"], faults) is None
    assert "Permission denied" in next(iter(faults)).found


def opened(tree, number=300):
    faults = Faults()
    session = open_session(number, find_sessions(tree.root)[number], faults)
    return session, [fault.found for fault in faults]


def test_both_files_missing_are_two_faults(tree):
    for path in (tree.root / "300_P").iterdir():
        path.unlink()
    session, found = opened(tree)
    assert found == ["no 300_AUDIO.wav", "no 300_TRANSCRIPT.csv"]
    assert not session.complete


def test_names_in_another_case(tree):
    folder = tree.root / "300_P"
    (folder / "300_TRANSCRIPT.csv").rename(folder / "300_Transcript.csv")
    session, found = opened(tree)
    assert found == []
    assert session.transcript == "300_Transcript.csv"
    assert session.read_transcript().startswith(b"start_time")


def test_a_broken_archive_beside_a_whole_folder_does_not_matter(tree):
    (tree.root / "300_P.zip").write_bytes(b"PK broken")
    session, found = opened(tree)
    assert found == []
    assert not session.archived


def test_a_member_that_can_not_be_read(tree, monkeypatch):
    archive = tree.zip(300)
    session, found = opened(tree)
    assert found == []
    whole = session.read_transcript()
    monkeypatch.setattr(sessions, "TRANSCRIPT_LIMIT", 10)
    with pytest.raises(OSError, match="a member of"):
        session.read_transcript()
    monkeypatch.undo()
    data = archive.read_bytes()
    with zipfile.ZipFile(archive) as target:
        place = target.getinfo("300_TRANSCRIPT.csv").header_offset + 30 + len("300_TRANSCRIPT.csv")
    for change in (b"\x00" * 8, b"\xff" * 8):
        archive.write_bytes(data[:place] + change + data[place + 8 :])
        with pytest.raises(OSError, match="a broken archive member"):
            session.read_transcript()
    assert whole.startswith(b"start_time")


def test_an_encrypted_member(tree):
    archive = tree.zip(300)
    session, _ = opened(tree)
    data = bytearray(archive.read_bytes())
    place = data.find(b"PK\x01\x02")
    while place >= 0:  # the flag of encryption in every entry of the directory
        data[place + 8] |= 1
        place = data.find(b"PK\x01\x02", place + 4)
    archive.write_bytes(bytes(data))
    with pytest.raises(OSError, match="cannot be read"):
        session.read_transcript()
