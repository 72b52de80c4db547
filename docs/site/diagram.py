"""Renders Mermaid flowcharts as SVG, so that pages need no network and no script of several megabytes.

Supports the syntax that our diagrams use: nodes `A[text]`, `A["text"]`, edges `-->`, `<-->`, `-->|text|`, chains of edges, and
`<br>` in texts; subgraphs are drawn without their frame.
"""

from __future__ import annotations

import re
from html import escape

_NODE = re.compile(r'\s*(\w+)(?:\["([^"]*)"\]|\[([^\]]*)\])?\s*')
_EDGE = re.compile(r'\s*(<?-->)(?:\|"?([^|"]*)"?\|)?')
_CHARACTER, _LINE, _PAD, _GAP = 6.6, 16, 10, 46  # pixels: width and height of text, padding, gap between boxes


def flowchart(source: str) -> tuple[str, dict[str, str], list[tuple[str, str, str, bool]]]:
    """Direction ('LR' or 'TD'), node -> text, and edges (from, to, text, both ways) of a flowchart.

    Raises:
        ValueError: unsupported syntax.
    """
    head, *lines = [line.strip() for line in source.strip().splitlines()]
    direction, texts, edges = head.split()[1], {}, []
    for line in lines:
        if not line or line == "end" or line.startswith("subgraph"):
            continue
        at, before, arrow = 0, None, None
        while at < len(line):
            node = _NODE.match(line, at)
            if not node:
                raise ValueError(f"unsupported line in flowchart: {line}")
            name, text = node[1], node[2] if node[2] is not None else node[3]
            texts[name] = text if text is not None else texts.get(name, name)
            if arrow:
                edges.append((before, name, arrow[2] or "", arrow[1].startswith("<")))
            before, at = name, node.end()
            arrow = _EDGE.match(line, at)
            if not arrow and at < len(line):
                raise ValueError(f"unsupported line in flowchart: {line}")
            at = arrow.end() if arrow else at
    return direction, texts, edges


def layers(nodes, edges) -> dict[str, int]:
    """Layer of each node, one more than that of its deepest predecessor; edges that close a cycle are ignored."""
    after: dict[str, list[str]] = {node: [] for node in nodes}
    for a, b, *_ in edges:
        if a != b and a not in _reached(b, after):
            after[a].append(b)
    depth = dict.fromkeys(nodes, 0)
    for _ in nodes:
        for a, following in after.items():
            for b in following:
                depth[b] = max(depth[b], depth[a] + 1)
    return depth


def _reached(start: str, after: dict[str, list[str]]) -> set[str]:
    seen, todo = set(), [start]
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += after[node]
    return seen


def to_svg(source: str) -> str:
    """The flowchart as an SVG in the text colour of the page."""
    direction, texts, edges = flowchart(source)
    lines = {node: re.split(r"<br/?>", text) for node, text in texts.items()}
    size = {
        node: (_CHARACTER * max(map(len, rows)) + 2 * _PAD, _LINE * len(rows) + 2 * _PAD)
        for node, rows in lines.items()
    }
    depth = layers(texts, edges)
    rows = [[n for n in texts if depth[n] == k] for k in range(1 + max(depth.values()))]
    for k, row in enumerate(rows[1:], 1):  # near its predecessors
        place = {node: i for i, node in enumerate(rows[k - 1])}
        row.sort(key=lambda n: _mean([place[a] for a, b, *_ in edges if b == n and a in place]))
    along = 0 if direction == "LR" else 1
    thick = [max(size[node][along] for node in row) for row in rows]
    wide = [sum(size[node][1 - along] for node in row) + _GAP / 2 * (len(row) - 1) for row in rows]
    centre, start = {}, _PAD
    for row, depth_of_row, width in zip(rows, thick, wide, strict=True):
        across = _PAD + (max(wide) - width) / 2
        for node in row:
            point = (start + depth_of_row / 2, across + size[node][1 - along] / 2)
            centre[node] = point if along == 0 else point[::-1]
            across += size[node][1 - along] + _GAP / 2
        longest = max((len(text) for a, _, text, _ in edges if a in row), default=0)
        start += depth_of_row + max(_GAP, 6 * longest + 20 if along == 0 else 0)
    end = max(centre[node][along] + size[node][along] / 2 for node in texts) + _PAD, max(wide) + 2 * _PAD
    width, height = end if along == 0 else end[::-1]
    parts = [_edge(centre, size, along, *edge) for edge in edges]
    parts += [_box(*centre[node], *size[node], lines[node]) for node in texts]
    marker = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse"><path d="M0 0L8 4L0 8z" fill="currentColor"/></marker>'
    style = 'font-family="sans-serif" font-size="12" stroke-width="1.2" role="img"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width:.0f}px;width:100%" {style}>'
    return f"{head}<defs>{marker}</defs>{''.join(parts)}</svg>"


def _mean(values) -> float:
    return sum(values) / len(values) if values else 0.0


def _box(x: float, y: float, width: float, height: float, rows: list[str]) -> str:
    top = y - _LINE * (len(rows) - 1) / 2 + 4
    words = "".join(
        f'<text x="{x:.0f}" y="{top + _LINE * k:.0f}" text-anchor="middle" fill="currentColor">{escape(row)}</text>'
        for k, row in enumerate(rows)
    )
    shape = f'<rect x="{x - width / 2:.0f}" y="{y - height / 2:.0f}" width="{width:.0f}" height="{height:.0f}" rx="6"'
    ground = f'{shape} style="fill:var(--md-default-bg-color, white)"/>'  # hides lines behind the box
    return f'{ground}{shape} fill="#0072b2" fill-opacity="0.12" stroke="currentColor"/>{words}'


def _edge(centre, size, along: int, a: str, b: str, text: str, both: bool) -> str:
    forward = 1 if centre[b][along] >= centre[a][along] else -1
    start, end = list(centre[a]), list(centre[b])
    start[along] += forward * size[a][along] / 2
    end[along] -= forward * size[b][along] / 2
    bend = [list(start), list(end)]
    for point, other in zip(bend, (end, start), strict=True):
        point[along] = (point[along] + other[along]) / 2
    curve = f"M{start[0]:.0f} {start[1]:.0f}C{bend[0][0]:.0f} {bend[0][1]:.0f} {bend[1][0]:.0f} {bend[1][1]:.0f} {end[0]:.0f} {end[1]:.0f}"
    tips = 'marker-end="url(#tip)"' + (' marker-start="url(#tip)"' if both else "")
    label = ""
    if text:
        x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 - 4
        label = f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="middle" font-size="10" fill="currentColor">{escape(text)}</text>'
    return f'<path d="{curve}" fill="none" stroke="currentColor" {tips}/>{label}'
