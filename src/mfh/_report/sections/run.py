"""How a run was made: command, configuration, versions, machine, and the time of each stage."""

from typing import Any

from mfh._report import wording
from mfh._report.section import Section, Summary
from mfh._report.tables import Table, cell, is_number, label, pairs, plain_text, table
from mfh._report.wording import duration, percent
from mfh._system.environment import command_line
from mfh.results import RunResult

TEMPLATE = """
{% if s.command %}
<p>This command repeats the run
{{- "; on the same folder it resumes" if s.kind in ("study", "unfinished") }}.</p>
<pre class="command" tabindex="0"><code>{{ s.command }}</code></pre>
{% endif %}
<div class="pair">
{{ grid("config") }}
<div>
{{ grid("timings") }}
{{ grid("environment") }}
</div>
</div>
"""


def circumstances(result: RunResult) -> dict[str, Any]:
    """Return what results of every kind have."""
    environment = dict(result.environment)
    command = environment.pop("command", None)
    return {
        "kind": result.kind,
        "source_note": "All numbers of this page are in results.json, in the folder of the run.",
        "config": dict(result.config),
        "environment": environment,
        "timings": dict(result.timings),
        "command": command_line(command),
    }


def build_config(summary: Summary) -> Table | None:
    """Return the resolved configuration."""
    values = dict(summary["config"])
    if training := (summary.get("labels") or {}).get("training"):
        values |= {**training, "arms": list(dict.fromkeys(row["name"] for row in summary["arms"]))}
        values.pop("epochs", None)  # the number of steps is fixed
    rows = [(key, plain_text(value)) for key, value in values.items()]
    return pairs("config", "Resolved configuration", rows)


def build_environment(summary: Summary) -> Table | None:
    """Return versions and machine."""
    values = dict(summary["environment"])
    packages = values.pop("packages", None) or {}
    rows = [(label(key), plain_text(value)) for key, value in [*values.items(), *packages.items()]]
    return pairs("environment", "Versions and machine", rows)


def build_timings(summary: Summary) -> Table | None:
    """Return seconds by stage with their share; stages that ran in parallel add up to more than the total."""
    stages = {key: value for key, value in summary["timings"].items() if is_number(value)}
    total = stages.pop("total", None) or sum(stages.values())
    rows = [
        [
            cell(label(stage)),
            cell(duration(seconds), seconds),
            cell(percent(seconds / sum(stages.values())) if seconds else wording.NOTHING, seconds),
        ]
        for stage, seconds in stages.items()
    ]
    return table("timings", f"Time by stage; {duration(total)} in all", ("Stage", "Time #", "Share #"), rows)


SECTION = Section(
    name="run",
    heading="Command, configuration and timings",
    tables=(build_config, build_environment, build_timings),
    template=TEMPLATE,
    is_shown=lambda _: True,
)
