"""The fairness report as one HTML page, which needs nothing else."""

from __future__ import annotations

from html import escape

from training.evaluation.fairness_log import FairnessReport, GroupFigures

# Groups that are listed, those with most exposure.
LISTED = 50
_STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; width: 100% }
th, td { text-align: right; padding: .2rem .6rem; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left } .bars { width: 12rem } .bar { height: .55rem; background: #4f7cac }
.due { background: #b9c9da } dt { font-weight: bold }
"""


def page(report: FairnessReport) -> str:
    most = max((max(one.exposure, one.due) for one in report.groups), default=0.0) or 1.0
    rows = "\n".join(_row(one, most) for one in report.groups[:LISTED])
    left = len(report.groups) - LISTED
    more = f"<p>{left:,} groups with less exposure are not listed.</p>" if left > 0 else ""
    facts = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts_of(report))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Fairness by {escape(report.group_by)}</title>
<style>{_STYLE}</style></head><body>
<h1>Fairness by {escape(report.group_by)}</h1>
<dl>{facts}</dl>
<table><tr><th>group</th><th>products</th><th>shown</th><th class="bars">exposure, and below it what is due</th>
<th>exposure</th><th>due</th><th>ratio</th><th>NDCG@10</th><th>clicked</th><th>predicted</th></tr>
{rows}
</table>{more}
</body></html>
"""


def facts_of(report: FairnessReport) -> list[tuple[str, str]]:
    """(name, sentence) of the figures over all groups."""
    omitted = "; ".join(f"{count:,}: {reason}" for reason, count in report.omitted.items()) or "none"
    return [
        ("Rankings", f"{report.rankings:,}; left out {omitted}"),
        ("Exposure gap", f"{report.gap:.1%} of the exposure should go to other groups"),
        ("NDCG@10", f"differs by at most {report.ndcg_gap:.3f} between groups"),
        ("Calibration", f"predicted less actual clicks differ by at most {report.calibration_gap:.4f}"),
        (
            "Popularity",
            f"the fifth of the products with most clicks has {report.popular_exposure:.1%} of the exposure, due are "
            f"{report.popular_due:.1%}; Gini index of the products' exposure {report.gini:.2f}",
        ),
    ]


def _row(one: GroupFigures, most: float) -> str:
    bars = "".join(
        f'<div class="{name}" style="width:{100 * share / most:.1f}%"></div>'
        for name, share in (("bar", one.exposure), ("bar due", one.due))
    )
    cells = (
        f"{one.products:,}", f"{one.shown:,}", f'<div class="bars">{bars}</div>', f"{one.exposure:.1%}",
        f"{one.due:.1%}", f"{one.ratio:.2f}", f"{one.ndcg:.3f}", f"{one.clicked:.4f}", f"{one.predicted:.4f}",
    )  # fmt: skip
    return f"<tr><td>{escape(one.name)}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
