"""Build docs/ from the notebooks with Sphinx: myst-nb reads them, autodoc and autosummary write the reference, viewcode
the source pages.  `python tools/docs.py [--run [NAME ...]]`

What is ours: here, which pages there are (site), a notebook's cells as a page (convert), and the checks of the built
site (problems); in docs_sphinx.py, what Sphinx is taught; in reference.py, what autodoc is.
--run runs the pages of nbs/pages anew, all or those named."""
import ast, importlib, json, os, re, shutil, sys, tempfile
from functools import cache
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path
from urllib.parse import unquote

sys.path.insert(0, str(Path(__file__).resolve().parent))
import words
from subjects import ROOT, draw_layers, modules, ordered, public

NBS, DOCS, ASSETS = ROOT/'nbs', ROOT/'docs', ROOT/'tools'/'docs_assets'
PAGES = NBS/'pages'
GUIDES = { # caption: pages of nbs/pages in the order of a reader's work
    'Start': ['install', 'tutorial', 'gallery', 'course'],
    'Your data': ['own_csv', 'imbalanced_labels', 'partial_labels', 'missing_positives', 'many_labels', 'small_objects',
                  'capacity'],
    'How to train': ['choosing_loss', 'your_own', 'mixup', 'test_time_augmentation', 'ensembles', 'mixed_precision',
                 'several_gpus', 'resuming', 'cluster'],
    'Decisions and results': ['choosing_thresholds', 'reading_results', 'paper'],
    'Use a model': ['deploy'],
    'Beside other tools': ['plain_pytorch', 'fastai', 'sklearn', 'beside_*', 'migrating'],
    'Help': ['troubleshooting', 'faq'],
}
ABOUT = ['reproducibility', 'design', 'glossary', 'references', 'changelog']
KEYWORDS = { # words that people type, beyond those of the title: they lead to the page first
    'pages/install': 'install, installation, docker, offline, cpu only',
    'pages/tutorial': 'quick start, getting started',
    'pages/own_csv': 'csv, own csv, own data, my own data, my own images, data frame',
    'pages/imbalanced_labels': 'rare labels, class imbalance, imbalance, pos_weight',
    'pages/partial_labels': 'missing labels, unknown labels, partial labels',
    'pages/several_gpus': 'several gpus, multi-gpu, multiple gpus, ddp', 'pages/cluster': 'dask, ray, slurm, joblib',
    'pages/deploy': 'onnx, deploy, export, inference', 'pages/small_objects': 'small objects',
    'pages/choosing_thresholds': 'threshold, thresholds, threshold per label, top-k',
    'pages/choosing_loss': 'which loss, choose a loss, best loss',
    'pages/mixup': 'mixup, cutmix, label smoothing',
    'pages/test_time_augmentation': 'test-time augmentation, tta, ensemble of views',
    'pages/mixed_precision': 'mixed precision, half precision, fp16, bf16, gradient accumulation',
    'pages/gallery': 'gallery, recipes, examples, cookbook', 'pages/course': 'course, curriculum, exercises, teaching',
    'pages/fastai': 'fastai, fastai learner', 'pages/sklearn': 'scikit-learn, sklearn, pipeline, grid search',
    'pages/paper': 'paper, latex table, cite, citation, bibtex',
    'pages/migrating': 'migrate, migrating, scikit-multilearn, skmultilearn, multicategoryblock',
    'pages/faq': 'faq, questions', 'pages/reproducibility': 'reproducibility, reproducible, deterministic',
    'pages/beside_huggingface': 'hugging face, huggingface, transformers, trainer',
    'pages/beside_lightning': 'lightning, pytorch lightning', 'pages/beside_fiftyone': 'fiftyone',
    'pages/beside_trackers': 'tensorboard, wandb, weights and biases, mlflow',
    'pages/beside_arrays': 'numpy, jax, scores from elsewhere', 'pages/capacity': 'capacity, disk space, memory needed',
    'pages/missing_positives': 'missing positives, false negatives in annotation',
    'pages/your_own': 'custom loss, custom head, custom metric, own loss, own head, own metric',
    'pages/plain_pytorch': 'pytorch, plain pytorch, training loop', 'pages/resuming': 'resume, checkpoint, interrupted',
    'pages/reading_results': 'verdict, confidence interval, significance, p value, equivalent, undecided',
    'pages/troubleshooting': 'error, errors, out of memory, nan loss',
    'pages/references': 'references, bibliography', 'pages/glossary': 'glossary, terms',
    'losses/ranking': 'lsep formula, ranking loss, warp', 'losses/elementwise': 'asymmetric, asl, focal, bce',
    'interpret/maps': 'class activation map, cam, grad-cam, heat map', 'cli/index': 'cli, command line',
}
MOVED = {ROOT/'bench'/'RESULTS.md': 'pages/speed', ROOT/'CONTRIBUTING.md': 'pages/contributing',
         ROOT/'SECURITY.md': 'pages/security'} # from outside nbs/


# ---- which pages there are ----------------------------------------------------------------------------------
def site():
    "[(caption, [(page, source)])] in the order of the sidebar; a page lies where its notebook lies below nbs/"
    page = lambda p: p.relative_to(NBS).with_suffix('').as_posix()
    there = lambda names: [f for n in names for f in sorted(PAGES.glob(f'{n}.*')) if f.suffix in ('.md', '.ipynb')]
    groups = {caption: there(names) for caption, names in GUIDES.items()}
    listed = {p for paths in groups.values() for p in paths} | {PAGES/'results.md', *there(ABOUT)}
    groups['Use a model'] += [p for p in there(['*']) if p not in listed]
    groups['Chapters'] = sorted((NBS/'chapters').glob('[0-9]*.ipynb'))
    res = [(caption, [(page(p), p) for p in paths]) for caption, paths in groups.items()]
    res.append(('Results', [('pages/results', PAGES/'results.md'), ('pages/speed', ROOT/'bench'/'RESULTS.md')]))
    res.append(('Reference', [('api', None)]))
    res += [(caption, [(page(notebook(m)), notebook(m)) for m in names]) for caption, names in ordered().items()]
    outside = [(MOVED[p], p) for p in (ROOT/'CONTRIBUTING.md', ROOT/'SECURITY.md')]
    about = [(page(p), p) for p in there(ABOUT)] + outside
    return [(c, ps) for c, ps in [*res, ('About', about)] if ps]


def notebook(module):
    "The notebook of a module"
    return modules()[module]


def keyed(text, page):
    "A page's text with its keywords as index entries, below the title and the sentence under it"
    if page not in KEYWORDS:
        return text
    words = ', '.join(f'! {w}' for w in KEYWORDS[page].split(', '))
    return re.sub(r'\A(# .+\n+(?:>.*\n*)*)', rf'\1\n```{{eval-rst}}\n.. index:: {words}\n```\n\n', text + '\n', count=1)


# ---- a notebook as a page -----------------------------------------------------------------------------------
def callouts(md):
    "Quarto's callouts as MyST admonitions"
    def one(m):
        title = re.search(r'title="([^"]*)"', m[2])
        return f":::{{admonition}} {title[1]}\n:class: {m[1]}\n" if title else f':::{{{m[1]}}}'
    return re.sub(r'^::: *\{\.callout-(note|tip|warning|caution|important)([^}]*)\}', one, md, flags=re.M)


def relinked(md, src, html=False):
    "Links as Sphinx wants them: to pages by their source, or `html`; to symbols by their full name"
    here = MOVED.get(src) or src.relative_to(NBS).with_suffix('').as_posix()
    module_of = {path: m for m, path in modules().items()}
    def one(m):
        path, _, anchor = m[1].partition('#')
        if re.match(r'[a-z]+:', path):
            return m[0]
        there = (src.parent/unquote(path)).resolve() if path else src
        if there.suffix == '.html' and there.with_suffix('.ipynb').exists():
            there = there.with_suffix('.ipynb')
        module = module_of.get(there)
        if module and anchor.split('.')[0] in public(module):
            anchor = f'#mlic.{module}.{anchor}'
        elif anchor:
            anchor = '#' + anchor.lower() # Jupyter writes #A-heading
        if not path:
            return f']({anchor})'
        if there in MOVED:
            to = MOVED[there] + '.md'
        elif there.exists() and there.is_relative_to(NBS):
            to = there.relative_to(NBS).as_posix()
        else:
            return m[0]
        if html:
            to = os.path.splitext(to)[0] + '.html'
        return f"]({os.path.relpath(to, os.path.dirname(here) or '.')}{anchor})"
    return re.sub(r'\]\(([^)\s]+)\)', one, md)


def directives(source, module):
    "Autodoc directives of the public names that an exported cell defines"
    names = set(public(module))
    for node in ast.parse(source).body:
        name = getattr(node, 'name', None)
        if isinstance(node, ast.FunctionDef) and name in names:
            yield f'.. autofunction:: mlic.{module}.{name}'
        elif isinstance(node, ast.ClassDef) and name in names:
            yield f'.. autoclass:: mlic.{module}.{name}\n   :members:'
        elif isinstance(node, ast.Assign):
            constants = [t.id for t in node.targets if getattr(t, 'id', None) in names]
            for name in constants:
                yield f'.. autodata:: mlic.{module}.{name}\n   :no-value:'


def role(cell):
    "What a code cell is on a page: export, setup (left out), test (folded), or shown"
    src = ''.join(cell['source'])
    if re.match(r'\s*#\|\s*(export|exporti|default_exp)\b', src):
        return 'export'
    if not re.search(r'^#\|\s*hide\b', src, re.M):
        return 'shown'
    return 'test' if re.search(r'\b(assert |test_\w+\(|raises\()', src) else 'setup'


SHOWN_BY_FASTAI = {
    'show_batch': 'Images of a batch with their labels above them',
    'show_results': 'Images with their labels above and the predicted labels below them',
    'lr_find': 'Loss against learning rate',
}


@cache
def drawn():
    "{name of a function that draws: what is seen}, by the sentences of the library and of the chapters"
    res = dict(SHOWN_BY_FASTAI)
    for path in [*sorted((ROOT/'mlic').rglob('*.py')), NBS/'chapters'/'protocol.py']:
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.FunctionDef) and re.match('plot|heat_map|critical|curves|scatter', node.name):
                res.setdefault(node.name, (ast.get_docstring(node) or '').split('\n')[0])
    return {name: said for name, said in res.items() if said}


def seen(cell, before):
    "What a picture of a cell shows: its `#| fig-alt:`, else what the function that drew it says, else axes and heading"
    source = ''.join(cell['source'])
    given = re.search(r'^#\|\s*fig-(?:alt|cap):\s*(.+)$', source, re.M)
    if given:
        return given[1].strip('"\' ')
    for name in reversed(re.findall(r'\b(\w+)\(', source)):
        if name in drawn():
            return re.sub(r'`', '', drawn()[name])
    title = re.sub('[*`$]', '', (re.findall(r'^#+\s*(.+)$', before, re.M) or ['This section'])[-1])
    axes = {k: v for k, v in re.findall(r"\b([xy]label)=f?['\"]([^'\"]+)['\"]", source)}
    if len(axes) == 2:
        return f"{title}: {axes['ylabel']} against {axes['xlabel']}"
    return f'{title}: pictures with their labels' if 'imshow' in source else f'{title}, drawn'


def pictures(cell, before):
    "(words, whether the page has a caption already) of the pictures among a cell's outputs"
    outputs = cell.get('outputs', [])
    for o, after in zip(outputs, [*outputs[1:], {}]):
        data = o.get('data', {})
        if 'text/html' in data or not {'image/png', 'image/jpeg', 'image/svg+xml'} & set(data):
            continue
        given = o.get('metadata', {}).get('image/png', {}).get('alt')
        captioned = ''.join(after.get('data', {}).get('text/markdown', '')).startswith('**Figure')
        yield given or seen(cell, before), captioned


def convert(src, page, module):
    "The notebook as myst-nb reads it, and the words for its pictures"
    out, before, said = [], '', []
    def add(kind, source, **more):
        out.append(dict(cell_type=kind, source=source, metadata={}, id=f'cell-{len(out)}', **more))
    for kind, group in groupby(json.loads(src.read_text(encoding='utf-8'))['cells'],
                               lambda c: role(c) if c['cell_type'] == 'code' else c['cell_type']):
        cells = list(group)
        sources = [re.sub(r'^#\|.*\n?', '', ''.join(c['source']), flags=re.M).strip() for c in cells]
        if kind == 'markdown':
            for c in cells:
                before = f"{before}\n\n{''.join(c['source'])}"
                text = relinked(callouts(''.join(c['source'])), src)
                add('markdown', text if out else keyed(text, page))
        elif kind == 'export' and module:
            found = [d for s in sources for d in directives(s, module)]
            if found:
                add('markdown', '```{eval-rst}\n' + '\n\n'.join(found) + '\n```')
        elif kind == 'test':
            add('markdown', '````{tests}\n' + '\n\n'.join(sources) + '\n````')
        elif kind == 'shown':
            for c, s in zip(cells, sources):
                add('code', s, outputs=shown(c.get('outputs', []), src), execution_count=None)
                quiet = re.search(r'^#\|\s*echo:\s*false', ''.join(c['source']), re.M)
                out[-1]['metadata'] = dict(tags=['remove-input'] if quiet else [])
                said += pictures(c, before)
    kernel = dict(display_name='Python 3', language='python', name='python3')
    return dict(cells=out, metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5), said


def shown(outputs, src):
    "Outputs without stderr and progress bars; what is printed in a row is one text"
    res = []
    for o in outputs:
        data = o.get('data', {})
        html = ''.join(data.get('text/html', ''))
        if o.get('name') == 'stderr' or '<progress' in html and '<table' not in html:
            continue
        if 'text/html' in data:
            data.pop('text/markdown', None)
        if 'text/markdown' in data:
            o['data'] = {'text/markdown': relinked(''.join(data['text/markdown']), src, True)}
        if res and o.get('name') == res[-1].get('name') == 'stdout':
            res[-1]['text'] = ''.join(res[-1]['text']) + ''.join(o['text'])
        else:
            res.append(o)
    return res


def api():
    "The page of all public names, by subject"
    out = ['# API', 'Every public name, by subject. `from mlic.all import *` gives those that a notebook needs.']
    for caption, names in ordered().items():
        out.append(f'## {caption}')
        for m in names:
            if m == 'all' or not public(m):
                continue
            doc = notebook(m).relative_to(NBS).with_suffix('').as_posix()
            rows = '\n   '.join(f'~mlic.{m}.{n}' for n in public(m))
            table = f'.. autosummary::\n   :nosignatures:\n\n   {rows}'
            out.append(f'### [mlic.{m}](/{doc})\n\n```{{eval-rst}}\n{table}\n```')
    return '\n\n'.join(out)


def findings():
    "What each chapter found, with its picture"
    file = NBS/'chapters'/'findings.json'
    noted, out = json.loads(file.read_text(encoding='utf-8')), []
    for path in sorted((NBS/'chapters').glob('[0-9]*.ipynb')):
        first = ''.join(json.loads(path.read_text(encoding='utf-8'))['cells'][0]['source'])
        image = NBS/'images'/f"{path.stem.split('_', 1)[1]}.png"
        found = noted.get(path.stem, dict(question='', finding=''))
        title = re.match(r'#\s*(.+)', first)[1]
        out += [f'## [{title}](../chapters/{path.name})', found['question'],
                f"![{title}: {found['question']}](../images/{image.name})" if image.exists() else '', found['finding']]
    return '\n\n'.join(o for o in out if o)


def recipes(src, out):
    "The recipes of a gallery as thumbnails: each heading with the first picture below it"
    from base64 import b64decode
    from io import BytesIO
    from PIL import Image
    found = {}
    for cell in json.loads(src.read_text(encoding='utf-8'))['cells']:
        text = ''.join(cell['source'])
        if title := re.match(r'##\s+(.+)', text):
            found[title[1]] = None
        for o in cell.get('outputs', []):
            if found and 'image/png' in o.get('data', {}):
                found[[*found][-1]] = ''.join(o['data']['image/png'])
    (out/'images'/'gallery').mkdir(parents=True)
    lines = []
    for i, (title, png) in enumerate(found.items(), 1):
        image = ''
        if png:
            with Image.open(BytesIO(b64decode(png))) as im:
                im.convert('RGB').resize((360, round(360*im.height/im.width))).save(out/'images'/'gallery'/f'{i}.png')
            image = f'![Picture of this recipe: {title}](../images/gallery/{i}.png) '
        lines.append(f"[{image}{title}](#{re.sub(r'[^a-z0-9 -]', '', title.lower()).replace(' ', '-')})")
    return '\n\n'.join([':::{container} recipes', *lines, ':::'])


def toctree(entries, caption=''):
    "A hidden table of contents, of which Sphinx makes the sidebar"
    options = ':hidden:\n' + (f':caption: {caption}\n' if caption else '')
    return f'```{{toctree}}\n{options}\n' + '\n'.join(entries) + '\n```\n\n' if entries else ''


def write_sources(out):
    "The Sphinx project in `out`; folders as below nbs/"
    groups, module_of = site(), {nb: m for names in ordered().values() for m in names for nb in [notebook(m)]}
    (out/'images').mkdir(parents=True)
    for image in (NBS/'images').iterdir():
        shutil.copy(image, out/'images')
    (out/'chapters').mkdir()
    shutil.copy(NBS/'chapters'/'protocol.py', out/'chapters')
    (out/'images'/'layers.svg').write_text(draw_layers(), encoding='utf-8')
    seen_on = {}
    entry = lambda page, src: f'mlic.{module_of[src]} <{page}>' if src in module_of else page
    inside = {} # package: its modules, which the sidebar shows below it
    for src, m in module_of.items():
        if '.' in m:
            page = '/' + src.relative_to(NBS).with_suffix('').as_posix()
            inside.setdefault(m.split('.')[0], []).append(entry(page, src))
    parts = {c: [entry(*p) for p in ps if '.' not in module_of.get(p[1], '')] for c, ps in groups}
    parts['Reference'] += [e for c in ordered() for e in parts.pop(c, [])]
    toc = ''.join(toctree(parts[c], c) for c in parts)
    for page, src in [('index', NBS/'index.ipynb'), *(p for _, ps in groups for p in ps)]:
        suffix = src.suffix if src else '.md'
        to = out/f'{page}{suffix}'
        to.parent.mkdir(parents=True, exist_ok=True)
        if suffix == '.ipynb':
            nb, seen_on[page] = convert(src, page, module_of.get(src))
            for cell in nb['cells']:
                if '<!-- gallery -->' in cell['source']:
                    cell['source'] = cell['source'].replace('<!-- gallery -->', recipes(src, out))
            below = toc if page == 'index' else toctree(inside.get(module_of.get(src), []))
            if below:
                nb['cells'].append(dict(cell_type='markdown', id='toc', metadata={}, source=below))
            to.write_text(json.dumps(nb), encoding='utf-8')
        else:
            text = src.read_text(encoding='utf-8').replace('{findings}', findings()) if src else api()
            if page == 'pages/references':
                text = words.anchored(text)
            to.write_text(keyed(relinked(callouts(text), src), page) if src else text, encoding='utf-8')
    (out/'seen.json').write_text(json.dumps(seen_on), encoding='utf-8')
    (out/'conf.py').write_text(CONF.format(tools=str(ROOT/'tools'), assets=str(ASSETS)), encoding='utf-8')


CONF = '''
import json, sys
from pathlib import Path
sys.path.insert(0, {tools!r})
import docs
project, author, copyright = 'mlic', 'the mlic developers', '2026, the mlic developers'
extensions = ['myst_nb', 'sphinx.ext.autodoc', 'sphinx.ext.autosummary', 'sphinx.ext.viewcode', 'sphinx_copybutton',
              'docs_sphinx']
mlic_seen = json.loads(Path(__file__).with_name('seen.json').read_text())
templates_path = [{tools!r} + '/docs_templates']
html_theme, html_title = 'furo', f'mlic {{docs.version()}}'
html_static_path, html_css_files, html_js_files = [{assets!r}], ['docs.css'], ['docs.js']
html_copy_source = html_show_sourcelink = html_show_sphinx = html_show_search_summary = False
html_last_updated_fmt, html_use_index = None, False # the API page is the index
html_theme_options, html_context = dict(top_of_page_buttons=[]), dict(version_of_mlic=docs.version())
html_favicon, html_search_scorer = {assets!r} + '/favicon.svg', {assets!r} + '/scorer.js'
nb_execution_mode, nb_output_stderr, nb_render_markdown_format = 'off', 'remove', 'gfm'
myst_enable_extensions = ['dollarmath', 'amsmath', 'colon_fence', 'attrs_inline', 'deflist']
myst_heading_anchors, myst_dmath_double_inline = 4, True
html_math_renderer = 'mathml'
autosummary_generate, autodoc_inherit_docstrings, autodoc_typehints = False, False, 'none'
autodoc_member_order, autodoc_class_signature = 'bysource', 'mixed'
add_module_names, python_maximum_signature_line_length, toc_object_entries_show_parents = False, 88, 'hide'
default_role, copybutton_exclude = 'py:obj', '.linenos, .gp, .go'
suppress_warnings = ['myst.header', 'myst.xref_missing', 'mystnb.unknown_mime_type'] # `problems` finds dead links
'''


def version(): return importlib.import_module('mlic').__version__


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
        for name in ('.buildinfo', 'jupyter_execute', '_static/LICENSE-mathjax'):
            p = out/name
            shutil.rmtree(p) if p.is_dir() else p.unlink(missing_ok=True)
        for p in out.rglob('*.map'):
            p.unlink()
        (out/'.nojekyll').touch()
        downloads(out)
        for image in (out/'_images').glob('*.png'):
            shrink(image)
        shutil.rmtree(docs, ignore_errors=True)
        shutil.copytree(out, docs)
        return app._warncount


def downloads(out):
    "Each notebook as the checkout has it, without outputs, for the link on its page"
    for page, src in [('index', NBS/'index.ipynb'), *(p for _, ps in site() for p in ps)]:
        if not src or src.suffix != '.ipynb':
            continue
        nb = json.loads(src.read_text(encoding='utf-8'))
        for cell in nb['cells']:
            if cell['cell_type'] == 'code':
                cell.update(outputs=[], execution_count=None)
        to = out/'_downloads'/f'{page}.ipynb'
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(json.dumps(nb, ensure_ascii=False, indent=1) + '\n', encoding='utf-8')


def shrink(path):
    "A picture with a palette of 256 colours where that is smaller"
    from PIL import Image
    with Image.open(path) as im:
        if im.mode == 'P':
            return
        opaque = im.mode in ('L', 'RGB') or im.convert('RGBA').getextrema()[3][0] == 255
        small = im.convert('RGB').quantize(256) if opaque else im.convert('RGBA').quantize(256)
    to = path.with_suffix('.small')
    small.save(to, 'png', optimize=True)
    if to.stat().st_size < path.stat().st_size:
        to.replace(path)
    else:
        to.unlink()


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads, self.alts = set(), [], [], []
        self.feed(text)
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.ids.add(a.get('id'))
        if tag == 'a' and a.get('href'):
            self.links.append(a['href'])
        if tag in ('script', 'img', 'iframe', 'source') and a.get('src'):
            self.loads.append(a['src'])
        if tag == 'link' and a.get('href') and a.get('rel') != 'canonical':
            self.loads.append(a['href'])
        if tag == 'img':
            self.alts.append(a.get('alt') or '')


def problems(docs=DOCS):
    "What is wrong with the built site, a line each: dead links, files from elsewhere, pictures without words"
    found = []
    pages = {p.resolve(): Page(p.read_text(encoding='utf-8')) for p in docs.rglob('*.html')}
    for _, ps in site():
        found += [f'{page}.html is missing' for page, _ in ps if not (docs/f'{page}.html').exists()]
    for path, page in pages.items():
        here = path.relative_to(docs.resolve())
        found += [f'{here}: the alternative text {a!r} is a file name or empty' for a in page.alts
                  if not a or re.search(r'\.(png|svg|jpe?g)$', a)]
        for url in page.links + page.loads:
            if url.startswith('data:'):
                continue
            if re.match(r'[a-z]+:|//', url):
                if url in page.loads:
                    found.append(f'{here}: loads {url} from elsewhere')
                continue
            file, _, anchor = url.partition('#')
            there = (path.parent/unquote(file.split('?')[0])).resolve() if file else path
            if not there.is_relative_to(docs.resolve()):
                found.append(f'{here}: {url} leaves the site')
            elif not there.exists():
                found.append(f'{here}: {url} leads nowhere')
            elif anchor and there in pages and unquote(anchor) not in pages[there].ids:
                found.append(f'{here}: {url} has no such anchor')
    everything = set().union(*(p.ids for p in pages.values()))
    for names in ordered().values():
        found += [f'mlic.{m}.{n} is not in the reference' for m in names if m != 'all' for n in public(m)
                  if f'mlic.{m}.{n}' not in everything]
    return found


# ---- the pages that are run ---------------------------------------------------------------------------------
def pages_run(): return sorted(PAGES.glob('*.ipynb'))


def store_outputs(path):
    "Run a page in a kernel and an empty folder of its own; the page then holds its outputs, cleaned"
    from notebooks import execute
    with tempfile.TemporaryDirectory() as tmp:
        copy = shutil.copy(path, tmp)
        execute(Path(copy), {'MLIC_CACHE': f'{tmp}/cache', 'OMP_NUM_THREADS': '1'}, save=True)
        shutil.copy(copy, path)


if __name__ == '__main__':
    if '--run' in sys.argv:
        for p in pages_run():
            if p.stem in sys.argv or sys.argv[-1] == '--run':
                store_outputs(p)
        sys.exit()
    print(f'{build()} warnings')
    bad = problems()
    size = lambda pattern: sum(p.stat().st_size for p in DOCS.rglob(pattern) if p.is_file())/1e6
    print('\n'.join(bad + [f'docs/: {len(list(DOCS.rglob("*.html")))} pages, {size("*"):.1f} MB, of it '
                           f'{size("*.png"):.1f} MB of pictures; {len(bad)} problems']))
    sys.exit(bool(bad))
