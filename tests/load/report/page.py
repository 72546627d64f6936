"""One HTML file with the plots and tables of a result. It loads nothing: styles and pictures are inside."""

from html import escape
from string import Template

from tests.load.report.plots import Plot
from tests.load.report.style import svg
from tests.load.report.tables import Grid, grids, milliseconds
from tests.load.result import Result, headline, recording_of
from tests.load.traffic import RECOMMEND

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>RecStack load: $title</title>
<style>
:root { color-scheme: light; --ink: #1f2933; --faint: #616e7c; --line: #e4e7eb; --accent: #0072b2; }
body { margin: 0; background: #f5f7fa; color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 960px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 6px; text-wrap: balance; }
h2 { font-size: 17px; margin: 0 0 12px; }
.lead { color: var(--faint); margin: 0 0 24px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px; margin-bottom: 20px; }
.card, section { background: #fff; border: 1px solid var(--line); border-radius: 10px; }
.card { padding: 14px 16px; } .card b { display: block; font-size: 24px; line-height: 1.2; color: var(--accent); }
.card span { color: var(--faint); font-size: 13px; }
section { padding: 20px; margin-bottom: 20px; overflow-x: auto; }
figure { margin: 0; } figure svg { display: block; width: 100%; height: auto; }
figcaption { color: var(--faint); font-size: 14px; margin-top: 8px; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; width: 100%; }
th { color: var(--faint); font-weight: 500; text-align: right; }
td { text-align: right; white-space: nowrap; }
th, td { padding: 4px 10px 4px 0; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, .words th:last-child, .words td:last-child { text-align: left; white-space: pre; }
.words th:last-child, .words td:last-child { padding-left: 12px; white-space: normal; }
</style>
</head>
<body>
<main>
<h1>$title</h1>
<p class="lead">$lead</p>
<div class="cards">$cards</div>
$plots
$tables
</main>
</body>
</html>
""")


def page(result: Result, plots: list[Plot]) -> str:
    """The whole document."""
    return _PAGE.substitute(
        title=escape(headline(result).split(". ")[0]),
        lead="<br>".join(escape(line) for line in _lead(result)),
        cards="".join(_card(name, value) for name, value in _cards(result)),
        plots="\n".join(_figure(plot) for plot in plots),
        tables="\n".join(_table(grid) for grid in grids(result)),
    )


def _lead(result: Result) -> list[str]:
    place, options = result.place, result.options
    traffic = options.traffic
    mix = ", ".join(f"{name} {weight:g}" for name, weight in traffic.mix.items())
    lines = [
        headline(result).partition(". ")[2],
        f"{place.server}; {place.where}.",
        f"Load generator: {options.workers} processes, {result.machine}; deadline of a call {options.timeout:g} s.",
        f"Users {traffic.users[0]} to {traffic.users[1]}, Zipf {traffic.zipf:g}, {traffic.unknown_share:.0%} unknown; "
        f"k = {traffic.k}; {traffic.session_pages:g} pages a session; mix {mix}; seed {traffic.seed}.",
    ]
    return [line for line in lines if line]


def _cards(result: Result) -> list[tuple[str, str]]:
    step = (result.knee and result.knee.step) or result.step
    recording = recording_of(step)
    latency = recording.rpcs[RECOMMEND].latency
    return [
        ("requests/s at the knee" if result.knee else "requests/s", f"{recording.calls / recording.seconds:.4g}"),
        (f"{RECOMMEND}/s", f"{recording.rpcs[RECOMMEND].calls / recording.seconds:.4g}"),
        (f"p50 of {RECOMMEND}", f"{milliseconds(latency.percentile(50))} ms"),
        (f"p99 of {RECOMMEND}", f"{milliseconds(latency.percentile(99))} ms"),
        ("errors", f"{step.error_share:.2%}"),
        ("degraded", f"{step.degraded_share:.2%}"),
    ]


def _card(name: str, value: str) -> str:
    return f'<div class="card"><b>{escape(value)}</b><span>{escape(name)}</span></div>'


def _figure(plot: Plot) -> str:
    drawing = svg(plot.figure).replace("<svg ", f'<svg role="img" aria-label="{escape(plot.caption)}" ', 1)
    return f"<section><figure>{drawing}<figcaption>{escape(plot.caption)}</figcaption></figure></section>"


def _table(grid: Grid) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in grid.headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in grid.rows)
    words = ' class="words"' if grid.words else ""
    return (
        f"<section><h2>{escape(grid.title)}</h2><table{words}><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></section>"
    )
