"""The house rules: who may import whom, and where the few dangerous things may be done."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import core
from tests.support.alone import alone

ROOT = Path(__file__).resolve().parents[1]
CODE = ("core", "dashboard", "pages", "data")
HEAVY = ("streamlit", "plotly", "timm", "transformers")
LIBRARIES = ("timm", "torchvision", "transformers")

STOREYS: tuple[tuple[str, ...], ...] = (
    (
        "answers",
        "capacity",
        "decoder",
        "errors",
        "files",
        "fills",
        "frozen",
        "heatmaps",
        "images",
        "labels",
        "lrp",
        "numerics",
        "paths",
        "pictures",
        "probes",
        "progress",
        "rendering",
        "representations",
        "sandbox",
        "targets",
    ),
    ("models",),
    ("recording",),
    ("methods",),
    ("attention", "explain", "maximize"),
    ("evidence", "layerwise"),
    ("sweep",),
)
"""Files and folders of core from the ground up; each may import those of its own and of lower
storeys."""

SHARED_BY_METHODS = {"attention_propagation", "cells", "parameters", "registry"}
"""Files among the methods that are none."""


# -- imports --------------------------------------------------------------------------------------


def sources(*folders: str) -> list[Path]:
    """Python files below some folders of the project."""
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found
    return found


def module_of(path: Path) -> str:
    """Dotted name of a file of the project."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


@cache
def project() -> dict[str, Path]:
    """Every module of the project's code, by dotted name."""
    return {module_of(path): path for path in sources(*CODE)}


def imports_of_source(text: str) -> set[str]:
    """Names of all modules, and of what is taken out of them, that code imports anywhere."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imports(path: Path) -> set[str]:
    """Names of all modules that a file imports, wherever in it."""
    return imports_of_source(path.read_text(encoding="utf-8"))


def edges_of_source(text: str, modules: set[str]) -> set[str]:
    """Files of the project that code imports: for ``from a import b`` that of b, if it is one."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in modules else str(node.module))
    return found & modules


@cache
def graph() -> dict[str, set[str]]:
    """Which files of the project each file imports."""
    modules = set(project())
    return {
        name: edges_of_source(path.read_text(encoding="utf-8"), modules)
        for name, path in project().items()
    }


def circles(edges: Mapping[str, set[str]]) -> list[str]:
    """Import circles, each once, as ``a → b → a``."""
    found: dict[frozenset[str], str] = {}
    finished: set[str] = set()

    def visit(name: str, way: list[str]) -> None:
        if name in way:
            circle = way[way.index(name) :]
            found.setdefault(frozenset(circle), " → ".join([*circle, name]))
        elif name not in finished:
            for other in sorted(edges.get(name, ())):
                visit(other, [*way, name])
            finished.add(name)

    for name in sorted(edges):
        visit(name, [])
    return list(found.values())


def test_no_import_circle() -> None:
    assert circles(graph()) == []


def test_a_circle_would_be_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b → c → b"]
    within = "def f():\n    from core.methods import registry\n"
    modules = {"core.methods", "core.methods.registry", "core.methods.cam"}
    assert edges_of_source(within, modules) == {"core.methods.registry"}
    both = {"core.methods.registry": {"core.methods.cam"}} | {
        "core.methods.cam": edges_of_source(within, modules)
    }
    assert len(circles(both)) == 1


def storey_of(module: str) -> int:
    """Storey of a file of core; the public interface is the roof."""
    if module == "core":
        return len(STOREYS)
    part = module.split(".")[1]
    for number, parts in enumerate(STOREYS):
        if part in parts:
            return number
    raise AssertionError(f"{module} has no storey yet; say in STOREYS where it belongs")


def climbing(edges: Mapping[str, set[str]]) -> list[str]:
    """Imports within core that go up."""
    return [
        f"{name} imports {other}"
        for name, others in sorted(edges.items())
        for other in sorted(others)
        if name.split(".")[0] == other.split(".")[0] == "core"
        if storey_of(other) > storey_of(name)
    ]


def test_imports_within_core_go_down() -> None:
    assert climbing(graph()) == []


def test_going_up_would_be_seen() -> None:
    up = {"core.models.model": {"core.recording.run", "core.errors"}, "core.explain": {"core"}}
    assert len(climbing(up)) == 2
    with pytest.raises(AssertionError, match=r"core\.new has no storey"):
        climbing({"core.new": {"core.errors"}})


def test_no_method_imports_another() -> None:
    """What methods share is not a method; nobody else reaches for one but by the registry."""
    methods = {
        name
        for name in project()
        if name.startswith("core.methods.") and name.rpartition(".")[2] not in SHARED_BY_METHODS
    }
    assert methods
    assert all("@method(" in project()[name].read_text(encoding="utf-8") for name in methods)
    taken = [
        f"{name} imports {other}"
        for name, others in graph().items()
        for other in sorted(others & methods)
    ]
    assert taken == []


def crossings(paths: Iterable[Path], forbidden: tuple[str, ...]) -> Iterator[str]:
    """Imports of forbidden packages."""
    for path in paths:
        for name in sorted(imports(path)):
            if any(name == root or name.startswith(f"{root}.") for root in forbidden):
                yield f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("core", ("dashboard", "pages", "data", "tests", "streamlit", "plotly")),
        ("dashboard", ("pages", "data", "tests", *LIBRARIES)),
        ("pages", ("data", "tests", "torch", *LIBRARIES)),
        ("data", ("dashboard", "pages", "tests", "streamlit", "plotly")),
    ],
)
def test_imports_run_one_way(folder: str, forbidden: tuple[str, ...]) -> None:
    assert set(crossings(sources(folder), forbidden)) <= REGISTERING


REGISTERING = {"dashboard/Home.py imports pages", "dashboard/render.py imports pages"}
"""What is started: it imports the pages, and with that they are registered."""


def test_only_the_families_know_a_model_library() -> None:
    others = [p for p in sources("core") if "models" not in p.relative_to(ROOT).parts]
    assert not list(crossings(others, LIBRARIES))


def test_a_crossing_would_be_seen() -> None:
    assert list(crossings([Path(__file__).parent / "support" / "builders.py"], ("core",)))


def test_figures_know_no_streamlit() -> None:
    assert not list(crossings((ROOT / "dashboard" / "figures").glob("*.py"), ("streamlit",)))


def reached(first: str, edges: Mapping[str, set[str]]) -> set[str]:
    """A module with all modules of the project that it imports, and those that these import."""
    found: set[str] = set()
    left = [first]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += edges.get(name, ())
    return found


VIEWS = [module_of(path) for path in sorted((ROOT / "pages").glob("*/view.py"))]


@pytest.mark.parametrize("view", VIEWS)
def test_what_makes_a_view_knows_no_session_and_no_widget(view: str) -> None:
    every = reached(view, graph())
    assert not {
        name for name in every if name.startswith(("dashboard.session", "dashboard.controls"))
    }
    own = [project()[name] for name in sorted(every) if name.startswith("pages.")]
    assert not list(crossings(own, ("streamlit",)))


def test_a_widget_behind_a_view_would_be_seen() -> None:
    edges = {"pages.a.view": {"pages.a.maps"}, "pages.a.maps": {"dashboard.session"}}
    assert "dashboard.session" in reached("pages.a.view", edges)
    assert "dashboard.session" in reached("pages.attention.draw", graph())


@pytest.mark.parametrize("name", [name for name in project() if name.startswith("pages.")])
def test_no_page_imports_another(name: str) -> None:
    own = ".".join(name.split(".")[:2])
    others = {other for other in graph()[name] if other.startswith("pages.")}
    assert {other for other in others if other != own and not other.startswith(f"{own}.")} == set()


def imported_by(first: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter holds after running a line."""
    line = f"{first}; import sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = alone(line)
    return set(ast.literal_eval(done.stdout.strip().splitlines()[-1]))


def test_core_needs_no_user_interface_and_loads_no_model_library() -> None:
    assert imported_by("import core; core.catalog()") == set()


def test_what_sessions_share_knows_no_streamlit() -> None:
    assert "streamlit" not in imported_by("from dashboard import application, sweeping, sweeps")


def test_the_tests_above_can_fail() -> None:
    assert "streamlit" in imported_by("import streamlit")


# A script's folder comes first on the path (`streamlit run dashboard/Home.py` puts dashboard/
# there), so what lies in it is found before a module of the standard library or of a package.
ON_THE_PATH = (".", "dashboard", "core", "core/sweep", "pages", "data", "data/recipes", "tests")


def importable(folder: Path) -> set[str]:
    """Names of the modules and packages that a folder adds when it is on the path."""
    files = {path.stem for path in folder.glob("*.py")}
    folders = {path.name for path in folder.iterdir() if path.is_dir()}
    return files | folders - {"__pycache__"}  # which some distributions list as their own


@pytest.mark.parametrize("folder", ON_THE_PATH)
def test_no_module_hides_one_of_python(folder: str) -> None:
    names = importable(ROOT / folder)
    assert names & set(sys.stdlib_module_names) == set()


def test_no_module_hides_a_package() -> None:
    """Some packages bring a folder ``tests`` by mistake; nothing imports theirs."""
    installed = set(packages_distributions())
    for folder in ON_THE_PATH:
        names = importable(ROOT / folder) - {"tests"}
        assert names & installed == set(), folder


def test_a_hidden_module_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "code.py").touch()
    (tmp_path / "numpy").mkdir()
    assert importable(tmp_path) == {"code", "numpy"}
    assert "code" in sys.stdlib_module_names
    assert "numpy" in packages_distributions()


# -- the public interface -------------------------------------------------------------------------


def names_below_core(text: str) -> set[str]:
    """What code takes out of core otherwise than by its public interface."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("core.")}
        elif isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "core":
            if node.module == "core":
                found |= {f"core.{a.name}" for a in node.names if a.name not in core.__all__}
            else:
                found.add(str(node.module))
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "core"
            and node.attr not in core.__all__
        ):
            found.add(f"core.{node.attr}")
    return found


@pytest.mark.parametrize("path", sources("dashboard", "pages"), ids=module_of)
def test_the_application_imports_nothing_deeper_than_core(path: Path) -> None:
    assert names_below_core(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    "text",
    [
        "import core.methods",
        "from core.errors import ImageError",
        "from core import probes",
        "import core\ncore.models.wrap",
        "def f():\n    from core.explain import explain",
    ],
)
def test_reaching_deeper_would_be_seen(text: str) -> None:
    assert names_below_core(text)
    assert not names_below_core("import core\nfrom core import heatmaps, explain\ncore.explain(1)")


PRIVATE = re.compile(r"_(?!_)\w")


def private_names(text: str) -> set[str]:
    """Names of core with a leading underscore that code takes, from a module or off an object."""
    found: set[str] = set()
    taken = {"core"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "core":
            taken |= {alias.asname or alias.name for alias in node.names}
            found |= {a.name for a in node.names if a.name.startswith("_")}
            found |= {part for part in str(node.module).split(".") if part.startswith("_")}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and PRIVATE.match(node.attr):
            inner = node.value
            while isinstance(inner, ast.Attribute):
                inner = inner.value
            if isinstance(inner, ast.Name) and inner.id in taken:
                found.add(ast.unparse(node))
        elif isinstance(node, ast.Call) and len(node.args) > 1:  # setattr(module, "_name", …)
            first, second = node.args[:2]
            if (
                isinstance(first, ast.Name)
                and first.id in taken
                and isinstance(second, ast.Constant)
                and PRIVATE.match(str(second.value))
            ):
                found.add(f"{first.id}.{second.value}")
        elif isinstance(node, ast.Constant) and re.match(r"core\.[\w.]*\._[a-z]", str(node.value)):
            found.add(str(node.value))
    return found


OTHER_TESTS = [path for path in sources("tests") if path != Path(__file__)]


@pytest.mark.parametrize("path", OTHER_TESTS, ids=module_of)
def test_tests_take_no_private_name_of_core(path: Path) -> None:
    assert private_names(path.read_text(encoding="utf-8")) == set()


def test_private_names_would_be_seen() -> None:
    assert private_names("from core.explain import _notes") == {"_notes"}
    assert private_names("from core import probes\nprobes._recorder.get()") == {"probes._recorder"}
    assert private_names("import core\ncore.capacity._gate") == {"core.capacity._gate"}
    patched = "from core.models import sources\npatch.setattr(sources, '_load', None)"
    assert private_names(patched) == {"sources._load"}
    assert private_names("patch.setattr('core.models.sources._load', 1)")
    assert not private_names("from core import probes\nprobes.Recorder.__init__\nmodule._hooks")


def test_public_interface_is_what_it_says() -> None:
    constants_classes_functions = sorted(
        core.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name)
    )
    assert constants_classes_functions == core.__all__
    assert len(set(core.__all__)) == len(core.__all__)
    offered = {name: getattr(core, name) for name in core.__all__}
    kinds = (inspect.isclass, inspect.isfunction, inspect.ismodule)
    undocumented = [
        name
        for name, thing in offered.items()
        if any(is_kind(thing) for is_kind in kinds) and not inspect.getdoc(thing)
    ]
    assert undocumented == []
    wanted = {"catalog", "open_model", "read_image", "predict", "methods", "explain", "attention"}
    assert wanted | {"record", "Needs", "maximize", "class_logit"} <= set(core.__all__)


def test_every_error_is_drawn_in_the_tree() -> None:
    from core import errors

    for name, error in vars(errors).items():
        if isinstance(error, type) and issubclass(error, Exception):
            assert issubclass(error, errors.ParallaxError)
            assert name in str(errors.__doc__)


# -- what may be done in one place only -----------------------------------------------------------


def mentioning(text: str, *folders: str) -> set[str]:
    """Files that hold a text."""
    return {
        str(path.relative_to(ROOT))
        for path in sources(*folders)
        if text in path.read_text(encoding="utf-8")
    }


@pytest.mark.parametrize(
    ("text", "folders", "only"),
    [
        ("st.cache_", ("core", "dashboard", "pages"), {"dashboard/cache/held.py"}),
        ("register_forward", ("core", "dashboard", "pages"), {"core/probes.py"}),
        ("register_full_backward", ("core", "dashboard", "pages"), set()),
        ("weights_only=False", ("core", "dashboard", "pages", "data"), set()),
        ("fused_attn =", ("core", "dashboard", "pages"), set()),
        (".requires_grad_(True)", ("core", "dashboard", "pages"), set()),
        ("os.replace(", ("core", "dashboard", "pages", "data"), {"core/files.py"}),
    ],
)
def test_only_one_place_does_it(text: str, folders: tuple[str, ...], only: set[str]) -> None:
    assert mentioning(text, *folders) == only


IN_PROCESS = {
    "core/images.py": {"Image.open"},  # the decoder itself
    "core/decoder.py": {"read_image"},  # runs in the other process
    "core/models/own.py": {"read_image"},  # a sample
    "core/sweep/work.py": {"read_image"},  # sweeps of the operator's own pictures
    "dashboard/cache/pictures.py": {"read_image"},  # samples, and what the operator offers
    "dashboard/cache/sweeps.py": {"read_image"},  # thumbnails that this process made
    "dashboard/opening.py": {"Image.open"},  # shipped
    "dashboard/splash.py": {"Image.open"},  # samples
    "dashboard/stills.py": {"Image.open"},  # figures that this process made
    "dashboard/sweeping.py": {"read_image"},  # samples
    "pages/activation_maximization/examples.py": {"read_image"},  # shipped
    "pages/activation_maximization/make_examples.py": {"read_image"},  # rows that it made
}
"""Files where a picture may be decoded in this process, and by what."""


def decoding(text: str) -> set[str]:
    """Ways to decode a picture in this process that code uses."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name | ast.Attribute):
            name = ast.unparse(node)
            if name in ("read_image", "core.read_image", "images.read_image"):
                found.add("read_image")
            elif name in ("Image.open", "PIL.Image.open", "plt.imread", "imageio.imread"):
                found.add("Image.open")
    return found


def test_what_visitors_bring_is_decoded_in_another_process() -> None:
    found = {
        str(path.relative_to(ROOT)): ways
        for path in sources("core", "dashboard", "pages")
        if (ways := decoding(path.read_text(encoding="utf-8")))
    }
    beyond = {
        file: ways - IN_PROCESS.get(file, set())
        for file, ways in found.items()
        if ways - IN_PROCESS.get(file, set())
    }
    assert beyond == {}


def test_decoding_here_would_be_seen() -> None:
    assert decoding("import core\ncore.read_image(b'')") == {"read_image"}
    assert decoding("read = images.read_image") == {"read_image"}
    assert decoding("with Image.open(file) as opened: pass") == {"Image.open"}
    assert not decoding("core.read_untrusted_image(b'', 'x')")


def test_what_streamlit_runs_holds_no_logic() -> None:
    """A page is made by its view and drawn beside it; where it is one file yet, that is short."""
    run = [path for path in sources("pages") if path.name == "page.py"]
    assert run
    flat = [path for path in sources("pages") if path.parent == ROOT / "pages"]
    for most, paths in ((10, run), (100, flat)):
        lengths = {module_of(path): len(path.read_text("utf-8").splitlines()) for path in paths}
        assert {name: lines for name, lines in lengths.items() if lines > most} == {}


# -- one spelling ---------------------------------------------------------------------------------

BRITISH = re.compile(
    r"(colour|behaviour|neighbour|favour|honour|artefact|catalogue|judgement|whilst|licence"
    r"|\b(centre|grey)(s|d|ing)?\b|(travel|cancel|label|model)l(ed|ing)\b|analys(e|ed|ing)\b"
    r"|(normal|optim|maxim|minim|initial|regular|summar|visual|recogn|organ|real|general|parameter)"
    r"is(e|ed|es|er|ers|ing|ation)\b)",
    re.IGNORECASE,
)


def documents() -> list[Path]:
    """Code and texts of the project, without the one that says what things were once called."""
    kinds = (".md", ".toml", ".txt", ".cff")
    texts = [path for path in sorted(ROOT.glob("*")) if path.suffix in kinds]
    below = [
        path
        for folder in (*CODE, "tests", "docs")
        for suffix in ("*.py", "*.md", "*.toml")
        for path in sorted((ROOT / folder).rglob(suffix))
    ]
    left_out = (Path(__file__), ROOT / "CHANGELOG.md")
    return [path for path in [*texts, *below] if path not in left_out]


def test_spelling_is_american() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in documents()
        for match in BRITISH.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize("word", ["colours", "normalise", "Optimiser", "centred", "labelled"])
def test_british_spelling_would_be_seen(word: str) -> None:
    assert BRITISH.search(f"The {word} here.")
    assert not BRITISH.search("colors normalize optimizer centered labeled otherwise Greys_r raise")
