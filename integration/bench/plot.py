"""One environment's medians with the pause, as a picture: a group of bars for each workload, each contender in its colour."""
import statistics
from xml.sax.saxutils import escape

from report import together

COLOURS = {'floor': '#9aa0a6', 'aim': '#9aa0a6', 'measured': '#1a73e8', 'tare': '#1a73e8', 'crun': '#f9ab00', 'runc': '#d93025'}
OTHERS = ['#188038', '#a142f4', '#00838f']
BAR, GAP, LEFT, WIDTH = 13, 14, 215, 900  # pixels


def write(path, result):
    gap = max(row['gap'] for row in result['timed'])
    rows = [row for row in result['timed'] if row['gap'] == gap]
    groups = [(row['workload'], {name: statistics.median(wall for wall, _ in samples)
                                 for name, samples in row['samples'].items()}) for row in rows + together(rows)]
    with open(path, 'w') as file:
        file.write(picture(groups, f'Medians of wall time, {gap:g} ms between runs'))


def picture(groups, title, unit='ms', left=LEFT):
    names = sorted({name for _, medians in groups for name in medians}, key=order)
    colours = colour_of(names)
    longest = max(value for _, medians in groups for value in medians.values())
    scale = (WIDTH - left - 70) / longest
    parts, y = legend(names, colours, title, left), 62
    for workload, medians in groups:
        height = BAR * len(medians)
        parts.append(text(left - 8, y + height / 2 + 4, workload, 'end'))
        for name in (name for name in names if name in medians):
            width = medians[name] * scale
            parts.append(f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{BAR - 2}" fill="{colours[name]}"/>')
            parts.append(text(left + width + 5, y + BAR - 4, f'{medians[name]:.2f} ms' if unit == 'ms' else f'{medians[name]:.0f} {unit}'))
            y += BAR
        y += GAP
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}" '
            'font-family="sans-serif" font-size="11">')
    return '\n'.join([head, f'<rect width="{WIDTH}" height="{y}" fill="#ffffff"/>', *parts, '</svg>']) + '\n'


def order(name):
    known = list(COLOURS)
    return (known.index(name) if name in known else len(known), name)


def colour_of(names):
    others = iter(OTHERS * len(names))
    return {name: COLOURS.get(name) or next(others) for name in names}


def legend(names, colours, title, left):
    parts = [f'<text x="12" y="22" font-size="14">{escape(title)}</text>']
    x = left
    for name in names:
        parts.append(f'<rect x="{x}" y="36" width="11" height="11" fill="{colours[name]}"/>')
        parts.append(text(x + 16, 46, name))
        x += max(90, 32 + 7 * len(name))
    return parts


def text(x, y, words, anchor='start'):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
