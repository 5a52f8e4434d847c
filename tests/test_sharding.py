import pytest
from hypothesis import given
from hypothesis import strategies as st

from sertransfer.errors import BadInput
from sertransfer.sharding import Shard, parse_shard


@given(st.text(max_size=20), st.integers(1, 50))
def test_every_key_belongs_to_one_share(key: str, count: int) -> None:
    assert sum(Shard(index, count).holds(key) for index in range(1, count + 1)) == 1


@given(st.integers(0, 300), st.integers(1, 50))
def test_rows_are_divided_without_gap_or_overlap_into_like_parts(rows: int, count: int) -> None:
    parts = [list(Shard(index, count).rows(rows)) for index in range(1, count + 1)]
    assert [row for part in parts for row in part] == list(range(rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_shares_of_many_keys_are_of_like_size() -> None:
    sizes = [
        sum(Shard(index, 8).holds(f"wav_all/u{number}.wav") for number in range(8000))
        for index in range(1, 9)
    ]
    assert max(sizes) < 1.1 * min(sizes)


def test_a_share_is_read_and_written() -> None:
    assert parse_shard(" 3/16 ") == Shard(3, 16)
    assert str(Shard(3, 16)) == "3/16"


@pytest.mark.parametrize("text", ["", "3", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1.0/2", "٣/٤"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="--shard"):
        parse_shard(text)
