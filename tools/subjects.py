"""The order of subjects, once: the sidebar, the API index, the README and the layers follow it"""
import ast, re
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUBJECTS = { # caption: modules and packages, the foundations first
    'Foundations': ['core', 'store'],
    'Losses and metrics': ['metrics', 'losses', 'bootstrap'],
    'Data': ['data'],
    'Models': ['models'],
    'Training': ['training'],
    'Decisions': ['decisions'],
    'Interpretation': ['interpret'],
    'Classical methods': ['classical'],
    'Comparison': ['compare'],
    'Deployment': ['deploy'],
    'Command line and shortcuts': ['cli', 'all'],
}


def modules():
    "{'data.labels': its notebook} of all notebooks that become modules"
    res = {}
    for path in sorted((ROOT/'nbs').rglob('*.ipynb')):
        found = re.search(r'#\|\s*default_exp\s+([\w.]+)', path.read_text(encoding='utf-8'))
        if not found or '.ipynb_checkpoints' in path.parts:
            continue
        name = found[1].removesuffix('.__init__')
        if source_of(name).exists():
            res[name] = path
    return res


def source_of(module):
    "The Python file of a module"
    path = ROOT/'mlic'/module.replace('.', '/')
    return path/'__init__.py' if path.is_dir() else path.with_suffix('.py')


def public(module):
    "The public names that a module defines, in its order; not those that it passes on from others"
    tree = ast.parse(source_of(module).read_text(encoding='utf-8')).body
    declared, defined = [], []
    for node in tree:
        names = [getattr(t, 'id', None) for t in node.targets] if isinstance(node, ast.Assign) else []
        if '__all__' in names and isinstance(node.value, ast.List):
            declared = ast.literal_eval(node.value)
        defined += [*names, getattr(node, 'name', None)]
    return [n for n in dict.fromkeys(defined) if n in declared and not n.startswith('_')]


def imports(module):
    "Modules of mlic that a module imports"
    package = module.split('.') if source_of(module).name == '__init__.py' else module.split('.')[:-1]
    for node in ast.walk(ast.parse(source_of(module).read_text(encoding='utf-8'))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = package[:len(package) - node.level + 1] + (node.module or '').split('.')
        base = '.'.join(filter(None, base))
        yield base
        for a in node.names:
            yield f'{base}.{a.name}'


def ordered():
    "{caption: modules}; inside a package the overview, then each module after those it imports"
    known, res = modules(), {}
    for caption, names in SUBJECTS.items():
        res[caption] = []
        for name in names:
            inside = [m for m in known if m == name or m.startswith(name + '.')]
            graph = {m: sorted(set(imports(m)) & set(inside) - {m, name}) for m in inside if m != name}
            res[caption] += [m for m in inside if m == name] + list(TopologicalSorter(graph).static_order())
    return res


def layers():
    "The contract's layers, top first, each a list of modules that stand side by side"
    text = (ROOT/'.importlinter').read_text(encoding='utf-8').split('layers =\n')[1].split('\nexhaustive')[0]
    return [re.split(r'\s*[|:]\s*', line.strip()) for line in text.splitlines()]


def draw_layers():
    "The layers as SVG: a module imports only from rows below its own"
    rows, w, h, gap = layers(), 560, 34, 10
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {len(rows)*(h + gap)}" font-family="sans-serif" '
           'font-size="14" text-anchor="middle" role="img">',
           '<title>The layers of mlic: each row imports only from the rows below it</title>']
    for i, row in enumerate(rows):
        box = (w - gap*(len(row) - 1))/len(row)
        for j, name in enumerate(row):
            x, y = j*(box + gap), i*(h + gap)
            out.append(f'<rect x="{x:.0f}" y="{y}" width="{box:.0f}" height="{h}" rx="6" fill="#e8f1f8" '
                       'stroke="#0072b2"/>'
                       f'<text x="{x + box/2:.0f}" y="{y + 22}" fill="#1a1a1a">{name}</text>')
    return '\n'.join([*out, '</svg>']) + '\n'


if __name__ == '__main__':
    (ROOT/'nbs'/'images'/'layers.svg').write_text(draw_layers(), encoding='utf-8')
    for caption, names in ordered().items():
        print(f"{caption:28} {', '.join(names)}")
