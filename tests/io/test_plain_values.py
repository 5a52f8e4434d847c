import pytest

from sertransfer.io.plain_values import parse_json, parse_yaml


def test_plain_values():
    assert parse_json('{"a": [1, null]}') == {"a": [1, None]}
    assert parse_yaml("a: [1, null]\nb: &x {c: 2}\nd: *x") == {"a": [1, None], "b": {"c": 2}, "d": {"c": 2}}


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "a: &a [*a]",
        BOMB,
        MERGES,
        "!!timestamp x",
        "!!int ''",
        "!!float x",
        "!!python/object/apply:os.system [ls]",
        "a: 2001-99-99",
        "a: [",
        "\x00",
    ],
)
def test_yaml_fails_in_one_way(text):
    with pytest.raises(ValueError):
        parse_yaml(text)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "{", ""])
def test_json_fails_in_one_way(text):
    with pytest.raises(ValueError):
        parse_json(text)


def test_a_number_in_base_60_without_end_is_refused_at_once():
    """PyYAML needs the square of its length: seconds for half a megabyte."""
    with pytest.raises(ValueError, match="a number of 600002 characters"):
        parse_yaml("a: " + "59:" * 200_000 + "59")
    assert parse_yaml("a: 1:30") == {"a": 90}
