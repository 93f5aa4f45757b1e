"""The documentation as a folder of HTML that needs no network.

Written by hand are the pages in `.github/docs/` and the project's other documents. Generated are a page for each
algorithm, from its class's docstring, its YAML and its curve in the showcase; the reference of options and keys, from
`conf/`; and the Python reference, from docstrings. MkDocs makes the site, and fails where a link leads nowhere.
"""

import argparse
import csv
import functools
import json
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from metarl_run.config import described
from metarl_run.config.described import Key, Option, in_words, options, run_keys, search_keys, table_keys, tables_in
from metarl_run.config.static.signature import signature
from metarl_run.config.static.source import find
from metarl_run.folders import CONFIG_DIR

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / ".github" / "docs"
SHOWCASE = ROOT / "outputs" / "showcase"
FAMILIES = SHOWCASE / "families" / "comparison.csv"
ENVS = {"cartpole_family": "CartPoles", "random_mdp": "Random MDPs"}
"""Task families of that comparison."""

SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Differs from [^:\n]{1,40}|Source): ?", re.MULTILINE)
LINK = re.compile(r"(\]\()([^)\s#]*)((?:#[^)\s]*)?\))")
BLOCK = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
GROUPS = {
    "env": "Task families",
    "learner": "Learners",
    "network": "Networks",
    "logger": "Loggers",
    "algo/meta_optimizer": "Meta-optimizers",
}
CONTRACTS = (
    *("env.base.TaskFamily", "env.base.Task", "algo.base.MetaAlgorithm", "algo.base.MetaLearner"),
    *("algo.gradient.base.GradientBased", "learner.base.BaseLearner", "network.base.Network", "logger.base.Sink"),
    *("types.AgentState", "types.Rollout", "types.Percept", "config.offered.Offered"),
)
"""Base classes and records that additions are written against."""

option = functools.cache(described.option)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "docs", help="folder (default: outputs/docs)")
    chosen = parser.parse_args()
    out = chosen.out.expanduser().resolve()
    if out.exists() and not (out / "search").is_dir() and any(out.iterdir()):
        print(f"error: --out: {out} holds something else\nhint: name a folder that does not exist", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as place:
        source = Path(place, "pages")
        navigation = write_pages(source)
        build(source, navigation, out)
    print(out / "index.html")
    return 0


def build(source: Path, navigation: list[Any], out: Path) -> None:
    """Make the site of the pages in `source`."""
    os.environ.setdefault("NO_MKDOCS_2_WARNING", "true")  # the theme's, about a version that it does not follow
    from mkdocs.commands.build import build as build_site
    from mkdocs.config import load_config
    from mkdocs.exceptions import Abort

    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    config = load_config(str(PAGES / "mkdocs.yml"), docs_dir=str(source), site_dir=str(out), nav=navigation)
    config.mdx_configs["pymdownx.snippets"]["base_path"] = [str(ROOT)]
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [str(ROOT)]
    try:
        build_site(config)
    except Abort as error:
        sys.exit(f"error: docs: {error}")


# --- Pages ---


def write_pages(folder: Path) -> list[Any]:
    """Write all pages in Markdown, with the pictures they show; the site's navigation."""
    hand = {path.name: path for path in sorted(PAGES.glob("*.md"))}
    documents = [
        ROOT / "README.md",
        *hand.values(),
        *(ROOT / ".github" / name for name in ("CONTRIBUTING.md", "CHANGELOG.md")),
    ]
    documents += [*SHOWCASE.rglob("*.md"), ROOT / "scripts" / "benchmarks" / "NOTES.md"]
    for document in documents:
        _write(folder / place_of(document), relinked(document.read_text(encoding="utf-8"), document, folder))
    for name in options("algo"):
        _write(folder / "algorithms" / f"{name}.md", algorithm_page(name, folder))
    _write(folder / "algorithms" / "index.md", algorithms_page())
    for group, title in GROUPS.items():
        _write(folder / "options" / f"{group.replace('/', '_')}.md", options_page(group, title))
    _write(folder / "options" / "run.md", run_page())
    _write(folder / "options" / "experiment.md", experiments_page())
    _write(folder / "reference" / "python.md", python_page())
    _write(folder / "reference" / "contracts.md", contracts_page())
    (folder / "assets").mkdir()
    for name in ("iframe-worker.js", "site.css"):
        shutil.copy(PAGES / name, folder / "assets")
    for path in sorted(PAGES.glob("*.ipynb")):
        _write(folder / "notebooks" / f"{path.stem}.md", notebook_page(path))
        shutil.copy(path, folder / "notebooks" / path.name)
    notebooks = [f"notebooks/{path.stem}.md" for path in sorted(PAGES.glob("*.ipynb"))]
    draw_curves(folder / "algorithms")
    algorithms = [{name: f"algorithms/{name}.md"} for name in options("algo")]
    return [
        {"Start": "index.md"},
        {"Tutorials": ["your_task_family.md", "your_algorithm.md", "from_a_paper.md", *notebooks]},
        {"Algorithms": ["algorithms/index.md", *algorithms]},
        {
            "Options": [
                "options/run.md",
                *(f"options/{g.replace('/', '_')}.md" for g in GROUPS),
                "options/experiment.md",
            ]
        },
        {"Python": ["reference/python.md", "reference/contracts.md"]},
        {"Results": ["results/index.md", {"Reliability": "results/reliability/index.md"}]},
        {"Development": ["contributing.md", "changelog.md"]},
    ]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def place_of(document: Path) -> Path:
    """Where a document of the project stands in the site."""
    path = document.relative_to(ROOT)
    if path == Path("README.md"):
        return Path("index.md")
    if path.is_relative_to(".github/docs"):
        return path.relative_to(".github/docs")
    if path.is_relative_to(".github"):
        return Path(path.name.lower() if path.suffix == ".md" else path.name)
    if path.is_relative_to("outputs/showcase"):
        path = Path("results") / path.relative_to("outputs/showcase")
        return path.with_name("index.md") if path.name == "README.md" else path
    return Path("project") / path


def relinked(text: str, document: Path, folder: Path) -> str:
    """The text of a document with its links led to the site's pages; other files of the project come along."""

    def lead(found: re.Match[str]) -> str:
        start, target, end = found.groups()
        if not target or "://" in target or target.startswith("mailto:"):
            return found[0]
        path = (document.parent / target).resolve()
        if not path.exists():  # a page that is generated; MkDocs tells if there is none
            return found[0]
        if path.is_dir():
            readme = path / "README.md"
            if not readme.exists():
                return f"{start}{target}{end}"
            path = readme
        if path.suffix != ".md":
            (folder / place_of(path)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / place_of(path))
        return start + os.path.relpath(place_of(path), place_of(document).parent) + end

    fenced = [found.span() for found in BLOCK.finditer(text)]
    pieces, position = [], 0
    for begin, end in [*fenced, (len(text), len(text))]:
        pieces += [LINK.sub(lead, text[position:begin]), text[begin:end]]
        position = end
    return "".join(pieces)


# --- Algorithms ---


def algorithms_page() -> str:
    rows = [f"| [`{name}`]({name}.md) | {_cell(summary)} |" for name, summary in options("algo").items()]
    return "\n".join(["# Algorithms", "", f"`algo=NAME`; there are {len(rows)}.", "", "| | |", "|---|---|", *rows, ""])


def algorithm_page(name: str, folder: Path) -> str:
    """What an algorithm computes, where it is from, what differs from the paper, its options and its curve."""
    of = option("algo", name)
    assert of.target is not None
    title, _, rest = of.summary.partition(": ")
    parts = [f"# {title if rest else name}", f"`algo={name}`" + (f": {rest}" if rest else f": {of.summary}"), *of.notes]
    variants = [other for other in options("algo") if option("algo", other).base == name]
    if of.base:
        changed = [f"`{key.path}={key.value}`" for key in _changed(of, option("algo", of.base)) if key.value]
        parts.append(f"A variant of [`{of.base}`]({of.base}.md)" + (f" with {', '.join(changed)}." if changed else "."))
    if variants:
        parts.append("Variants: " + ", ".join(f"[`{other}`]({other}.md)" for other in variants) + ".")
    sections = docstring(of.target)
    parts += [sections[""], *needs(of)]
    for heading in sections:
        if heading.startswith(("Differs from", "Source")):
            text = sections[heading]
            parts += [f"## {heading}", text[:1].upper() + text[1:]]
    parts += ["## Try it", f"```bash\n{command_for(name)}\n```"]
    parts += ["## Options", keys_table(of.keys, arguments(sections.get("Args", "")), prefix="algo.")]
    parts += curves(name, folder)
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def needs(of: Option) -> Iterator[str]:
    """What must come with it."""
    taken = signature(of.target or "", ("metarl_run",))
    required = [] if taken is None else [*taken.declared.requires]
    if required:
        yield "Requires of the other components: " + ", ".join(word.replace("_", " ") for word in required) + "."
    if of.brings:
        yield (
            "Brings "
            + ", ".join(f"`{group}={other}`" for group, other in of.brings.items())
            + " unless others are given."
        )


def command_for(name: str) -> str:
    """A command that runs an algorithm in a family that suits it."""
    targets = [key.value for key in option("algo", name).keys.values() if key.path.endswith("_target_")]
    parts = [taken for target in targets if (taken := signature(target, ("metarl_run",))) is not None]
    required = {word for part in parts for word in part.declared.requires}
    families = {
        "bandit": "bandit",
        "gaussian_bandit": "bandit_dpt",
        "linear_bandit": "bandit_linear",
        "tabular": "random_mdp",
    }
    env = next((family for word, family in families.items() if word in required), "cartpole_family")
    data = " dataset=FOLDER" if any("dataset" in part.parameters for part in parts) else ""
    return f"metarl-run algo={name} env={env}{data}"


def _changed(of: Option, base: Option) -> Iterator[Key]:
    for path, key in of.keys.items():
        if path not in base.keys or base.keys[path].value != key.value:
            yield key


def docstring(target: str) -> dict[str, str]:
    """The sections of a class's docstring by heading, the text before them under the empty one."""
    found = find(target, ("metarl_run",))
    assert found is not None
    import ast

    text = ast.get_docstring(found[1]) or ""  # type: ignore[arg-type]
    pieces = SECTION.split(text)
    return {"": pieces[0]} | {heading: dedent(body) for heading, body in zip(pieces[1::2], pieces[2::2], strict=True)}


def arguments(text: str) -> dict[str, str]:
    """Names and descriptions in a section `Args`."""
    found = re.split(r"^(?: {4})?([\w, ]+): ", "\n" + dedent(text.strip("\n")), flags=re.MULTILINE)
    pairs = zip(found[1::2], found[2::2], strict=True)
    return {name: " ".join(words.split()) for names, words in pairs for name in names.split(", ")}


def keys_table(keys: Mapping[str, Key], meanings: Mapping[str, str] | None = None, prefix: str = "") -> str:
    """A row for each key: default, values, and what its comment and its class say."""
    rows = []
    for key in keys.values():
        if not key.is_of_interest:
            continue
        meaning = (meanings or {}).get(key.path.removeprefix(prefix), "")
        repeats = meaning.rstrip(".").lower() in key.comment.lower()
        said = key.comment if repeats else f"{meaning} *{key.comment}*" if key.comment else meaning
        value = key.value if len(key.value) <= 70 else f"{key.value[:60]} …"
        cells = [f"`{key.path}`", f"`{value}`" if value else "", in_words(key.kind), said]
        rows.append("| " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join(["| key | default | values | meaning |", "|---|---|---|---|", *rows]) if rows else "It has none."


def _cell(text: str) -> str:
    """Text as it may stand in a table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


# --- Curves ---


def curves(name: str, folder: Path) -> Iterator[str]:
    """Pictures of an algorithm in the showcase."""
    runs = [path for path in sorted(SHOWCASE.rglob("summary.json")) if json.loads(path.read_text())["algo"] == name]
    pictures = [
        path.parent / "adaptation_curve.png" for path in runs if (path.parent / "adaptation_curve.png").exists()
    ]
    if name in _compared() or pictures:
        yield "## Curves"
    if name in _compared():
        yield f"![{name} among all methods, by episodes seen in the task]({name}.svg)"
        yield (
            "*Return by the episodes seen in a held-out task, with its 95 % interval over seeds and tasks; "
            "in grey the other methods of [the comparison](../results/index.md).*"
        )
    for picture in pictures[:2]:
        place = folder / place_of(picture)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, place)
        where = picture.parent.relative_to(SHOWCASE)
        yield f"![{name}: {where}](../{place_of(picture)})"
        yield f"*A run of the showcase: `outputs/showcase/{where}`.*"


def _compared() -> dict[str, dict[str, list[list[float]]]]:
    """By algorithm and task family: rows of episodes, mean and interval."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    for row in csv.DictReader(FAMILIES.read_text(encoding="utf-8").splitlines()):
        if not row["variant"]:
            point = [float(row[column]) for column in ("episodes_seen", "mean", "low", "high")]
            found.setdefault(row["algo"], {}).setdefault(row["env"], []).append(point)
    return found


def draw_curves(folder: Path) -> None:
    """One picture for each compared algorithm: its curve, and the others' in grey."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    compared = _compared()
    with pyplot.rc_context({"svg.fonttype": "none", "svg.hashsalt": "metarl-run", "font.size": 9}):
        figure, axes = pyplot.subplots(1, len(ENVS), figsize=(8, 2.8), layout="constrained")
        for axis, (env, title) in zip(axes, ENVS.items(), strict=True):
            for rows in (by_env[env] for by_env in compared.values() if env in by_env):
                axis.plot([row[0] for row in rows], [row[1] for row in rows], color="0.8", linewidth=0.7)
            axis.set(title=title, xlabel="episodes in the task", xlim=(0, 40))
            axis.spines[["top", "right"]].set_visible(False)
        axes[0].set_ylabel("return per episode")
        figure.canvas.draw()
        figure.set_layout_engine("none")  # once is enough: nothing outside the axes changes
        for name, by_env in compared.items():
            drawn = []
            for axis, rows in ((axis, by_env[env]) for axis, env in zip(axes, ENVS, strict=True) if env in by_env):
                x, mean, low, high = zip(*rows, strict=True)
                drawn += axis.plot(x, mean, color="C0", linewidth=2, marker="o" if len(x) < 12 else None, markersize=4)
                drawn.append(axis.fill_between(x, low, high, color="C0", alpha=0.2, linewidth=0))
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            for artist in drawn:
                artist.remove()
        pyplot.close(figure)


# --- Options ---


def options_page(group: str, title: str) -> str:
    """Every option of a group with its keys; of a variant those that differ."""
    parts = [f"# {title}", f"`{group}=NAME`; on the command line `metarl-run {group}=NAME --help` shows the same."]
    for name, summary in options(group).items():
        of = option(group, name)
        parts += [f"## {name}", summary, *of.notes]
        if of.base:
            base = option(group, of.base)
            changed = {key.path: key for key in _changed(of, base)}
            parts += [f"A variant of [`{of.base}`](#{of.base}). What differs:", keys_table(changed)]
            continue
        sections = docstring(of.target) if of.target else {"": ""}
        parts += [
            sections[""],
            *(f"{name}: {sections[name]}" for name in sections if name.startswith(("Differs", "Source"))),
        ]
        prefix = f"{group.replace('/', '.')}."
        parts.append(keys_table(of.keys, arguments(sections.get("Args", "")), prefix))
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def run_page() -> str:
    parts = ["# Keys of a run", "`conf/train.yaml` holds their defaults; `metarl-run keys --help` shows the same."]
    parts += [keys_table(run_keys()), "## Keys of a paper's table"]
    tables = ", ".join(f"`experiment={name}`" for name in tables_in(CONFIG_DIR / "experiment"))
    parts += [f"For {tables}; `conf/table.yaml` holds their defaults.", keys_table(table_keys())]
    parts += ["## Keys of a search", "Of `hydra/sweeper=search`.", keys_table(search_keys())]
    return "\n\n".join(parts) + "\n"


def experiments_page() -> str:
    parts = [
        "# Experiments",
        "`experiment=NAME` sets options and keys together; what the command line says besides takes precedence.",
    ]
    for name in options("experiment"):
        text = (CONFIG_DIR / "experiment" / f"{name}.yaml").read_text(encoding="utf-8").rstrip("\n")
        notes = option("experiment", name).notes
        parts += [f"## {name}", options("experiment")[name], *notes, f"```bash\nmetarl-run experiment={name}\n```"]
        parts.append(f'??? note "conf/experiment/{name}.yaml"\n\n' + indent(f"```yaml\n{text}\n```", "    "))
    return "\n\n".join(parts) + "\n"


# --- Python ---


def python_page() -> str:
    """The package's public names, each from the module that defines it."""
    import metarl_run

    parts = ["# Python", dedent(metarl_run.__doc__ or "")]
    for name in getattr(metarl_run, "__all__", ()):
        thing = getattr(metarl_run, name)
        home = getattr(thing, "__module__", None)
        parts.append(
            f"::: {home}.{thing.__qualname__}"
            if home and hasattr(thing, "__qualname__")
            else f"::: {type(thing).__module__}"
        )
    return "\n\n".join(parts) + "\n"


def contracts_page() -> str:
    start = "# Contracts\n\nWhat additions are written against: see [Contributing](../contributing.md)."
    return "\n\n".join([start, *(f"::: metarl_run.{name}" for name in CONTRACTS)]) + "\n"


def notebook_page(path: Path) -> str:
    """A notebook's cells, without outputs."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join([*parts, f"[The notebook]({path.name})"]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
