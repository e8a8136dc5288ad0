"""Build docs/ from the notebooks with Sphinx: myst-nb reads them, autodoc and autosummary write the reference, viewcode
the source pages.  `python tools/docs.py [--run [NAME ...]]`

What is ours: which pages there are (site), a notebook's cells as a page (convert), docments as fields of autodoc, names
in prose as links, formulas as MathML, folded tests.  --run runs the pages of nbs/pages anew, all or those named."""
import ast, importlib, inspect, json, os, re, shutil, sys, tempfile
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path
from urllib.parse import unquote
from docutils import nodes

sys.path.insert(0, str(Path(__file__).resolve().parent))
from subjects import ROOT, draw_layers, modules, ordered, public

NBS, DOCS, ASSETS = ROOT/'nbs', ROOT/'docs', ROOT/'tools'/'docs_assets'
PAGES = NBS/'pages'
GUIDES = ['install', 'own_csv', 'imbalanced_labels', 'partial_labels', 'small_objects', 'many_labels', 'choosing_loss',
          'choosing_thresholds', 'your_own', 'mixup', 'plain_pytorch', 'reading_results', 'resuming', 'several_gpus',
          'cluster', 'deploy', 'troubleshooting']
ABOUT = ['design', 'glossary', 'references', 'changelog']
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
    'pages/mixup': 'mixup, cutmix, test-time augmentation, tta',
    'pages/your_own': 'custom loss, custom head, custom metric, own loss, own head, own metric',
    'pages/plain_pytorch': 'pytorch, plain pytorch, training loop', 'pages/resuming': 'resume, checkpoint, interrupted',
    'pages/reading_results': 'verdict, confidence interval, significance, p value, equivalent, undecided',
    'pages/troubleshooting': 'error, errors, faq, out of memory, nan loss',
    'pages/references': 'references, bibliography', 'pages/glossary': 'glossary, terms',
    'losses/ranking': 'lsep formula, ranking loss, warp', 'losses/elementwise': 'asymmetric, asl, focal, bce',
    'interpret/maps': 'class activation map, cam, grad-cam, heat map', 'cli/index': 'cli, command line',
}
MOVED = {ROOT/'bench'/'RESULTS.md': 'pages/speed', ROOT/'CONTRIBUTING.md': 'pages/contributing'} # from outside nbs/


# ---- which pages there are ----------------------------------------------------------------------------------
def site():
    "[(caption, [(page, source)])] in the order of the sidebar; a page lies where its notebook lies below nbs/"
    page = lambda p: p.relative_to(NBS).with_suffix('').as_posix()
    there = lambda names: [f for n in names for f in PAGES.glob(f'{n}.*') if f.suffix in ('.md', '.ipynb')]
    groups = {'Start': there(['tutorial']), 'How to': there(GUIDES)}
    listed = {'tutorial', 'results', *GUIDES, *ABOUT}
    groups['How to'] += sorted(p for p in PAGES.iterdir() if p.suffix in ('.md', '.ipynb') and p.stem not in listed)
    groups['Chapters'] = sorted((NBS/'chapters').glob('[0-9]*.ipynb'))
    res = [(caption, [(page(p), p) for p in paths]) for caption, paths in groups.items()]
    res.append(('Results', [('pages/results', PAGES/'results.md'), ('pages/speed', ROOT/'bench'/'RESULTS.md')]))
    res.append(('Reference', [('api', None)]))
    res += [(caption, [(page(notebook(m)), notebook(m)) for m in names]) for caption, names in ordered().items()]
    about = [(page(p), p) for p in there(ABOUT)] + [('pages/contributing', ROOT/'CONTRIBUTING.md')]
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


def alternative(cell, before):
    "What a picture shows: the cell's `#| fig-alt:`, else the heading and the sentence before it"
    given = re.search(r'^#\|\s*fig-alt:\s*(.+)$', ''.join(cell['source']), re.M)
    if given:
        return given[1].strip('"\' ')
    text = re.sub(r'!?\[([^\]]*)\]\([^)]*\)|[*`$#>|]', r'\1', before)
    title = (re.findall(r'^#+\s*(.+)$', before, re.M) or [''])[-1]
    said = [' '.join(p.split()) for p in text.split('\n\n') if p.strip()]
    sentence = re.split(r'(?<=[.:?])\s', said[-1])[0] if said else ''
    return f"Figure: {re.sub('[*`$]', '', title) or 'of this section'}. {sentence}"[:250].rstrip()


def convert(src, page, module):
    "The notebook as myst-nb reads it"
    out, before = [], ''
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
                out[-1]['metadata'] = dict(tags=['remove-input'] if quiet else [],
                                           mystnb={'image': {'alt': alternative(c, before)}})
    kernel = dict(display_name='Python 3', language='python', name='python3')
    return dict(cells=out, metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)


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


def write_sources(out):
    "The Sphinx project in `out`; folders as below nbs/"
    groups, module_of = site(), {nb: m for names in ordered().values() for m in names for nb in [notebook(m)]}
    (out/'images').mkdir(parents=True)
    for image in (NBS/'images').iterdir():
        shutil.copy(image, out/'images')
    (out/'chapters').mkdir()
    shutil.copy(NBS/'chapters'/'protocol.py', out/'chapters')
    (out/'images'/'layers.svg').write_text(draw_layers(), encoding='utf-8')
    entry = lambda page, src: f'mlic.{module_of[src]} <{page}>' if src in module_of else page
    toc = ''.join(f'```{{toctree}}\n:hidden:\n:caption: {c}\n\n' + '\n'.join(entry(*p) for p in ps) + '\n```\n\n'
                  for c, ps in groups)
    for page, src in [('index', NBS/'index.ipynb'), *(p for _, ps in groups for p in ps)]:
        suffix = src.suffix if src else '.md'
        to = out/f'{page}{suffix}'
        to.parent.mkdir(parents=True, exist_ok=True)
        if suffix == '.ipynb':
            nb = convert(src, page, module_of.get(src))
            if page == 'index':
                nb['cells'].append(dict(cell_type='markdown', id='toc', metadata={}, source=toc))
            to.write_text(json.dumps(nb), encoding='utf-8')
        else:
            text = src.read_text(encoding='utf-8').replace('{findings}', findings()) if src else api()
            to.write_text(keyed(relinked(callouts(text), src), page) if src else text, encoding='utf-8')
    (out/'conf.py').write_text(CONF.format(tools=str(ROOT/'tools'), assets=str(ASSETS)), encoding='utf-8')


CONF = '''
import sys
sys.path.insert(0, {tools!r})
import docs
project, author, copyright = 'mlic', 'the mlic developers', '2026, the mlic developers'
extensions = ['myst_nb', 'sphinx.ext.autodoc', 'sphinx.ext.autosummary', 'sphinx.ext.viewcode', 'sphinx_copybutton']
html_theme, html_title = 'furo', f'mlic {{docs.version()}}'
html_static_path, html_css_files, html_js_files = [{assets!r}], ['docs.css'], ['docs.js']
html_copy_source = html_show_sourcelink = html_show_sphinx = html_show_search_summary = False
html_last_updated_fmt, html_use_index = None, False # the API page is the index
html_theme_options = dict(top_of_page_buttons=[])
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
setup = docs.setup
'''


# ---- what Sphinx is taught ----------------------------------------------------------------------------------
def version(): return importlib.import_module('mlic').__version__


def rst(text):
    "A docstring or docment, in which only `code` and $formulas$ are marked up, as reStructuredText"
    parts = re.split(r'(`[^`]+`|\$[^$\s](?:[^$]*[^$\s])?\$)', text)
    def one(part, marked):
        if not marked:
            return re.sub(r'([\\*|_`])', r'\\\1', part)
        if part[0] == '$':
            return f'\\ :math:`{part[1:-1]}`\\ '
        return f'\\ :py:obj:{part}\\ ' if re.fullmatch(r'`[A-Za-z]\w*`', part) else f'\\ `{part}`\\ '
    return ''.join(one(p, i % 2) for i, p in enumerate(parts))


def comment_on(name):
    "What a constant is, by its full name: the comment beside its assignment or above it, else what it holds"
    module, _, name = name.rpartition('.')
    module = importlib.import_module(module)
    lines, value = inspect.getsource(module).splitlines(), getattr(module, name)
    for node in ast.parse('\n'.join(lines)).body:
        if name not in [getattr(t, 'id', None) for t in getattr(node, 'targets', [])]:
            continue
        near = [lines[i][at:] for i, at in ((node.lineno - 1, 0), (node.end_lineno - 1, node.end_col_offset))]
        beside = [m[1] for text in near if (m := re.search(r'(?:^|\s)# (.+)$', text))]
        above = [m[1] for m in [re.match(r'# (?!%)(.+)', lines[node.lineno - 2])] if m]
        if beside + above:
            return (beside + above)[0]
    if type(value).__name__ == 'Registry':
        return f"The registry of each {value.kind} by name: {', '.join(value)}"
    if isinstance(value, (list, tuple, dict)):
        return f"{len(value)} names: {', '.join(map(str, value))}"
    return (inspect.getdoc(value) or '').split('\n')[0]


def type_of(p):
    "The type of a parameter by its annotation, else by its default"
    anno, default = p['anno'], p['default']
    if anno not in (inspect.Parameter.empty, None, type(None)):
        return inspect.formatannotation(anno).replace('typing.', '')
    if default in (inspect.Parameter.empty, None) or callable(default):
        return ''
    return type(default).__name__


def docments_as_fields(app, what, name, obj, options, lines):
    "Autodoc's docstring: the sentence, then a field for each parameter that has a comment"
    from fastcore.docments import docments
    text = comment_on(name) if what == 'data' else ' '.join(' '.join(lines).split())
    lines[:] = [rst(text), '']
    if what not in ('function', 'method', 'class'):
        return
    try:
        found = docments(obj, full=True, args_kwargs=True)
    except (TypeError, ValueError, AttributeError, SyntaxError, OSError):
        return
    for arg, p in found.items():
        said = ' '.join((p['docment'] or '').split())
        if arg == 'self' or not said:
            continue
        if arg == 'return':
            lines.append(f':returns: {rst(said)}')
            if type_of(p):
                lines.append(f':rtype: {rst(type_of(p))}')
        else:
            lines.append(f':param {arg}: {rst(said)}')
            if type_of(p):
                lines.append(f':type {arg}: {type_of(p)}')


def plain_signature(app, what, name, obj, options, signature, returns):
    "Functions by their names; a class with the constructor of a base outside mlic is called without arguments"
    init = getattr(obj, '__init__', None)
    if what == 'class' and issubclass(obj, BaseException) or not signature:
        return None
    if what == 'class' and signature.startswith('(*args'): # of a metaclass or of `__call__`
        signature = str(inspect.signature(obj))
    if what != 'class' or getattr(init, '__module__', 'mlic').startswith('mlic'):
        return re.sub(r"<(?:function|class) '?([\w.]+)[^>]*>", r'\1', signature), None
    return '()', None


def foreign_member(app, what, name, obj, skip, options):
    "Is it a member that a class has from a package outside mlic"
    func = getattr(obj, '__func__', getattr(obj, 'fget', obj))
    foreign = not (getattr(func, '__module__', None) or 'mlic').startswith('mlic')
    return True if foreign or (inspect.getdoc(obj) or '').startswith('Alias for field') else None


class tests(nodes.comment, nodes.Element):
    "Tests, folded away; a comment to the search index, so that a search finds what is documented"


def setup(app):
    from docutils.parsers.rst import Directive
    from sphinx.ext import autosummary
    from sphinx.transforms.post_transforms import SphinxPostTransform

    class Tests(Directive):
        has_content = True
        def run(self):
            text = '\n'.join(self.content)
            return [tests('', nodes.literal_block(text, text, language='python'))]

    class Names(SphinxPostTransform):
        "`name` in prose becomes a link to what mlic, scikit-learn, PyTorch, pandas or fastai document under it"
        default_priority = 5
        def run(self):
            known, here = names_of(self.env), self.env.docname
            for node in list(self.document.findall(nodes.literal)):
                to = known.get(node.astext().removesuffix('()'))
                if not to or any(isinstance(a, (nodes.reference, nodes.title)) for a in above(node)):
                    continue
                outside = to.startswith('http')
                page, _, anchor = to.partition('#')
                url = to if outside else f'{self.app.builder.get_relative_uri(here, page)}#{anchor}'
                link = nodes.reference('', '', refuri=url, internal=not outside)
                node.replace_self(link)
                link.append(node)

    def fold(self, node): self.body.append('<details class="tests"><summary>Tests</summary>')
    def unfold(self, node): self.body.append('</details>')
    autosummary.WELL_KNOWN_ABBREVIATIONS += ('eq.', 'eqs.', 'fig.', 'sec.') # they do not end a sentence
    app.add_node(tests, html=(fold, unfold))
    app.add_directive('tests', Tests)
    app.add_post_transform(Names)
    app.add_html_math_renderer('mathml', (formula, None), (formula_block, None))
    app.connect('autodoc-process-docstring', docments_as_fields)
    app.connect('autodoc-process-signature', plain_signature)
    app.connect('autodoc-skip-member', foreign_member)
    return dict(parallel_read_safe=False, parallel_write_safe=False)


def above(node):
    while node := node.parent:
        yield node


def mathml(tex, block):
    from docutils.utils.math.latex2mathml import tex2mathml
    tex = re.sub(r'\\[bB]igg?[lr]?(?![a-zA-Z])', '', tex).replace(r'\dots', r'\ldots')
    tex = re.sub(r'(\\(?:bar|hat|tilde)\s+[A-Za-z])(?=[_^])', r'\1{}', tex) # the index stands beside the accent
    # an accent touches its letter where the fonts have no table of positions; an over-script does not
    found = tex2mathml('{}' + tex if tex[0] in '_^' else tex, as_block=block)
    return found.replace('accent="true"', 'accent="false"').replace('ˉ', '¯')


def formula(self, node):
    self.body.append(f'<span class="math">{mathml(node.astext(), False)}</span>')
    raise nodes.SkipNode


def formula_block(self, node):
    self.body.append(f'<div class="math">{mathml(node.astext(), True)}</div>')
    raise nodes.SkipNode


def names_of(env):
    "{name: address} of what prose may mention: mlic's own by short name, then other packages'"
    if hasattr(env, 'mlic_names'):
        return env.mlic_names
    res, own = elsewhere(), {}
    for full, obj in env.domains['py'].objects.items():
        parts = full.split('.')
        short = '.'.join(parts[-2:] if obj.objtype in ('method', 'property', 'attribute') else parts[-1:])
        for name in (short, full):
            own.setdefault(name, set()).add(f'{obj.docname}#{obj.node_id}')
    res.update({name: next(iter(to)) for name, to in own.items() if len(to) == 1})
    env.mlic_names = res
    return res


def elsewhere():
    "{name: address} of what scikit-learn, PyTorch, pandas, numpy and fastai document, under the names that prose uses"
    import torch, torch.nn.functional as F
    from nbdev.doclinks import NbdevLookup
    distinct = lambda n: len(n) > 3 and ('_' in n.strip('_') or n[0].isupper()) # not a plain word
    fast = NbdevLookup(('fastai', 'fastcore'))
    res = {n: link for n in fast.syms if distinct(n) and (link := fast.doc(n))} if hasattr(fast, 'syms') else {}
    torch_page = 'https://docs.pytorch.org/docs/stable/generated/{}.html'
    sklearn = 'calibration datasets isotonic linear_model metrics model_selection multioutput neighbors preprocessing'
    for mod in sklearn.split():
        m = importlib.import_module(f'sklearn.{mod}')
        for n in getattr(m, '__all__', [n for n, o in vars(m).items() if getattr(o, '__module__', '') == m.__name__]):
            url = f'https://scikit-learn.org/stable/modules/generated/sklearn.{mod}.{n}.html'
            res[f'sklearn.{mod}.{n}'] = url
            if distinct(n):
                res[n] = url
    for n in torch.nn.modules.__all__:
        res[f'nn.{n}'] = res[f'torch.nn.{n}'] = torch_page.format(f'torch.nn.{n}')
    for n, o in vars(F).items():
        if callable(o) and n[0] != '_':
            res[f'F.{n}'] = torch_page.format(f'torch.nn.functional.{n}')
    for n in torch.__all__:
        res[f'torch.{n}'] = torch_page.format(f'torch.{n}')
    res.update(dict.fromkeys(('Tensor', 'torch.Tensor'), 'https://docs.pytorch.org/docs/stable/tensors.html'))
    for n in ('DataFrame', 'Series'):
        res[n] = res[f'pd.{n}'] = f'https://pandas.pydata.org/docs/reference/api/pandas.{n}.html'
    res['np.ndarray'] = 'https://numpy.org/doc/stable/reference/generated/numpy.ndarray.html'
    return res


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
        shutil.rmtree(docs, ignore_errors=True)
        shutil.copytree(out, docs)
        return app._warncount


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
    size = sum(p.stat().st_size for p in DOCS.rglob('*') if p.is_file())
    print('\n'.join(bad + [f'docs/: {len(list(DOCS.rglob("*.html")))} pages, {size/1e6:.1f} MB, {len(bad)} problems']))
    sys.exit(bool(bad))
