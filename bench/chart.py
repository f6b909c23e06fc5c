# SPDX-License-Identifier: Apache-2.0
"""SVG charts of the benchmark, readable on light and dark pages; no libraries."""
import math
from html import escape

STYLE = """<style>
text { font: 13px system-ui, sans-serif; fill: #24292f } .dim { fill: #6a737d } .small { font-size: 11px } .title { font-weight: 600 }
.axis { stroke: #8c959f; stroke-width: 1 } .grid { stroke: #8c959f; stroke-width: .5; stroke-dasharray: 2 4; opacity: .6 }
.met { fill: #1a7f4b } .missed { fill: #c4552d } .range { stroke: #24292f; stroke-width: 1.5 } .target { stroke: #24292f; stroke-width: 1.5 }
.c0 { stroke: #0969da; fill: #0969da } .c1 { stroke: #bc6c00; fill: #bc6c00 } .c2 { stroke: #8250df; fill: #8250df }
.line { fill: none; stroke-width: 2 } .model { stroke-dasharray: 5 4 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .dim { fill: #9aa4ae } .range, .target { stroke: #e6edf3 }
.met { fill: #3fb97c } .missed { fill: #e5855f } .c0 { stroke: #58a6ff; fill: #58a6ff } .c1 { stroke: #e3a24a; fill: #e3a24a }
.c2 { stroke: #b794f6; fill: #b794f6 } }
</style>"""


def svg(width, height, title, body):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
            f"<title>{escape(title)}</title>\n{STYLE}\n" + "\n".join(body) + "\n</svg>\n")


def text(x, y, words, kind="", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def line(x1, y1, x2, y2, kind):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


# Targets ------------------------------------------------------------------------------------------------------------------


def reached(r, value):
    return value / r["target"] if r["at_least"] else r["target"] / value


def targets(rows):
    """A bar a row: how much of its target it reached, 1 being all of it; the whisker is the range over the turns."""
    left, span, step, top = 300, 330, 26, 46
    most = min(2.5, max([1.6, *(r["reached"] for r in rows)]) * 1.05)  # what is far beyond its target is cut off
    scale = span / most
    height = top + step * len(rows) + 30
    body = [text(10, 22, "Share of the target reached (1 = met)", "title")]
    for tick in range(int(most * 2) + 1):
        x = left + tick / 2 * scale
        body += [line(x, top - 8, x, height - 26, "grid"), text(x, height - 10, f"{tick / 2:g}", "dim small", "middle")]
    for i, r in enumerate(rows):
        y = top + i * step
        sign = "≥" if r["at_least"] else "≤"
        body += [text(left - 8, y + 13, r["work"].replace("  beside", "… beside"), "", "end"),
                 f'<rect x="{left}" y="{y}" width="{max(1.0, min(most, r["reached"]) * scale):.1f}" height="17" rx="2" '
                 f'class="{"met" if r["met"] else "missed"}"/>']
        if "ratio_range" in r:
            a, b = sorted(reached(r, v) for v in r["ratio_range"])
            body.append(line(left + min(a, most) * scale, y + 8.5, left + min(b, most) * scale, y + 8.5, "range"))
        words = f"{r['ratio']:.2f} × ({sign} {r['target']:g})" if "ratio" in r else \
            f"{1e3 * r['ours']:.0f} ms ({sign} {1e3 * r['target']:.0f})"
        body.append(text(left + span + 12, y + 13, words, "dim"))
    body.append(line(left + scale, top - 8, left + scale, height - 26, "target"))
    return svg(left + span + 150, height, "Benchmark results against their targets", body)


# Small multiples ----------------------------------------------------------------------------------------------------------


def powers(base, low, high):
    first, last = math.ceil(math.log(low, base) - 1e-9), math.floor(math.log(high, base) + 1e-9)
    return [base**k for k in range(first, last + 1)]


def sizes(low, high):
    """Ticks of an axis of counts, which go in powers of two."""
    return powers(4 if high / low > 40 else 2, low, high)


def amounts(low, high):
    """Ticks of a measured axis: at least three round numbers, no more than need be."""
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9)):
        found = [s * k for k in powers(10, low / 10, high) for s in steps if low <= s * k <= high]
        if len(found) >= 3:
            break
    return found


def short(value):
    if value >= 1:
        return f"{value:g}"
    return f"{value:.3g}"


def panel(x0, y0, width, height, p):
    """One log-log plot: {"title", "x", "y", "series": [{"name", "points": [[x, y]], "model": bool}], "note"}"""
    left, bottom, top = 52, 40, 34
    points = [q for s in p["series"] for q in s["points"]]
    (xl, xh), (yl, yh) = ((min(q[i] for q in points), max(q[i] for q in points)) for i in (0, 1))
    xh, yl, yh = max(xh, xl * 1.01), yl / 1.3, yh * 1.3
    w, h = width - left - 14, height - top - bottom

    def px(x):
        return x0 + left + w * math.log(x / xl) / math.log(xh / xl)

    def py(y):
        return y0 + top + h - h * math.log(y / yl) / math.log(yh / yl)

    body = [text(x0 + left, y0 + 14, p["title"], "title"), text(x0 + left, y0 + 28, p["note"], "dim small")]
    for x in sizes(xl, xh):
        body += [line(px(x), y0 + top, px(x), y0 + top + h, "grid"), text(px(x), y0 + top + h + 14, short(x), "dim small", "middle")]
    for y in amounts(yl, yh):
        body += [line(x0 + left, py(y), x0 + left + w, py(y), "grid"), text(x0 + left - 5, py(y) + 4, short(y), "dim small", "end")]
    body += [line(x0 + left, y0 + top + h, x0 + left + w, y0 + top + h, "axis"), line(x0 + left, y0 + top, x0 + left, y0 + top + h, "axis"),
             text(x0 + left + w / 2, y0 + height - 10, p["x"], "small", "middle")]
    for i, s in enumerate(p["series"]):
        path = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in s["points"])
        body.append(f'<polyline points="{path}" class="line c{i % 3}{" model" if s.get("model") else ""}"/>'.replace('class="line c', 'style="fill:none" class="line c'))
        if not s.get("model"):
            body += [f'<circle cx="{px(x):.1f}" cy="{py(y):.1f}" r="2.5" class="c{i % 3}"/>' for x, y in s["points"]]
        body.append(text(x0 + left + 8, y0 + top + 14 + 14 * i, s["name"], f"small c{i % 3}").replace("<text", '<text stroke="none" style="stroke:none"'))
    return body


def multiples(title, panels, columns=3, width=330, height=240):
    rows = (len(panels) + columns - 1) // columns
    body = [text(10, 20, title, "title")]
    for i, p in enumerate(panels):
        body += panel(i % columns * width, 30 + i // columns * height, width, height, p)
    return svg(columns * width, 40 + rows * height, title, body)
