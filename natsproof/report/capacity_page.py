"""The capacity page: capacity.json, capacity.csv and capacity.html from a history's observation.

`fragment` is the part that report.html may include: SVG and tables, no script, no request.
"""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from natsproof.history import History
from natsproof.report.capacity_charts import latency_by_rate, over_time, scaling
from natsproof.report.page import render

STEP_COLUMNS = (
    "label",
    "at_s",
    "seconds",
    "offered_hz",
    "achieved_hz",
    "p50_ms",
    "p90_ms",
    "p99_ms",
    "p999_ms",
    "max_ms",
    "service_p50_ms",
    "backlog_growth",
    "lag_p99_ms",
    "why",
    "not_valid",
)
#: Columns of the steps' table from the servers' side: (name, digits).
COSTS = (
    ("servers_cpu_cores", 2),
    ("disk_written_per_byte_put", 1),
    ("device_flushes_per_put", 1),
    ("raft_lag_entries", 0),
)


def capacity_data(history: History) -> dict[str, Any] | None:
    """The observation `capacity` with the kills of the history, seconds since the run's begin."""
    found = list(history.observed("capacity"))
    if not found:
        return None
    data = dict(found[0].data)
    began_ns = found[0].at_ns - int(float(data["took_s"]) * 1e9)
    data["kills_at"] = [
        {
            "from_s": round((i.injected_ns - began_ns) / 1e9, 2),
            "to_s": None if i.healed_ns is None else round((i.healed_ns - began_ns) / 1e9, 2),
            "targets": list(i.targets),
        }
        for i in history.injections
        if i.landed
    ]
    return data


def write(history: History, folder: Path, *, baseline: Mapping[str, Any] | None = None) -> Path | None:
    """capacity.json, .csv and .html in `folder`; the page's path, None without a capacity run.

    `baseline` is the capacity.json of an earlier run; what became worse is named.
    """
    data = capacity_data(history)
    if data is None:
        return None
    if baseline is not None:
        data["regressions"] = regressions(baseline, data)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "capacity.json").write_text(json.dumps(data, indent=1))
    (folder / "capacity.csv").write_text(steps_csv(data))
    page = folder / "capacity.html"
    page.write_text(render("capacity.html.j2", body=fragment(data)))
    return page


def of_run(run: str | Path | None) -> dict[str, Any] | None:
    """capacity.json of an earlier run's folder; None without one."""
    if not run:
        return None
    path = Path(run) / "attachments" / "capacity" / "capacity.json"
    return dict(json.loads(path.read_text())) if path.is_file() else None


def steps_csv(data: Mapping[str, Any]) -> str:
    """All steps, one a row; the servers' costs in columns of their own."""
    costs = sorted({name for step in data["steps"] for name in step["servers"]})
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*STEP_COLUMNS, *costs])
    for step in data["steps"]:
        table.writerow([*(step[c] for c in STEP_COLUMNS), *(step["servers"].get(c, "") for c in costs)])
    return text.getvalue()


def regressions(baseline: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Rates that became lower by more than both runs' uncertainty, each as a sentence."""
    found = []
    for which, name in (("knee", "knee with all pods"), ("one_down", "knee with one pod down")):
        old, new = baseline.get(which), now.get(which)
        if not old or not new or not old["rate_hz"]:
            continue
        unsure = float(old["certain_to"]) + float(new["certain_to"])
        change = float(new["rate_hz"]) / float(old["rate_hz"]) - 1
        if change < -unsure:
            found.append(
                f"{name}: {old['rate_hz']:.0f} to {new['rate_hz']:.0f} operations a second "
                f"({change:+.0%}, uncertainty {unsure:.0%})"
            )
    old_rate, new_rate = float(baseline.get("certified_hz") or 0), float(now.get("certified_hz") or 0)
    if old_rate and new_rate < 0.85 * old_rate:  # the rates tried under kills lie 15 % and more apart
        found.append(f"rate under pod kills: {old_rate:.0f} to {new_rate:.0f} operations a second")
    return found


def fragment(data: Mapping[str, Any]) -> str:
    """The page's body: what is certified first, then the pictures, then the tables."""
    parts = [_headline(data)]
    if data.get("regressions"):
        parts.append(_list("Worse than the baseline", data["regressions"]))
    steps = data["steps"]
    if steps:
        objective_ms = float(data["objective_s"]) * 1e3
        parts.append(over_time(steps, data.get("kills_at", [])))
        parts.append(latency_by_rate([s for s in steps if s["label"] == "all pods"], objective_ms))
    if data["usl"].get("points"):
        parts.append(scaling(data["usl"]))
    parts += [_scaling_text(data["usl"]), _axes(data["axes"]), _fill(data["fill"]), _sizing(data["sizing"])]
    if data.get("not_measured"):
        parts.append(_list("Not measured", data["not_measured"]))
    parts.append(_steps(steps))
    return "\n".join(part for part in parts if part)


def _headline(data: Mapping[str, Any]) -> str:
    rows = [
        ("certified: under pod kills", f"{data['certified_hz']:.0f} /s" if data["certified_hz"] else "none")
    ]
    for which, name in (("one_down", "one pod down"), ("knee", "all pods")):
        if data[which]:
            found = data[which]
            bound = "" if found["limited_by"] == "platform" else f", lower bound ({found['limited_by']})"
            rows.append((name, f"{found['rate_hz']:.0f} /s ± {found['certain_to']:.0%}{bound}"))
    context = data["context"]
    known = ("cluster", "image", "sync", "replicas", "cores", "kernel", "load_average")
    rows += [(name.replace("_", " "), str(context[name])) for name in known if name in context]
    cells = "".join(f"<div><dt>{_text(n)}</dt><dd>{_text(v)}</dd></div>" for n, v in rows)
    return f'<dl class="facts">{cells}</dl>'


def _scaling_text(usl: Mapping[str, Any]) -> str:
    if "contention" not in usl:
        return f"<p>{_text(usl['problem'])}</p>" if "problem" in usl else ""
    best = usl.get("best_clients")
    return (
        f"<p>One client {usl['one_client_hz']:.0f} ± {usl['one_client_error_hz']:.0f} /s, contention "
        f"{usl['contention']:.4f} ± {usl['contention_error']:.4f}, coherency {usl['coherency']:.6f} ± "
        f"{usl['coherency_error']:.6f}, residual {usl['residual']:.1%}; most at "
        f"{'no finite number of' if best is None else f'{best:.0f}'} clients.</p>"
    )


def _axes(axes: Sequence[Mapping[str, Any]]) -> str:
    rows = [(a["axis"].replace("_", " "), str(a["value"]), f"{a['rate_hz']:.0f}") for a in axes]
    return _table("What drives it (64 in flight)", ("axis", "value", "operations a second"), rows)


def _fill(fill: Sequence[Mapping[str, Any]]) -> str:
    columns = (
        "bucket",
        "value_bytes",
        "entries",
        "bytes_per_entry",
        "model_bytes_per_entry",
        "disk_per_byte",
    )
    rows = [tuple(str(row[c]) for c in columns) for row in fill]
    return _table("Measured fill", tuple(c.replace("_", " ") for c in columns), rows)


def _sizing(sizing: Mapping[str, Any]) -> str:
    if not sizing:
        return ""
    rows = []
    for scenario in ("now", "five_servers", "twice_the_ttl"):
        size = sizing[scenario]
        for bucket in size["buckets"]:
            most = bucket["most_hz"]
            rows.append(
                (
                    scenario.replace("_", " "),
                    str(bucket["bucket"]),
                    f"{bucket['rate_hz']:.1f}",
                    "never" if most is None else f"{most:,.0f}",
                    str(bucket["says"]),
                )
            )
    head = ("scenario", "bucket", "new keys a second", "fills from", "what then")
    found = [text for s in ("now", "five_servers", "twice_the_ttl") for text in sizing[s]["findings"]]
    return _table("Sizes at the planned rate", head, rows) + (_list("Findings", found) if found else "")


def _steps(steps: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            str(s["label"]),
            f"{s['offered_hz']:.0f}",
            f"{s['achieved_hz']:.0f}",
            f"{s['p50_ms']:.2f}",
            f"{s['p99_ms']:.2f}",
            f"{s['p999_ms']:.2f}",
            *(_cost(s["servers"], name, digits) for name, digits in COSTS),
            _verdict(s),
        )
        for s in steps
    ]
    head = ("step", "offered /s", "in time /s", "p50 ms", "p99 ms", "p99.9 ms")
    return _table("Steps", (*head, "server cores", "disk B/B", "flushes/put", "Raft lag", "verdict"), rows)


def _cost(servers: Mapping[str, float], name: str, digits: int) -> str:
    """Empty where it could not be read: a server died meanwhile, or does not run on this host."""
    return f"{servers[name]:.{digits}f}" if name in servers else ""


def _verdict(step: Mapping[str, Any]) -> str:
    """A lag within the measured latency cannot have made it better, so a step kept up with stays one."""
    if not step["why"]:
        return "kept up" + (", though the generator was late" if step["not_valid"] else "")
    return f"{step['why']}" + (f" (not valid: {step['not_valid']})" if step["not_valid"] else "")


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    first = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f"<h3>{_text(title)}</h3><div style='overflow-x:auto'><table><thead><tr>{first}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _list(title: str, lines: Sequence[str]) -> str:
    return f"<h3>{_text(title)}</h3><ul>{''.join(f'<li>{_text(line)}</li>' for line in lines)}</ul>"


def _text(value: object) -> str:
    return html.escape(str(value))
