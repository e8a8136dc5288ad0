"""Build docs/ from the notebooks: nbdev's processors, then Sphinx with myst-nb. `python tools/docs.py [--check | --run [NAME ...]]`

--check builds nothing: it verifies that docs/ has every page, every link and every symbol's anchor.
--run runs the tutorial and the how-to pages (nbs/pages/*.ipynb) anew, all or those named, and stores their outputs."""
import importlib, inspect, json, os, re, shutil, sys, tempfile
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
NBS, DOCS, ASSETS = ROOT/'nbs', ROOT/'docs', ROOT/'tools'/'docs_assets'
PAGES = NBS/'pages'
FLOORS = {'0': 'Foundations', '1': 'Labels, losses, metrics', '2': 'Data and networks', '3': 'Training and use', '4': 'Experiments'}
GUIDES = ['own_csv', 'imbalanced_labels', 'choosing_thresholds', 'partial_labels', 'small_objects', 'many_labels', 'several_gpus', 'cluster', 'deploy']
ABOUT = ['glossary', 'references', 'changelog']


# ---- which pages there are ----------------------------------------------------------------------------------
def symbols():
    "{module: {symbol: anchor}} of all that the notebooks export, from nbdev's own index"
    sys.path.insert(0, str(ROOT))
    syms = importlib.import_module('mlic._modidx').d['syms']
    return {mod.split('.', 1)[1]: {s.split('.', 2)[2]: link[0].split('#')[1] for s, link in d.items()} for mod, d in syms.items()}


def site():
    "[(caption, [(page, source file)])] in the order of the sidebar; a source that is not there is no page"
    numbered = lambda folder: sorted(p for p in folder.glob('[0-9]*.ipynb'))
    strip = lambda p: re.sub(r'^\d+\w?_', '', p.stem)
    res = [('Start', [('tutorial', PAGES/'tutorial.ipynb')]), ('How to', [(n, PAGES/f'{n}.ipynb') for n in GUIDES]),
           ('Chapters', [(f'chapters/{strip(p)}', p) for p in numbered(NBS/'chapters')]),
           ('Results', [('results', PAGES/'results.md'), ('speed', ROOT/'bench'/'RESULTS.md')])]
    for digit in sorted({p.name[0] for p in numbered(NBS)}):
        res.append((FLOORS.get(digit, 'More'), [(strip(p), p) for p in numbered(NBS) if p.name[0] == digit]))
    res.append(('About', [(n, PAGES/f'{n}.md') for n in ABOUT]))
    res = [(caption, [(page, src) for page, src in pages if src.exists()]) for caption, pages in res]
    home = NBS/'index.ipynb' if (NBS/'index.ipynb').exists() else ROOT/'README.md'
    return [('', [('index', home)])] + [(c, p) for c, p in res if p]


# ---- one symbol ---------------------------------------------------------------------------------------------
def _cell(x): return str(x).replace('|', r'\|').replace('\n', ' ')
def _name(x): return re.sub(r' at 0x[0-9a-f]+', '', getattr(x, '__name__', None) or str(x).replace('typing.', ''))


def _plain_signature(name, obj):
    "The call without annotations, since the table has them; one parameter per line where it is long"
    if inspect.isclass(obj) and (getattr(obj.__init__, '__module__', '') or '').startswith('fast'): return f'{name}()' # whose events would be its parameters
    try: sig = inspect.signature(obj)
    except (ValueError, TypeError): return name
    params = [p.replace(annotation=p.empty) for p in sig.parameters.values() if p.name != 'self']
    shown = [re.sub(r'<(?:function|class) \'?([\w.]+)[^>]*>', r'\1', str(p)) for p in params]
    line = f"{name}({', '.join(shown)})"
    return line if len(line) <= 88 else f'{name}(\n    ' + ',\n    '.join(shown) + ',\n)'


def parameter_table(obj):
    "Markdown table of docments; empty where no parameter is described"
    from fastcore.docments import docments
    try: dm = docments(obj, full=True, args_kwargs=True)
    except (TypeError, ValueError, AttributeError, SyntaxError, OSError): return ''
    rows, empty = [], inspect.Parameter.empty
    if not any(p['docment'] for p in dm.values()): return ''
    for name, p in dm.items():
        if name == 'self' or (name == 'return' and p['docment'] is None and p['anno'] in (empty, None, type(None))): continue
        anno = '' if p['anno'] in (empty, None, type(None)) else f"`{_cell(_name(p['anno']))}`"
        default = '' if p['default'] is empty else f"`{_cell(_name(p['default']) if callable(p['default']) else repr(p['default']))}`"
        label = '**returns**' if name == 'return' else f'`` {name} ``'
        rows.append(f"| {label} | {anno} | {default} | {_cell(p['docment'] or '')} |")
    return '\n'.join(['| parameter | type | default | meaning |', '|---|---|---|---|', *rows]) if rows else ''


def _doc(obj): return ' '.join((inspect.getdoc(obj) or '').split()) if getattr(obj, '__doc__', None) else ''


def _entry(name): return f'```{{index}} ! single: {name.split(".")[-1]}\n```' if '.' in name else '' # a title is found by more than half of it only


def show_symbol(mod, name, level, anchors, prefix='', apart=()):
    "Heading, signature, docstring, parameter table and source link of `mlic.mod.name`; with the public methods of a class that are not shown `apart`"
    obj = importlib.import_module(f'mlic.{mod}')
    try:
        for part in name.split('.'): obj = getattr(obj, part)
    except AttributeError: sys.exit(f'mlic/{mod}.py has no {name}, which its notebook exports; run `make export` first')
    own = {s: a for s, a in anchors.items() if s == name or s.startswith(name + '.') and s not in apart}
    out = [f"{'#'*level} {name}", _entry(name), ''.join(f'<span id="{a}"></span>' for s, a in own.items() if s != name or a != heading_id(name)),
           f'[source]({prefix}../mlic/{mod}.py){{.source}}', f'```python\n{_plain_signature(name, obj)}\n```', _doc(obj), parameter_table(obj)]
    for meth in (s for s in own if s != name and not s.split('.')[-1].startswith('_')):
        f = inspect.getattr_static(obj, meth.split('.')[-1], None)
        f = getattr(f, '__func__', getattr(f, 'fget', f))
        if f is None or not (_doc(f) or parameter_table(f)): continue
        out += [_entry(meth), f'```python\n{_plain_signature(meth, f)}\n```', _doc(f), parameter_table(f)]
    return '\n\n'.join(o for o in out if o)


def elsewhere():
    "{name: address} of what scikit-learn, PyTorch, pandas and numpy document, under the names that prose uses"
    import torch, torch.nn.functional as F
    res, torch_page = {}, 'https://docs.pytorch.org/docs/stable/generated/{}.html'
    for mod in ('calibration', 'datasets', 'isotonic', 'linear_model', 'metrics', 'model_selection', 'multioutput', 'neighbors', 'preprocessing'):
        m = importlib.import_module(f'sklearn.{mod}')
        for n in getattr(m, '__all__', [n for n, o in vars(m).items() if getattr(o, '__module__', '') == m.__name__ and n[0] != '_']):
            url = f'https://scikit-learn.org/stable/modules/generated/sklearn.{mod}.{n}.html'
            res[f'sklearn.{mod}.{n}'] = url
            if _distinct(n): res[n] = url
    for n in torch.nn.modules.__all__: res[f'nn.{n}'] = res[f'torch.nn.{n}'] = torch_page.format(f'torch.nn.{n}')
    for n in (n for n, o in vars(F).items() if callable(o) and n[0] != '_'): res[f'F.{n}'] = torch_page.format(f'torch.nn.functional.{n}')
    for n in torch.__all__: res[f'torch.{n}'] = torch_page.format(f'torch.{n}')
    res.update(dict.fromkeys(('Tensor', 'torch.Tensor'), 'https://docs.pytorch.org/docs/stable/tensors.html'))
    for n in ('DataFrame', 'Series'): res[n] = res[f'pd.{n}'] = f'https://pandas.pydata.org/docs/reference/api/pandas.{n}.html'
    for n in ('ndarray', 'np.ndarray'): res[n] = 'https://numpy.org/doc/stable/reference/generated/numpy.ndarray.html'
    return res


def _distinct(name): return len(name) > 3 and ('_' in name.strip('_') or name[0].isupper()) # no plain word, which prose may use otherwise


class Lookup:
    "Makes `name` in prose a link: mlic's own first, then what other packages document, then fastai's short names"
    def __init__(self):
        from nbdev.doclinks import NbdevLookup
        self.own, self.others, self.fastai = NbdevLookup(), elsewhere(), NbdevLookup(('fastai', 'fastcore', 'fasttransform', 'fastprogress'))
    def doc(self, sym): return self.own.doc(sym) or self.others.get(sym) or (self.fastai.doc(sym) if _distinct(sym) else None)
    def linkify(self, md):
        parts = re.split(r'(^```.*?^```|\[(?:[^\[\]]|\[[^\]]*\])*\]\([^)\s]+\)|^    .*?$)', md, flags=re.M | re.S) # code and links stay
        one = lambda m: f'[{m[0]}]({url})' if (url := self.doc(m[1])) else m[0]
        return ''.join(p if i % 2 else re.sub(r'(?<!`)`([\w.]+)(?:\(\))?`(?!`)', one, p) for i, p in enumerate(parts))


def heading_id(text):
    from docutils.nodes import make_id
    return make_id(text)


# ---- one page -----------------------------------------------------------------------------------------------
def callouts(md):
    "Quarto's callouts as MyST admonitions"
    kinds = {'note': 'note', 'tip': 'tip', 'warning': 'warning', 'caution': 'caution', 'important': 'important'}
    def one(m):
        title = re.search(r'title="([^"]*)"', m[2])
        return f":::{{admonition}} {title[1]}\n:class: {kinds[m[1]]}\n" if title else f':::{{{kinds[m[1]]}}}'
    return re.sub(r'^::: *\{\.callout-(note|tip|warning|caution|important)([^}]*)\}', one, md, flags=re.M)


class Links:
    "Makes links of a source file relative to its page: doclinks, notebooks and Markdown files of the site, files of the repository"
    def __init__(self, pages, syms):
        d = importlib.import_module('mlic._modidx').d['settings']
        self.base, self.syms = d['doc_host'] + d['doc_baseurl'] + '/', syms
        self.page_of = {src.resolve(): page for page, src in pages.items()}
        self.anchors = {a for d in syms.values() for a in d.values()}
        self.images = set() # that pages show; they lie in the site as below nbs/

    def __call__(self, md, src, page):
        up = '../'*page.count('/')
        def one(m):
            image, text, url = m.groups()
            if image:
                there = (src.parent/unquote(url)).resolve()
                if not there.is_file() or not there.is_relative_to(NBS): return m[0]
                self.images.add(there)
                return f'![{text}]({up}{there.relative_to(NBS).as_posix()})'
            if url.startswith(self.base):
                target, _, anchor = url[len(self.base):].partition('#')
                if any(part.startswith('_') and not part.startswith('__') for part in anchor.split('.')): return text
                if target.removesuffix('.html') not in self.page_of.values(): return text
                return f'[{text}]({up}{target}{"#" + anchor if anchor else ""})'
            if re.match(r'[a-z]+:|/', url): return m[0]
            path, _, anchor = url.partition('#')
            there = (src.parent/unquote(path)).resolve() if path else src
            if anchor: anchor = '#' + (anchor if anchor in self.anchors else heading_id(unquote(anchor))) # Jupyter writes #A-heading
            if not path: return f'[{text}]({anchor})'
            if there in self.page_of: return f'[{text}]({up}{self.page_of[there]}.html{anchor})'
            if there.exists() and there.is_relative_to(ROOT): return f'[{text}]({up}../{there.relative_to(ROOT)}{anchor})'
            return m[0]
        parts = re.split(r'(^```.*?^```)', md, flags=re.M | re.S)
        return ''.join(p if p.startswith('```') else re.sub(r'(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)', one, p) for p in parts)


def _progress(output):
    "Is it what a finished progress bar leaves behind"
    html = ''.join(output.get('data', {}).get('text/html', ''))
    return ('<progress' in html or 'progress {' in html) and '<table' not in html


def _shown(outputs):
    "Without stderr and progress bars; what is printed in a row is one text"
    res = []
    for o in outputs:
        if o.get('name') == 'stderr' or _progress(o): continue
        if 'text/html' in o.get('data', {}): o['data'].pop('text/markdown', None)
        if res and o.get('name') == res[-1].get('name') == 'stdout': res[-1]['text'] = ''.join(res[-1]['text']) + ''.join(o['text'])
        else: res.append(o)
    return res


def _prose(output):
    "Are all long lines of a printed text no rows of a table, so that they may be wrapped"
    long = [l for l in map(str.strip, ''.join(output['text']).split('\n')) if len(l) > 90] if output.get('name') == 'stdout' else []
    return any(long) and not any('  ' in l for l in long)


def notebook(src, page, syms, links, names):
    "The notebook after nbdev's processors, with symbols shown, `names` linked and links relative"
    from execnb.nbio import read_nb, mk_cell
    from nbdev.process import Processor
    from nbdev.processors import FilterDefaults
    mod = page if page in syms else None
    show_doc = lambda cell: re.search(r'^show_doc\(([\w.]+)', cell.source, re.M)

    class ShowSymbols(Processor):
        "Each show_doc cell as Markdown, from the imported module: no cell of a notebook is executed"
        def begin(self):
            self.level, self.shown = 2, {c[1] for cell in self.nb.cells if cell.cell_type == 'code' and (c := show_doc(cell))}
            runs = [list(cells) for _, cells in groupby(self.nb.cells, lambda c: hasattr(c, 'has_sd'))]
            self.nb.cells = [c for run in runs for c in (run[::-1] if hasattr(run[0], 'has_sd') else run)] # nbdev has them the last first
        def cell(self, cell):
            if cell.cell_type == 'markdown' and re.search(r'^## ', cell.source, re.M): self.level = 3
            call = show_doc(cell)
            if cell.cell_type != 'code' or not call or not mod: return
            cell.cell_type, cell.source = 'markdown', show_symbol(mod, call[1], self.level, syms[mod], '../'*page.count('/'), self.shown)

    class Procs(FilterDefaults):
        skip = ('FrontmatterProc', 'insert_warning', 'exec_show_docs', 'add_links')
        def procs(self):
            base = [p for p in self.base_procs() if p.__name__ not in self.skip]
            at = [p.__name__ for p in base].index('clean_show_doc')
            return base[:at] + [ShowSymbols] + base[at+1:]

    nb = read_nb(src)
    Procs()(nb)
    for i, cell in enumerate(nb.cells):
        if cell.cell_type == 'code':
            echo = not re.search(r'^#\|\s*echo:\s*false', cell.source, re.M)
            cell.source = re.sub(r'^#\|.*\n?', '', cell.source, flags=re.M).strip()
            cell.outputs = _shown(cell.get('outputs', []))
            cell.metadata = {'tags': ['remove-input']*(not echo) + ['prose']*any(map(_prose, cell.outputs))}
            for o in cell.outputs:
                if 'text/markdown' in o.get('data', {}): o['data'] = {'text/markdown': links(names.linkify(''.join(o['data']['text/markdown'])), src, page)}
        elif cell.cell_type == 'markdown': cell.source = links(callouts(names.linkify(cell.source)), src, page)
        cell.id = f'cell-{i}'
    cells = [{k: v for k, v in c.items() if k in ('cell_type', 'source', 'metadata', 'outputs', 'execution_count', 'id')} for c in nb.cells]
    for c in cells:
        c.setdefault('metadata', {})
        if c['cell_type'] == 'code': c.update(execution_count=None, outputs=c.get('outputs', []))
        else: c.pop('outputs', None); c.pop('execution_count', None)
    kernel = dict(display_name='Python 3', language='python', name='python3')
    return dict(cells=cells, metadata=dict(kernelspec=kernel, language_info=dict(name='python')), nbformat=4, nbformat_minor=5)


def toctree(groups):
    return '\n\n'.join(f'```{{toctree}}\n:hidden:\n:caption: {c}\n\n' + '\n'.join(p for p, _ in pages) + '\n```' for c, pages in groups if c)


def findings():
    "What each chapter's run supports, as its stored outputs say, with the chapter's picture"
    out, file = [], NBS/'chapters'/'findings.json' # what `make chapters` has noted
    noted = json.loads(file.read_text(encoding='utf-8')) if file.exists() else {}
    for path in sorted((NBS/'chapters').glob('[0-9]*.ipynb')):
        found, on = [], False
        cells = json.loads(path.read_text(encoding='utf-8'))['cells']
        for c in cells:
            src = ''.join(c['source'])
            if c['cell_type'] == 'markdown' and re.search('^## ', src, re.M): on = 'What the run supports' in src
            elif on: found += [l for o in c.get('outputs', []) if o.get('name') == 'stdout' for l in ''.join(o['text']).strip().split('\n') if l]
        if not found and path.stem in noted: found = [noted[path.stem]['finding']]
        title, question = re.match(r'#\s*(.+?)\s*$(?:\s*>\s*(.+?)\s*$)?', ''.join(cells[0]['source']), re.M).groups()
        image = NBS/'images'/f"{path.stem.split('_', 1)[1]}.png"
        out += [f'## [{title}](../chapters/{path.name})', question or '', f'![{title}](../images/{image.name})' if image.exists() else '',
                '\n'.join(f"{'  ' if l[0] == ' ' else ''}- {_plain(l.strip())}" for l in found)]
    return '\n\n'.join(o for o in out if o)


def _plain(line): return re.sub(r'([*_<>\[\]$`|])', r'\\\1', line)


def write_sources(out):
    "The Sphinx project in `out`"
    groups, syms, names = site(), symbols(), Lookup()
    pages = {page: src for _, ps in groups for page, src in ps}
    links = Links(pages, syms)
    for page, src in pages.items():
        to = out/f'{page}{src.suffix}'
        to.parent.mkdir(parents=True, exist_ok=True)
        if src.suffix == '.ipynb':
            nb = notebook(src, page, syms, links, names)
            if page == 'index': nb['cells'].append(dict(cell_type='markdown', id='toc', metadata={}, source=toctree(groups)))
            to.write_text(json.dumps(nb), encoding='utf-8')
        else:
            text = src.read_text(encoding='utf-8').replace('{findings}', findings())
            md = links(callouts(names.linkify(text)), src, page)
            to.write_text(md + ('\n\n' + toctree(groups) if page == 'index' else '') + '\n', encoding='utf-8')
    for image in links.images:
        (out/image.relative_to(NBS)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, out/image.relative_to(NBS))
    (out/'scorer.js').write_text(SCORER, encoding='utf-8')
    (out/'conf.py').write_text(CONF.format(assets=str(ASSETS), scorer=str(out/'scorer.js')), encoding='utf-8')


CONF = '''
project, author, copyright = 'mlic', 'the mlic developers', '2026, the mlic developers'
extensions = ['myst_nb', 'sphinx.ext.mathjax']
html_theme, html_title = 'furo', 'mlic'
html_static_path, html_css_files = [{assets!r}], ['docs.css']
html_copy_source = html_show_sourcelink = html_show_sphinx = html_show_search_summary = False
html_last_updated_fmt = None
html_theme_options = dict(top_of_page_buttons=[])
nb_execution_mode, nb_output_stderr, nb_render_markdown_format = 'off', 'remove', 'gfm'
myst_enable_extensions = ['dollarmath', 'amsmath', 'colon_fence', 'attrs_inline', 'deflist']
myst_all_links_external, myst_dmath_double_inline = True, True
mathjax_path, html_assets_policy, html_search_scorer = 'tex-svg.js', 'per_page', {scorer!r}
suppress_warnings = ['myst.header', 'mystnb.unknown_mime_type']
'''


# Sphinx's own weights; of a heading and the page that it is on, which weigh the same, the heading comes first
SCORER = '''var Scorer = {score: ([doc, title, anchor, descr, score]) => anchor ? score + 1 : score, objNameMatch: 11, objPartialMatch: 6,
objPrio: {0: 15, 1: 5, 2: -5}, objPrioDefault: 0, title: 15, partialTitle: 7, term: 5, partialTerm: 2};
'''


# ---- the pages that are run ---------------------------------------------------------------------------------
def pages_run(): return sorted(PAGES.glob('*.ipynb'))


def store_outputs(path):
    "Run a page in a kernel and an empty folder of its own; the page then holds its outputs, cleaned"
    from notebooks import execute
    with tempfile.TemporaryDirectory() as tmp:
        copy = shutil.copy(path, tmp)
        execute(Path(copy), {'MLIC_CACHE': f'{tmp}/cache', 'OMP_NUM_THREADS': '1'}, save=True)
        shutil.copy(copy, path)


# ---- build and check ----------------------------------------------------------------------------------------
def build(docs=DOCS):
    "Builds in a temporary folder and replaces `docs`; returns the number of Sphinx's warnings"
    from sphinx.application import Sphinx
    os.environ.update(SOURCE_DATE_EPOCH='1767225600', TZ='UTC')
    with tempfile.TemporaryDirectory() as tmp:
        src, out = Path(tmp)/'src', Path(tmp)/'html'
        src.mkdir()
        write_sources(src)
        app = Sphinx(src, src, out, Path(tmp)/'trees', 'html', status=None, freshenv=True)
        app.build()
        warned = app._warncount
        for name in ('.buildinfo', 'objects.inv', 'jupyter_execute'):
            p = out/name
            shutil.rmtree(p) if p.is_dir() else p.unlink(missing_ok=True)
        for p in out.rglob('*.map'): p.unlink()
        for p in out.rglob('*.html'): p.write_text(breakable(p.read_text(encoding='utf-8')), encoding='utf-8')
        (out/'.nojekyll').touch()
        shutil.rmtree(docs, ignore_errors=True)
        shutil.copytree(out, docs)
    return warned


def breakable(html):
    "A long name in a heading may break after a dot or an underscore and before a capital"
    one = lambda m: m[1] + re.sub(r'(?<=\w)[._](?=\w)|(?<=[a-z])(?=[A-Z])', lambda at: at[0] + '<wbr>', m[2])
    return re.sub(r'(<h[1-6]>)([^<\s]{16,})', one, html)


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads = [], [], []
        self.feed(text)
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if a.get('id'): self.ids.append(a['id'])
        if tag == 'a' and a.get('href'): self.links.append(a['href'])
        if tag in ('script', 'img', 'iframe', 'source') and a.get('src'): self.loads.append(a['src'])
        if tag == 'link' and a.get('href') and a.get('rel') != 'canonical': self.loads.append(a['href'])


def problems(docs=DOCS):
    "What is wrong with the built site, a line each"
    found, syms = [], symbols()
    pages = {p.resolve(): _Page(p.read_text(encoding='utf-8')) for p in docs.rglob('*.html')}
    for _, ps in site():
        found += [f'{page}.html is missing' for page, _ in ps if not (docs/f'{page}.html').exists()]
    for path, page in pages.items():
        here = path.relative_to(docs.resolve())
        twice = {i for i in page.ids if page.ids.count(i) > 1}
        found += [f'{here}: id {i} occurs twice' for i in sorted(twice)]
        for url in page.links + page.loads:
            if url.startswith('data:'): continue
            if re.match(r'[a-z]+:|//', url):
                if url in page.loads or not re.match(r'https?://|mailto:', url): found.append(f'{here}: loads {url} from elsewhere')
                elif re.match(r'https?://[\w.-]*mlic\.github\.io', url): found.append(f'{here}: {url} is not relative')
                continue
            file, _, anchor = url.partition('#')
            file = unquote(file.split('?')[0])
            if file.startswith('/'): found.append(f'{here}: {url} is not relative'); continue
            there = (path.parent/file).resolve() if file else path
            inside = there.is_relative_to(docs.resolve())
            where = there if inside or docs == DOCS else ROOT/os.path.relpath(there, docs.resolve().parent)
            if not where.exists(): found.append(f'{here}: {url} leads nowhere')
            elif not inside and (url in page.loads or not where.is_relative_to(ROOT)): found.append(f'{here}: {url} leaves the folder')
            elif anchor and there in pages and unquote(anchor) not in pages[there].ids: found.append(f'{here}: {url} has no such anchor')
    for mod, names in syms.items():
        page = pages.get((docs/f'{mod}.html').resolve())
        public = {a for s, a in names.items() if not any(p.startswith('_') for p in s.split('.'))}
        if page: found += [f'{mod}.html: no anchor {a}' for a in sorted(public - set(page.ids))]
    return found


if __name__ == '__main__':
    if '--run' in sys.argv:
        for p in pages_run():
            if p.stem in sys.argv or sys.argv[-1] == '--run': store_outputs(p)
        sys.exit()
    if '--check' not in sys.argv: print(f'{build()} warnings')
    bad = problems()
    size = sum(p.stat().st_size for p in DOCS.rglob('*') if p.is_file())
    print('\n'.join(bad + [f'docs/: {len(list(DOCS.rglob("*.html")))} pages, {size/1e6:.1f} MB, {len(bad)} problems']))
    sys.exit(bool(bad))
