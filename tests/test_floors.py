"""Imports only point down the floors, and never in a circle."""

import pytest
from support.structure import import_graph, imports_of

FLOORS = {
    "errors": 0, "timebase": 0, "evaluation": 0, "io": 0,
    "manifest": 2, "front_end": 2, "config": 2, "training_audio": 2,
    "audio": 3, "corpora": 3, "models": 3,
    "encoders": 4, "training": 4,
    "demo": 5, "pretraining": 5, "transfer": 5, "reporting": 5, "export": 6,
    "cli": 7,
}  # fmt: skip
FORBIDDEN = {
    ("audio", "corpora"),
    ("audio", "models"),
    ("models", "audio"),
    ("models", "corpora"),
    ("corpora", "models"),
    ("training", "encoders"),
    ("encoders", "training"),
    ("pretraining", "transfer"),
    ("transfer", "pretraining"),
    ("reporting", "pretraining"),
    ("reporting", "transfer"),
}


def part(name: str) -> str:
    return name.split(".")[1]


def faults(graph: dict[str, set[str]]) -> list[str]:
    return [
        f"{name} imports {imported}"
        for name, importeds in graph.items()
        for imported in importeds
        if FLOORS[part(imported)] > FLOORS[part(name)] or (part(name), part(imported)) in FORBIDDEN
    ]


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for imported in sorted(graph.get(name, ())):
            if cycle := visit(imported, [*path, name]):
                return cycle
        done.add(name)
        return []

    for name in graph:
        if cycle := visit(name, []):
            return cycle
    return []


def test_every_module_has_a_floor():
    assert {part(name) for name in import_graph()} == set(FLOORS)


def test_no_import_points_up():
    assert faults(import_graph()) == []


def test_no_cycle():
    assert find_cycle(import_graph()) == []


@pytest.mark.parametrize(
    ("name", "imported"),
    [
        ("sertransfer.errors", "sertransfer.manifest"),
        ("sertransfer.models.registry", "sertransfer.corpora.emotion.lssed"),
        ("sertransfer.pretraining.workflow", "sertransfer.transfer.probe.probe"),
    ],
)
def test_a_wrong_import_is_seen(name, imported):
    assert faults({name: {imported}}) == [f"{name} imports {imported}"]


def test_a_cycle_is_seen():
    graph = {"sertransfer.a": {"sertransfer.b"}, "sertransfer.b": {"sertransfer.a"}}
    assert find_cycle(graph) == ["sertransfer.a", "sertransfer.b", "sertransfer.a"]


def test_imports_inside_functions_count():
    source = "def f():\n    from sertransfer.cli.main import main\n"
    assert imports_of(source, "x") == {"sertransfer.cli.main", "sertransfer.cli.main.main"}
