"""Figures with what is asked of them: printed while they are taken, written as a table, and read again for the picture."""
import re

AT_MOST, AT_LEAST = '≤', '≥'


class Figures:
    """What was measured, in its order."""

    def __init__(self):
        self.rows = []

    def add(self, what, figure, aim=None):
        """`aim` is (AT_MOST or AT_LEAST, number); without one, the figure is only told."""
        told = f'{aim[0]} {aim[1]:g}' if aim else ''
        self.rows.append((what, f'{figure:.2f}', told))
        missed = aim and not (figure <= aim[1] if aim[0] == AT_MOST else figure >= aim[1])
        print(f'{figure:9.2f}  {told:8}  {what}{"   MISSED" if missed else ""}', flush=True)

    def page(self, head):
        lines = [head, '', '| | measured | aim |', '|---|--:|--:|', *(f'| {" | ".join(row)} |' for row in self.rows)]
        return '\n'.join(lines) + '\n'


def parts_of_aims(text):
    """(what, percent of what is allowed) of each row with an aim: 100 and less is what is asked for."""
    rows = re.findall(rf'^\| (.+?) \| ([\d.]+) \| ([{AT_MOST}{AT_LEAST}]) ([\d.]+) \|$', text, re.M)
    return [(what, 100 * (float(figure) / float(aim) if kind == AT_MOST else float(aim) / float(figure)))
            for what, figure, kind, aim in rows]
