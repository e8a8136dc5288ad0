"""The Sphinx extension of the site: names and citations in prose as links, formulas as MathML, folded tests, numbered
figures with words, excerpts for the search, descriptions of pages"""
import importlib, json, re
from html import escape
from pathlib import Path
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx import addnodes
from sphinx.ext import autosummary
from sphinx.transforms.post_transforms import SphinxPostTransform
import reference, words

TITLE = 'mlic: multi-label image classification'


# ---- tests, folded away -------------------------------------------------------------------------------------
class tests(nodes.General, nodes.Element):
    "Tests of a module; not in the search index, so that a search finds what is documented"


class Tests(Directive):
    has_content = True
    def run(self):
        text = '\n'.join(self.content)
        return [tests('', nodes.literal_block(text, text, language='python'), classes=['no-search'])]


def fold(self, node): self.body.append('<details class="tests"><summary>Tests</summary>')
def unfold(self, node): self.body.append('</details>')


def unsearched(app, doctree, docname):
    "The search index is made of what is not a test"
    if app.builder.name != 'html':
        return
    app.env.mlic_excerpts[docname] = excerpts(doctree)
    app.env.mlic_texts[docname] = description(doctree)


# ---- formulas -----------------------------------------------------------------------------------------------
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


# ---- names in prose -----------------------------------------------------------------------------------------
def above(node):
    while node := node.parent:
        yield node


def link(app, here, to, inside):
    "A reference from a page to 'page#anchor' or an address"
    outside = to.startswith('http')
    page, _, anchor = to.partition('#')
    url = to if outside else f'{app.builder.get_relative_uri(here, page)}#{anchor}'
    res = nodes.reference('', '', refuri=url, internal=not outside)
    res.append(inside)
    return res


class Names(SphinxPostTransform):
    "`name` in prose becomes a link to what mlic, scikit-learn, PyTorch, pandas or fastai document under it"
    default_priority = 5
    def run(self):
        known, here = names_of(self.env), self.env.docname
        for node in list(self.document.findall(nodes.literal)):
            to = known.get(node.astext().removesuffix('()'))
            if not to or any(isinstance(a, (nodes.reference, nodes.title)) for a in above(node)):
                continue
            node.replace_self(link(self.app, here, to, node.deepcopy()))


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


class Citations(SphinxPostTransform):
    "Name (year) in prose becomes a link to its entry on the page of references"
    default_priority = 6
    def run(self):
        here = self.env.docname
        if here in ('pages/references', 'pages/changelog'):
            return
        for node in list(self.document.findall(nodes.Text)):
            if any(isinstance(a, (nodes.reference, nodes.title, nodes.literal, nodes.literal_block, nodes.math,
                                  nodes.math_block, nodes.raw, addnodes.desc_signature)) for a in above(node)):
                continue
            text, parts, at = str(node), [], 0
            for m in words.CITED.finditer(text):
                key = words.key_of(m[1], m[2], m[3], here.split('/')[0])
                if not key:
                    continue
                to = link(self.app, here, f'pages/references#{key}', nodes.Text(text[m.start():m.end()]))
                parts += [nodes.Text(text[at:m.start()]), to]
                at = m.end()
            if parts:
                node.parent.replace(node, [*parts, nodes.Text(text[at:])])


# ---- figures ------------------------------------------------------------------------------------------------
class Figures(SphinxPostTransform):
    "Pictures of cells get the words that `docs.convert` has for them, and a caption where the page has none"
    default_priority = 7 # after myst-nb has chosen one form of each output
    def run(self):
        inside = lambda node: any('cell_output' in a.get('classes', ()) for a in above(node) if hasattr(a, 'get'))
        found = [image for image in self.document.findall(nodes.image) if inside(image)]
        texts = self.config.mlic_seen.get(self.env.docname, [])
        for i, (image, (said, captioned)) in enumerate(zip(found, texts), 1):
            image['alt'] = said
            if not captioned:
                caption = nodes.caption('', said)
                image.replace_self(nodes.figure('', image.deepcopy(), caption, ids=[f'figure-{i}']))


# ---- search, head of the page -------------------------------------------------------------------------------
def plain(node):
    "The text that a reader sees in a node"
    parts = []
    for child in node.children:
        if isinstance(child, (nodes.section, tests, nodes.comment, nodes.raw, nodes.math_block, nodes.title,
                              nodes.literal_block, addnodes.index, addnodes.toctree, addnodes.desc_signature,
                              nodes.image)):
            continue
        parts.append(plain(child) if child.children else child.astext())
    return ' '.join(' '.join(parts).split())


def excerpts(doctree):
    "[(anchor, title, text)] of the sections of a page"
    res = []
    for section in doctree.findall(nodes.section):
        title = next((t.astext() for t in section.findall(nodes.title)), '')
        res.append((section['ids'][0], title, plain(section)[:1500]))
    for entry in doctree.findall(addnodes.desc):
        ids = entry[0].get('ids') if len(entry) else ()
        if ids:
            res.append((ids[0], ids[0].rpartition('.')[2], plain(entry[-1])[:300]))
    return res


def description(doctree):
    "The sentence under the title, else the first paragraph"
    first = next(iter(doctree.findall(nodes.block_quote)), None) or next(iter(doctree.findall(nodes.paragraph)), None)
    text = ' '.join(first.astext().split()) if first else ''
    return text if len(text) < 200 else text[:197].rsplit(' ', 1)[0] + ' …'


def head(app, pagename, templatename, context, doctree):
    "Description and Open Graph tags; the search page loads the excerpts"
    said = app.env.mlic_texts.get(pagename) or 'Multi-label image classification on fastai'
    title = re.sub('<[^>]+>', '', context.get('title') or '') or TITLE
    title = TITLE if pagename == 'index' else title
    tags = dict(description=said)
    graph = {'og:title': title, 'og:description': said, 'og:type': 'website', 'og:site_name': TITLE}
    lines = [f'<meta name="{k}" content="{escape(v)}">' for k, v in tags.items()]
    lines += [f'<meta property="{k}" content="{escape(v)}">' for k, v in graph.items()]
    context['metatags'] = context.get('metatags', '') + '\n'.join(lines)
    notebook = Path(app.srcdir)/f'{pagename}.ipynb'
    context['notebook'] = f'_downloads/{pagename}.ipynb' if notebook.exists() and pagename != 'index' else None
    if pagename == 'search':
        app.add_js_file('excerpts.js')


def written(app, error):
    if error:
        return
    text = json.dumps(app.env.mlic_excerpts, ensure_ascii=False, separators=(',', ':'))
    (Path(app.outdir)/'_static'/'excerpts.js').write_text(f'const EXCERPTS = {text}\n', encoding='utf-8')


def begun(app): app.env.mlic_excerpts, app.env.mlic_texts = {}, {}


def setup(app):
    autosummary.WELL_KNOWN_ABBREVIATIONS += ('eq.', 'eqs.', 'fig.', 'sec.') # they do not end a sentence
    app.add_config_value('mlic_seen', {}, '')
    app.add_node(tests, html=(fold, unfold))
    app.add_directive('tests', Tests)
    app.add_post_transform(Names)
    app.add_post_transform(Citations)
    app.add_post_transform(Figures)
    app.add_html_math_renderer('mathml', (formula, None), (formula_block, None))
    app.connect('builder-inited', begun)
    app.connect('autodoc-process-docstring', reference.docments_as_fields)
    app.connect('autodoc-process-signature', reference.plain_signature)
    app.connect('autodoc-skip-member', reference.foreign_member)
    app.connect('doctree-resolved', unsearched)
    app.connect('html-page-context', head)
    app.connect('build-finished', written)
    return dict(parallel_read_safe=False, parallel_write_safe=False)
