"""Counts of form, side by side for revisions: `python tools/measure.py REVISION ...` prints a Markdown table"""
import ast, io, json, re, subprocess, sys, tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ['tqdm', 'tifffile', 'jsonschema', 'platformdirs', 'to_markdown|Styler'] # for what was our own code


def files(revision):
    "{path: text} of the modules, notebooks, tools and benches of a revision"
    raw = subprocess.run(['git', 'archive', revision], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        return {m.name: tar.extractfile(m).read().decode() for m in tar if m.isfile()
                and re.match(r'(mlic|tools|bench)/.*\.py$|nbs/.*\.ipynb$', m.name) and '_modidx' not in m.name}


def code_lines(notebook):
    "Lines of the code cells"
    for cell in json.loads(notebook)['cells']:
        if cell['cell_type'] == 'code':
            yield from ''.join(cell['source']).split('\n')


def private(source):
    "Private names that a module imports from another module of the package"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or '').startswith('mlic')):
            yield from (a.name for a in node.names if a.name.startswith('_') and not a.name.startswith('__'))


def joined(source):
    "Statements that share a line with another one, or with the condition they depend on (ruff's E701 and E702)"
    lines, n = source.splitlines(), 0
    for node in ast.walk(ast.parse(source)):
        for field in ('body', 'orelse', 'finalbody'):
            body = getattr(node, field, None)
            if not isinstance(body, list):
                continue
            n += sum(a.end_lineno == b.lineno for a, b in zip(body, body[1:]))
            if body and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                n += bool(lines[body[0].lineno-1].encode()[:body[0].col_offset].strip().endswith(b':'))
    return n


def counts(revision):
    all_ = files(revision)
    mods = {p: t for p, t in all_.items() if p.startswith('mlic/')}
    lines = [l for t in mods.values() for l in re.sub(r'^__all__ = \[.*?\]', '', t, flags=re.M | re.S).splitlines()]
    wide = lambda ls: sum(len(l) > 120 for l in ls)
    cells = [l for p, t in all_.items() if p.endswith('.ipynb') for l in code_lines(t)]
    scripts = [l for p, t in all_.items() if p.startswith(('tools/', 'bench/')) for l in t.splitlines()]
    owners = lambda pattern: [p for p, t in mods.items() if re.search(pattern, t)]
    return {
        'modules': len(mods), 'lines in modules': len(lines),
        'lines of 95 % of modules, at most': sorted(len(t.splitlines()) for t in mods.values())[int(.95*len(mods))],
        'private names imported from another module': sum(len(list(private(t))) for t in mods.values()),
        'modules that rename files into place': len(owners(r'os\.replace\(|\b(tmp|path)\.rename\(')),
        'modules that lock': len(owners(r'\bFileLock\(|fcntl\.|O_EXCL')),
        'waivers of the layering rule': sum(t.count('# floor:') for t in mods.values()),
        'lines over 120 columns: modules': wide(lines), 'lines over 120 columns: notebook cells': wide(cells),
        'lines over 120 columns: tools, benches': wide(scripts),
        'longest line of a module': max(map(len, lines)),
        'statements that share a line': sum(map(joined, mods.values())),
        'of five libraries for what was our own code, used': sum(bool(owners(rf'\b({l})\b')) for l in LIBRARIES),
    }


if __name__ == '__main__':
    found = {r: counts(r) for r in sys.argv[1:]}
    print('| |', ' | '.join(found), '|\n|---|', '---:|'*len(found), sep='')
    for name in next(iter(found.values())):
        print(f'| {name} |', ' | '.join(f'{c[name]:,}' for c in found.values()), '|')
