"""The page of runs and sweeps: what was run, how it adapts, how it learned, how its tasks differ, how to repeat it.

Everything is in one file: charts as pictures and, where scripts run, as interactive ones by uPlot (MIT licence), which
is part of the package. A policy in the page lets no other script run and loads nothing from elsewhere.
"""

import base64
import functools
import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from metarl_run import __version__
from metarl_run.config.grammar import argument
from metarl_run.errors import StateError, visible
from metarl_run.files import read_bytes
from metarl_run.report.figure import COLOURS, DASHES, FAINT, OWN_COLOURS
from metarl_run.report.folder import short
from metarl_run.report.interval import plus_minus
from metarl_run.report.names import display_name
from metarl_run.report.page.chart import (
    Chart,
    adaptation_charts,
    by_env,
    improvements,
    learning_charts,
    profile_charts,
)
from metarl_run.report.page.markup import Markup, table, tag
from metarl_run.report.page.svg import picture
from metarl_run.report.run.terminal import duration, number, thousands
from metarl_run.report.sweep.groups import Group, outcomes_of
from metarl_run.report.sweep.jobs import Job, mapping_or_empty, summary_or_empty
from metarl_run.report.sweep.learning import learning_of
from metarl_run.report.sweep.panels import looks_of
from metarl_run.report.tasks import tasks_text

STATIC = Path(__file__).with_name("static")
LARGEST_FILM = 200 * 2**10
"""Bytes of a film that is put into the page; larger ones stay beside it."""

MOST_FILMS = 6
MOST_PAIRED = 12
"""Maximum number of methods that are all compared in pairs; of more, each is compared with the best alone."""

BEST = 4

FILMS = {"behaviour.gif": b"GIF8", "behaviour.mp4": b""}
PALETTE = (*COLOURS, *OWN_COLOURS.values(), FAINT)
"""Colours as pictures have them, in the order of the page's classes `s0`, `s1`, …"""


def page(groups: Sequence[Group], heading: str, notes: Sequence[str] = (), *, beside: Path | None = None) -> str:
    """The page as text.

    Args:
        groups: what is compared, perhaps of a single run.
        heading: of the page.
        notes: caveats for the reader.
        beside: folder that the page will lie in, to refer to films in it.
    """
    jobs = [job for group in groups for job in group.jobs]
    curves = [learning_of(group, unfinished=True) for group in groups]
    looks = _looks(groups)
    charts = {
        "adaptation": [*adaptation_charts(groups)],
        "learning": [*learning_charts(groups, curves)],
        "tasks": [*profile_charts(groups)],
    }
    sections = [
        ("result", "Result", _result(groups, jobs, notes)),
        ("adaptation", "Adaptation", _figures(charts["adaptation"], looks, ADAPTATION)),
        ("learning", "Meta-training", _figures(charts["learning"], looks, LEARNING)),
        ("tasks", "Distribution over tasks", [*_figures(charts["tasks"], looks, PROFILE), *_improvements(groups)]),
        ("films", "Films", [*_films(jobs, beside)]),
        ("configuration", "Configuration", [*_configuration(groups)]),
        ("runs", "Runs", [*_runs(jobs)]),
        ("software", "Environment and versions", [*_software(jobs)]),
        ("commands", "Commands to reproduce", [*_commands(jobs)]),
    ]
    filled = [(key, name, content) for key, name, content in sections if content]
    record = {"looks": looks, "charts": [chart for of_kind in charts.values() for chart in of_kind]}
    body = [
        tag("h1", heading),
        tag("p", _about(groups, jobs), class_="about"),
        tag("nav", [tag("a", name, href=f"#{key}") for key, name, _ in filled]),
        _chips(groups, looks),
        *(tag("section", tag("h2", name, id=key), content) for key, name, content in filled),
        tag("p", f"Made by metarl-run {__version__}. Charts: uPlot, MIT licence.", class_="about"),
    ]
    return _document(heading, body, record)


# --- The frame ---


@functools.cache
def _static(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def _document(heading: str, body: Sequence[Markup], record: Mapping[str, Any]) -> str:
    scripts = [_static("uPlot.iife.min.js"), _static("page.js")]
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    films = "img-src data: 'self' file:; media-src data: 'self' file:"
    policy = f"default-src 'none'; style-src 'unsafe-inline'; {films}; script-src {hashes}"
    data = json.dumps(record, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    style = f"{_static('uPlot.min.css')}{_static('page.css')}"
    licence = f"<!-- uPlot\n{_static('uPlot.LICENSE')}-->"
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"{tag('title', heading)}<style>{style}</style></head><body>",
            *body,
            licence,
            f'<script type="application/json" id="record">{data}</script>',
            *(f"<script>{script}</script>" for script in scripts),
            "</body></html>\n",
        ]
    )


def _looks(groups: Sequence[Group]) -> list[tuple[int, int]]:
    """Numbers of colour and dash of each group: those of the pictures, whose panels are one here."""
    looks = looks_of([replace(group, panel="one" if group.panel else None) for group in groups])
    found = []
    for group in groups:
        style = looks[group.label]
        dash = DASHES.index(style["linestyle"]) if style["linestyle"] in DASHES else 0
        found.append((PALETTE.index(style["color"]), dash))
    return found


def _chips(groups: Sequence[Group], looks: Sequence[tuple[int, int]]) -> Markup:
    """The legend, whose entries are switches where scripts run: a method in all of its families."""
    methods: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        methods.setdefault(group.name, []).append(index)
    chips = []
    for name, indices in methods.items():
        colour, dash = looks[indices[0]]
        line = tag("path", d="M1 4H25", class_=f"line s{colour} d{dash}")
        mark = tag("svg", line, viewBox="0 0 26 8", aria_hidden="true")
        if len(methods) > 1:
            every = " ".join(map(str, indices))
            chips.append(tag("button", mark, name, type="button", class_="chip", aria_pressed="true", data_g=every))
        else:
            chips.append(tag("span", mark, name, class_="chip"))
    return tag("div", chips, class_="chips", aria_label="methods")


def _about(groups: Sequence[Group], jobs: Sequence[Job]) -> str:
    unfinished = sum(job.problem is not None for job in jobs)
    parts = [
        _count(len(jobs), "run"),
        _count(len(groups), "method") if len(by_env(groups)) == 1 else f"{len(groups)} pairs of method and family",
        f"{unfinished} without a result" if unfinished else "",
        "every number with its 95 % interval over seeds and tasks",
    ]
    return " · ".join(filter(None, parts))


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


# --- Sections ---

ADAPTATION = "Line: mean return on held-out tasks; band: its 95 % interval."
LEARNING = "Solid: after adaptation; dashed: before. Time is that of meta-updates, without evaluations."
PROFILE = (
    "Fraction of held-out tasks that end with at least a return of τ: the higher, the better (performance profile)."
)


def _figures(charts: Sequence[Chart], looks: Sequence[tuple[int, int]], caption: str) -> list[Markup]:
    return [
        tag(
            "figure",
            tag("h3", chart["title"]),
            picture(chart, looks),
            tag("figcaption", caption, [f" Dashed grey: {level['name']}." for level in chart["levels"]]),
            id=chart["id"],
        )
        for chart in charts
    ]


def _result(groups: Sequence[Group], jobs: Sequence[Job], notes: Sequence[str]) -> list[Markup]:
    """Table of all methods, caveats, and the runs that have no result."""
    outcomes = outcomes_of(groups)
    head = ["method", "family", "before adaptation", "after the last step", "steps", "episodes", "IQM", *outcomes]
    rows = []
    for group in groups:
        points = group.points
        first, last = (points[0], points[-1]) if points else ({}, {})
        rows.append(
            [
                group.name,
                display_name("env", group.env),
                *(_measured(point, "mean", "low", "high") for point in (first, last)),
                _plain(last.get("adaptation_step"), "{:.0f}"),
                _plain(last.get("episodes_seen"), "{:g}"),
                _measured(last, "iqm", None, None),
                *(_measured(last, name, f"{name}_low", f"{name}_high") for name in outcomes),
                *_lifetime(group),
                (f"{group.finished} seeds", group.num_finished),
                _plain(group.meta_train_env_steps, "", thousands),
                _plain(group.cpu_seconds, "", duration),
                _plain(group.wall_seconds, "", duration),
            ]
        )
    head += ["lifetime return", "published", "finished", "training steps", "CPU time", "wall time"]
    parts = [table(head, rows)]
    if shown := [*dict.fromkeys(notes)]:
        parts.append(tag("ul", [tag("li", note) for note in shown], class_="note"))
    if unfinished := [job for job in jobs if job.problem is not None]:
        lines = [tag("li", tag("code", job.overrides or job.name), f": {job.problem}") for job in unfinished]
        parts.append(tag("div", tag("h3", "Without a result"), tag("ul", lines), class_="bad"))
    return parts


def _measured(point: Mapping[str, Any], name: str, low: str | None, high: str | None) -> tuple[str, float | None]:
    if point.get(name) is None:
        return "–", None
    ends = {"low": point.get(low or ""), "high": point.get(high or "")}
    return number(point[name]) + plus_minus(ends, number, "±"), point[name]


def _plain(value: float | None, form: str, shown: Any = None) -> tuple[str, float | None]:
    return ("–", None) if value is None else (shown(value) if shown else form.format(value), value)


def _lifetime(group: Group) -> Iterator[tuple[str, float | None]]:
    lifetime, published = group.lifetime_return, group.published or {}
    yield _measured(lifetime or {}, "mean", "low", "high")
    yield _plain(published.get("lifetime_return"), "{:g}")


def _improvements(groups: Sequence[Group]) -> Iterator[Markup]:
    """For each env a table of how probably the method of a row earns more than that of a column."""
    for env, members in by_env(groups).items():
        compared = [(index, group) for index, group in members if group.curve]
        if len(compared) < 2:
            continue
        columns, many = compared, len(compared) > MOST_PAIRED
        if many:
            columns = sorted(compared, key=lambda member: -(member[1].curve or {})["mean"][-1])[:BEST]
        found = improvements(compared, {index for index, _ in columns})
        rows = []
        for a, group in compared:
            cells: list[object] = [group.name]
            for b, _ in columns:
                way = found.get((a, b))
                ends = {"low": way.low, "high": way.high} if way else {}
                text = f"{way.probability:.2f}{plus_minus(ends, '{:.2f}'.format, '±')}" if way else ""
                cells.append((text, way.probability if way else None))
            rows.append(cells)
        yield tag("h3", f"Probability of improvement: {display_name('env', env)}")
        yield table(["earns more than →", *(group.name for _, group in columns)], rows)
        paired = all(way.paired for way in found.values())
        about = "In the same tasks; ties count half." if paired else "Some were tested in different tasks."
        if many:
            about += f" Of many methods, the {BEST} that earn most at the end; others: --methods A,B."
        yield tag("p", about, class_="note")


def _films(jobs: Sequence[Job], beside: Path | None) -> Iterator[Markup]:
    shown = 0
    for job in jobs:
        for file, magic in FILMS.items():
            if shown == MOST_FILMS or not (job.folder / file).is_file():
                continue
            try:
                data = read_bytes(job.folder / file, largest=64 * 2**20, first=LARGEST_FILM + 1)
            except (OSError, StateError):
                continue
            if not data.startswith(magic):
                continue
            shown += 1
            name = display_name("algo", job.choices["algo"])
            title = f"{name}, seed {job.seed}: a held-out task before adaptation and after each step"
            kind = "image/gif" if file.endswith("gif") else "video/mp4"
            inside = len(data) <= LARGEST_FILM
            source = f"data:{kind};base64,{base64.b64encode(data).decode()}" if inside else file
            if inside and file.endswith("gif"):
                content = tag("img", src=source, alt=title)
            elif job.folder == beside:
                content = (
                    tag("img", src=file, alt=title) if file.endswith("gif") else tag("video", src=file, controls="")
                )
            else:
                content = tag("p", tag("code", short(job.folder / file)))
            yield tag("figure", content, tag("figcaption", title))


def _configuration(groups: Sequence[Group]) -> Iterator[Markup]:
    """What differs between the methods, then what is the same in all."""
    known = [(group, next((job.config for job in group.jobs if job.config), None)) for group in groups]
    with_config = [(group, config) for group, config in known if config is not None]
    keys = sorted({key for _, config in with_config for key in config})
    if not keys:
        return
    values = {key: [_value(config.get(key)) for _, config in with_config] for key in keys}
    different = [key for key in keys if len(set(values[key])) > 1]
    several = len(by_env(groups)) > 1
    if different:
        names = [f"{g.name} · {display_name('env', g.env)}" if several else g.name for g, _ in with_config]
        rows = []
        for key in different:
            usual = max(set(values[key]), key=values[key].count)
            rows.append([tag("code", key), *(tag("mark", x) if x != usual else x for x in values[key])])
        yield tag(
            "p",
            f"{_count(len(different), 'key')} with different values; marked where a method has another than most.",
        )
        yield table(["key", *names], rows)
    same = [(key, values[key][0]) for key in keys if key not in different]
    rows = [[tag("code", key), value] for key, value in same]
    name = f"{_count(len(same), 'key')} {'the same in all' if len(with_config) > 1 else ''}".strip()
    yield tag("details", tag("summary", name), tag("div", table(["key", "value"], rows, sortable=False), class_="wide"))


def _value(value: Any) -> str:
    """A value of a configuration, on one line and not endless."""
    text = "–" if value is None else json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
    return visible(text if len(text) <= 200 else f"{text[:200]}…")


def _begun(record: Mapping[str, Any]) -> list[object]:
    """Time, host and commit that a run was begun with, as run.json records them."""
    found = record.get("provenance")
    found = found if isinstance(found, dict) else {}
    repository = found.get("git")
    repository = repository if isinstance(repository, dict) else {}
    commit = str(repository.get("commit") or "–")[:9]
    changed = " and changes" if repository.get("clean") is False else ""
    return [str(found.get("began") or "–"), str(found.get("host") or "–"), tag("code", f"{commit}{changed}")]


def _runs(jobs: Sequence[Job]) -> Iterator[Markup]:
    """Identity and provenance of every run."""
    head = [
        "run",
        "method",
        "family",
        "seed",
        "status",
        "last mean",
        "CPU time",
        "wall time",
        "version",
        "held-out tasks",
    ]
    rows: list[list[object]] = []
    for job in jobs:
        last = [row["episode_return"] for row in job.rows if row["adaptation_step"] == job.rows[-1]["adaptation_step"]]
        mean = sum(last) / len(last) if last else None
        state = tag("span", job.problem, class_="bad") if job.problem else "complete"
        rows.append(
            [
                job.name,
                display_name("algo", job.choices["algo"]),
                display_name("env", job.choices["env"]),
                ("–" if job.seed is None else str(job.seed), job.seed),
                state,
                _plain(mean, "", number),
                _plain(job.cpu_seconds, "", duration),
                _plain(job.wall_seconds or None, "", duration),
                job.family_version or "–",
                tag("code", job.tasks_hash or "–"),
            ]
        )
    records = [mapping_or_empty(job.folder / "run.json") for job in jobs]
    for row, job, record in zip(rows, jobs, records, strict=True):
        row += [tasks_text(job.tasks) if job.tasks else "–", *_begun(record), short(job.folder)]
    yield table([*head, "tasks", "begun", "host", "commit", "folder"], rows)
    for job, record in zip(jobs, records, strict=True):
        changes = record.get("changes")
        if isinstance(changes, list) and changes:
            yield tag(
                "p", f"{job.name} went on with changes: {json.dumps(changes, ensure_ascii=False)[:1000]}", class_="note"
            )


def _software(jobs: Sequence[Job]) -> Iterator[Markup]:
    """Versions and machine of all runs, marked where they differ."""
    found: dict[str, dict[str, int]] = {}
    for job in jobs:
        summary = summary_or_empty(job.folder)
        versions = summary.get("versions")
        flat = {**(versions if isinstance(versions, dict) else {})}
        flat |= {key: summary[key] for key in ("device", "threads") if key in summary}
        products = summary.get("products")
        flat |= {f"products {key}": value for key, value in products.items()} if isinstance(products, dict) else {}
        for key, value in flat.items():
            counts = found.setdefault(str(key), {})
            counts[str(value)] = counts.get(str(value), 0) + 1
    rows = []
    for key, counts in found.items():
        several = len(counts) > 1
        texts = [f"{value} ({_count(count, 'run')})" if several else value for value, count in counts.items()]
        rows.append([key, tag("mark", ", ".join(texts)) if several else ", ".join(texts)])
    if rows:
        yield tag("div", table(["software", "version"], rows, sortable=False), class_="wide")


def _commands(jobs: Sequence[Job]) -> Iterator[Markup]:
    """The command line of every run, and how one is looked at and continued."""
    lines = dict.fromkeys(filter(None, map(command_of, jobs)))
    shown = tag("pre", "\n".join(lines))
    if lines:
        yield shown if len(lines) <= 8 else tag("details", tag("summary", _count(len(lines), "command")), shown)
    if len(jobs) == 1:
        folder = short(jobs[0].folder)
        resume = [f"metarl-run {argument('resume', folder)}"] if jobs[0].problem else []
        yield tag("pre", "\n".join([f"metarl-run watch {shlex.quote(folder)}", *resume]))


def command_of(job: Job) -> str:
    """The command line that makes the run again; empty if it is not known."""
    asked = mapping_or_empty(job.folder / "run.json").get("overrides")
    if not isinstance(asked, list):
        return ""
    given = [shlex.quote(visible(str(text))) for text in asked if not str(text).startswith("-")]
    return " ".join(["metarl-run", *given])


def heading_of(groups: Sequence[Group]) -> str:
    """`MAML on CartPole family, seed 0`, or the number of methods and families."""
    names = list(dict.fromkeys(display_name("algo", group.algo) for group in groups))
    envs = list(dict.fromkeys(display_name("env", group.env) for group in groups))
    methods = ", ".join(names) if len(names) <= 4 else _count(len(names), "method")
    heading = f"{methods} on {', '.join(envs) if len(envs) <= 3 else _count(len(envs), 'family')}"
    seeds = [job.seed for group in groups for job in group.jobs]
    return f"{heading}, seed {seeds[0]}" if len(seeds) == 1 else heading
