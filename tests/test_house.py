"""How the code is built: the promises of CONTRIBUTING.md, each a test.  `pytest tests/test_house.py -k private`"""
import ast, importlib, inspect, json, re, subprocess, sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT/'nbs'
MODULES = sorted(p for p in (ROOT/'mlic').rglob('*.py') if p.name != '_modidx.py')
SCRIPTS = [p for d in ('tools', 'bench', 'tests', 'nbs/chapters') for p in sorted((ROOT/d).glob('*.py'))]
BIN = Path(sys.executable).parent
sys.path.insert(0, str(ROOT/'tools'))
LINES, NAMES = 300, 12 # at most, of one module


@cache
def tree(path): return ast.parse(path.read_text(encoding='utf-8'))


def name_of(path):
    "mlic/data/labels.py -> mlic.data.labels"
    return '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')


def public(path):
    "The names that a module declares public"
    for node in tree(path).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == '__all__':
            return [n for n in ast.literal_eval(node.value) if not n.startswith('__')]
    return []


@cache
def notebook_cells(path): return json.loads(path.read_text(encoding='utf-8'))['cells']


def code_cells(path):
    "Source of each code cell, with lines of magic left out"
    for cell in notebook_cells(path):
        if cell['cell_type'] == 'code':
            yield re.sub(r'^\s*[%!].*$', '', ''.join(cell['source']), flags=re.M)


def notebook_of(path):
    "The notebook that a module is exported from"
    found = re.search(r'File to edit: (\S+\.ipynb)', path.read_text(encoding='utf-8'))
    return (path.parent/found[1]).resolve() if found else None


# ---- form ---------------------------------------------------------------------------------------------------
def test_ruff_has_no_complaint():
    "No line over 120 columns, one statement a line, nothing unused, over notebooks, modules, tools, benches and tests"
    res = subprocess.run([BIN/'ruff', 'check', '--output-format=concise', 'nbs', 'mlic', 'tools', 'bench', 'tests'],
                         cwd=ROOT, capture_output=True, text=True)
    assert res.returncode == 0, res.stdout[-3000:]


def test_no_module_has_a_line_over_120_columns():
    "Save the list of public names, which nbdev wraps"
    bad = []
    for path in MODULES:
        text = re.sub(r'^__all__ = \[.*?\]', '', path.read_text(), flags=re.M | re.S)
        bad += [f'{name_of(path)}: {line[:60]}' for line in text.splitlines() if len(line) > 120]
    assert not bad, '\n'.join(bad)


def test_rooms_are_of_one_size():
    "At most 300 exported lines (blank ones and nbdev's own not counted) and 12 public functions and classes a module"
    bad = []
    for path in MODULES:
        names = [n.name for n in tree(path).body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
        lines = sum(bool(line.strip()) and not line.startswith('# %%') for line in path.read_text().splitlines())
        names = len(set(names) & set(public(path)))
        if lines > LINES or names > NAMES:
            bad.append(f'{name_of(path)}: {lines} lines, {names} names')
    assert not bad, '\n'.join(bad)


# ---- layers -------------------------------------------------------------------------------------------------
def test_layers():
    "A module imports only from layers below its own, without exceptions, and no package has a cycle (.importlinter)"
    res = subprocess.run([BIN/'lint-imports', '--no-cache'], cwd=ROOT, capture_output=True, text=True)
    assert res.returncode == 0, res.stdout[-3000:]


def private_imports(source, own):
    "Private names of other modules of mlic that `source` imports or reads as an attribute of an imported module"
    parsed = ast.parse(source)
    aliases = {}
    for node in ast.walk(parsed):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or '').split('.')[0] == 'mlic'):
            for a in node.names:
                if a.name.startswith('_') and not a.name.startswith('__'):
                    yield f'{node.module}.{a.name}'
                aliases[a.asname or a.name] = a.name
        if isinstance(node, ast.Import):
            for a in node.names:
                if a.name.startswith('mlic.') and a.asname:
                    aliases[a.asname] = a.name
    for node in ast.walk(parsed):
        if not isinstance(node, ast.Attribute) or not re.match('_(?!_)', node.attr):
            continue
        on = ast.unparse(node.value)
        if on.startswith('mlic.') or aliases.get(on, '').islower() and aliases[on].split('.')[-1] in own:
            yield f'{on}.{node.attr}'


def test_no_private_name_of_another_module():
    own = {p.stem for p in MODULES}
    bad = []
    for path in MODULES + SCRIPTS:
        bad += [f'{path.relative_to(ROOT)}: {n}' for n in private_imports(path.read_text(), own)]
    for path in sorted(NBS.rglob('*.ipynb')):
        for source in code_cells(path):
            bad += [f'{path.relative_to(ROOT)}: {n}' for n in private_imports(source, own)]
    assert not bad, '\n'.join(bad)


def test_no_test_patches_a_private_function():
    bad = []
    for path in [*sorted(NBS.rglob('*.ipynb')), *sorted((ROOT/'tests').glob('*.py'))]:
        sources = code_cells(path) if path.suffix == '.ipynb' else [path.read_text()]
        for source in sources:
            for call in re.findall(r"patch(?:\.object)?\([^)\n]*['.]_[a-z]\w*", source):
                bad.append(f'{path.relative_to(ROOT)}: {call}')
    assert not bad, '\n'.join(bad)


def test_environment_is_read_in_one_place():
    "Only `mlic.core.settings` reads environment variables of mlic"
    bad = [name_of(p) for p in MODULES if name_of(p) != 'mlic.core' and re.search(r"['\"]MLIC_\w+['\"]", p.read_text())]
    assert not bad, bad


# ---- public names -------------------------------------------------------------------------------------------
def test_no_public_name_occurs_twice():
    where = {}
    for path in MODULES:
        if path.name == '__init__.py' or name_of(path) == 'mlic.all':
            continue
        for n in public(path):
            where.setdefault(n, []).append(name_of(path))
    twice = {n: mods for n, mods in where.items() if len(mods) > 1}
    assert not twice, twice


def test_all_has_what_a_notebook_needs():
    "`from mlic.all import *` gives the public names of every subject, each once"
    import subjects
    text = (ROOT/'mlic'/'all.py').read_text()
    taken = re.findall(r'^from \.([\w.]+) import \*', text, re.M)
    assert len(taken) == len(set(taken))
    for names in subjects.SUBJECTS.values():
        for n in set(names) - {'store', 'cli', 'all'}:
            assert any(t.split('.')[0] == n for t in taken), n
    from mlic import all as everything
    assert len(everything.__all__) == len(set(everything.__all__)) > 150


def undocumented(obj, name):
    "Arguments without a comment or a type"
    from fastcore.docments import docments
    for arg, d in docments(obj, full=True, args_kwargs=True).items():
        if arg in ('self', 'return', 'args', 'kwargs'):
            continue
        if not d['docment']:
            yield f'{name}({arg})'


def test_every_argument_is_described():
    bad = []
    for path in MODULES:
        module = importlib.import_module(name_of(path))
        for n in public(path):
            obj = getattr(module, n)
            if not callable(obj) or getattr(obj, '__module__', '') != name_of(path):
                continue
            init = getattr(getattr(obj, '__init__', None), '__module__', '') # of a base class outside mlic
            if inspect.isclass(obj) and not init.startswith('mlic'):
                continue
            if not inspect.getdoc(obj):
                bad.append(f'{name_of(path)}.{n} has no docstring')
            try:
                bad += [f'{name_of(path)}.{x}' for x in undocumented(obj, n)]
            except (TypeError, ValueError, OSError):
                pass
    assert not bad, '\n'.join(bad)


def shown(source): return not re.match(r'\s*#\|\s*(hide|export|exporti|default_exp)', source)


def test_every_public_name_has_a_visible_example():
    "A code cell of its notebook that is neither exported nor hidden uses it"
    bad = []
    for path in MODULES:
        nb = notebook_of(path)
        if not nb or path.name == '__init__.py' or name_of(path) == 'mlic.all':
            continue
        visible = '\n'.join(s for s in code_cells(nb) if shown(s))
        names = [n for n in public(path) if not re.search(rf'\b{n}\b', visible)]
        if names:
            bad.append(f"{name_of(path)}: {', '.join(names)}")
    assert not bad, '\n'.join(bad)


def test_tests_are_hidden():
    "A cell of a notebook that tests begins with `#| hide`, so that the page shows examples"
    bad, test = [], re.compile(r'^\s*(test_\w+\(|assert )', re.M)
    for path in MODULES:
        nb = notebook_of(path)
        if not nb:
            continue
        n = sum(bool(shown(s) and test.search(s)) for s in code_cells(nb))
        if n:
            bad.append(f'{nb.relative_to(ROOT)}: {n} cells')
    assert not bad, '\n'.join(bad)


# ---- words --------------------------------------------------------------------------------------------------
def test_words():
    "Pages, prose of notebooks and docstrings use the terms of the glossary (tools/words.py)"
    import words
    found = list(words.found())
    assert not found, '\n'.join(found)


def test_citations_are_in_the_references():
    "Whatever a page cites as Name (year) or Name year is on the page of references"
    import words
    listed = words.unlisted()
    assert not listed, listed
