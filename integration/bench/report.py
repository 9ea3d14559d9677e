"""The measurements as a page: tables of medians, and of ratios with their spread."""
import os
import re
import statistics
import subprocess

BEGIN, END = '<!-- bench: begin -->', '<!-- bench: end -->'
PLOT = '![medians by workload](performance.svg)'
TITLES = {'host': 'This machine as it is', 'cgroup2': 'A private mount namespace with cgroup2 alone'}


def page(results, paths, options):
    parts = [machine(paths, options)]
    for result in results:
        parts.append(f'### {TITLES[result["name"]]}')
        parts += [f'{name} takes no part here: `{reason}`.' for name, reason in result['broken'].items()]
        if result is results[-1]:
            parts.append(PLOT)
        for gap in sorted({row['gap'] for row in result['timed']}, reverse=True):
            parts.append(times(result, gap))
        parts.append(counted(result))
        parts += [table(each) for each in result['tables']]
    return '\n\n'.join(parts) + '\n'


def machine(paths, options):
    versions = []
    for name, path in paths:
        words = subprocess.run([path, '--version'], capture_output=True, text=True, check=False).stdout.split('\n')
        versions.append(words[0].replace(' version', ''))
    return (f'Linux {os.uname().release}, {os.cpu_count()} processors ({processor()}); '
            f'{", ".join(versions)}. {options.rounds} rounds of `run`, {max(options.rounds // 2, 5)} of each other verb. '
            'Medians in ms; ratios are of medians, in brackets the quartiles of the ratios round by round.')


def processor():
    with open('/proc/cpuinfo', encoding='utf-8') as file:
        model = re.search(r'model name\s*: (.*)', file.read())
    return model.group(1) if model else os.uname().machine


def times(result, gap):
    """One table for a gap: a row for each verb and contender."""
    rows = [row for row in result['timed'] if row['gap'] == gap]
    lines = [f'**{f"{gap:g} ms between runs" if gap else "Back to back"}**', '',
             '| | | wall | CPU | tare ÷ it, wall | tare ÷ it, CPU | peak RSS, KiB |', '|---|---|--:|--:|--:|--:|--:|']
    for row in rows + together(rows):
        for name, samples in row['samples'].items():
            wall, cpu = columns(samples)
            ratios = ['', ''] if name == 'tare' or 'tare' not in row['samples'] else [ratio(mine, other) for mine, other in
                                                     zip(columns(row['samples']['tare']), (wall, cpu))]
            lines.append(f'| {row["workload"]} | {name} | {statistics.median(wall):.2f} | {statistics.median(cpu):.2f} '
                         f'| {ratios[0]} | {ratios[1]} | {row["rss"].get(name) or ""} |')
    lines += [''] + [f'{name} takes no part in `{row["workload"]}`: `{reason}`.' for row in rows
                     for name, reason in row['broken'].items()]
    return '\n'.join(lines).rstrip()


def together(rows):
    """create, start and delete as one sum, round by round."""
    parts = [row['samples'] for row in rows if row['workload'] in ('create', 'start', 'delete')]
    if len(parts) != 3:
        return []
    samples = {name: [[sum(values) for values in zip(*three)] for three in zip(*(part[name] for part in parts))]
               for name in parts[0]}
    return [{'workload': 'create + start + delete', 'samples': samples, 'rss': {}, 'broken': {}}]


def columns(samples):
    return [sample[0] for sample in samples], [sample[1] for sample in samples]


def ratio(mine, other):
    if not statistics.median(other):
        return ''
    each = sorted(a / b for a, b in zip(mine, other) if b)
    low, high = each[len(each) // 4], each[-1 - len(each) // 4]
    return f'{statistics.median(mine) / statistics.median(other):.2f} [{low:.2f}–{high:.2f}]'


def counted(result):
    """What does not depend on the machine's speed."""
    names = list(result['counted'])
    keys = list(dict.fromkeys(key for name in names for key in result['counted'][name]))
    lines = [f'| | {" | ".join(names)} |', '|---|' + '--:|' * len(names)]
    for key in keys:
        values = [result['counted'][name].get(key) for name in names]
        lines.append(f'| {key} | {" | ".join("" if value is None else f"{value:g}" for value in values)} |')
    return '\n'.join(lines)


def table(data):
    rows = [f'| {" | ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row)} |' for row in data['rows']]
    left = 1 + ('' in data['head'][1:2])
    return '\n'.join([f'**{data["title"]}**', '', data['text'], '', f'| {" | ".join(data["head"])} |',
                      '|---' * left + '|--:' * (len(data['head']) - left) + '|', *rows])


def put(path, text, begin=BEGIN, end=END):
    """Replaces what stands between the markers."""
    with open(path) as file:
        before, rest = file.read().split(begin)
    after = rest.split(end)[1]
    with open(path, 'w') as file:
        file.write(f'{before}{begin}\n{text}{end}{after}')
