"""The site, on a build of its own: what the builder makes of docstrings and links, every page in a headless browser,
and the searches that people type"""
import json, os, re, select, shutil, subprocess, sys, tempfile, time
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'tools'))
import docs, docs_sphinx, reference # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ['chromium', 'chromium-browser', 'google-chrome'])), None)


@pytest.fixture(scope='session')
def site(tmp_path_factory):
    "Folder of a fresh build"
    to = tmp_path_factory.mktemp('site')/'docs'
    code = f'import docs; from pathlib import Path; print(docs.build(Path({str(to)!r})), "warnings")'
    res = subprocess.run([sys.executable, '-c', code], cwd=ROOT/'tools', capture_output=True, text=True)
    assert res.returncode == 0 and res.stdout.rstrip().endswith('\n0 warnings') or res.stdout.strip() == '0 warnings', \
        res.stdout[-2000:] + res.stderr[-6000:]
    return to


# ---- the builder --------------------------------------------------------------------------------------------
def test_callouts():
    assert docs.callouts('::: {.callout-note}\na\n:::') == ':::{note}\na\n:::'
    assert docs.callouts(':::{.callout-tip title="T"}\na\n:::').startswith(':::{admonition} T\n:class: tip\n')


def test_docstrings_are_marked_up():
    assert reference.rst('`f1` of *N* images_') == r'\ :py:obj:`f1`\  of \*N\* images\_'
    assert reference.rst('`a=1`s and $p_k$') == r'\ ``a=1``\ s and \ :math:`p_k`\ '


def test_docments_become_fields():
    def f(a:int|str, # one | two
          b=1, # second
          c=2,
    )->list: # third
        "What `f` does"
    lines = ['What `f` does']
    reference.docments_as_fields(None, 'function', 'f', f, None, lines)
    assert lines[2:] == [r':param a: one \| two', ':type a: int | str', ':param b: second', ':type b: int',
                         ':returns: third', ':rtype: list']


def test_parameters_have_types_by_name():
    "An annotation, then a default, then what the description begins with, then what the name means in the library"
    empty = reference.inspect.Parameter.empty
    kind = lambda arg, said="", anno=empty, default=empty: \
        reference.type_of(arg, dict(anno=anno, default=default, docment=said))
    assert kind('n', anno=int) == 'int' and kind('n', default=.5) == 'float'
    assert kind('q', '(N,K) of 0 and 1') == 'array' and kind('q', 'folder of results') == 'str | Path'
    assert kind('recipe') == 'Recipe' and kind('ax', default=None) == 'Axes | None' and kind('q') == ''


def test_errors_are_listed():
    def _helper(x):
        if x:
            raise KeyError(f'{x} is bad')
    def f(x):
        "What `f` does"
        if x > 1:
            raise ValueError(f"x is {x}; " 'at most 1')
        _helper(x)
        raise NotImplementedError('never')
    _helper.__module__ = 'mlic.x'
    f.__globals__['_helper'] = _helper
    try:
        assert reference.raised(f) == [('ValueError', 'x is {x}; at most 1'), ('KeyError', '{x} is bad')]
    finally:
        del f.__globals__['_helper']


def test_every_entry_is_complete():
    "Each parameter has a meaning and a type, each value is described"
    found = list(reference.gaps())
    assert not found, '\n'.join(found)


def test_entries_lead_on():
    "What is used together, and the pages that use it"
    names, pages = reference.related()['LSEPLoss']
    assert 'mlic.losses.ranking.lsep' in names
    names, pages = reference.related()['LabelThresholds']
    assert any(p.startswith('pages/') for p in pages)


def test_pictures_say_what_is_seen():
    said = lambda source, before='## Here': docs.seen(dict(source=source), before)
    assert said('#| fig-alt: "A dog"\nplot_counts(y)') == 'A dog'
    assert said('plot_counts(y)').startswith('Positives of each label')
    assert said("ax.set(xlabel='rate', ylabel='loss')") == 'Here: loss against rate'


def test_citations_have_one_entry():
    import words
    assert words.key_of('Li', None, '2017', 'pages') == 'li2017'
    assert words.key_of('Zhang', 'Zhou', '2006', 'losses') == 'zhang2006'
    assert words.key_of('Lin', None, '2017', 'losses') != words.key_of('Lin', None, '2017', 'models')
    assert words.key_of('Nobody', None, '2017', 'losses') is None
    keys = list(words.entries())
    assert len(keys) > 100 and all(f'{{#{k}}}' in words.anchored(words.REFERENCES.read_text()) for k in keys)


def test_links_into_the_site():
    at = lambda md: docs.relinked(md, docs.NBS/'chapters'/'01_datasets.ipynb')
    assert at('[c](../core.html#encode)') == '[c](../core.ipynb#mlic.core.encode)'
    assert at('[h](#A-heading)') == '[h](#a-heading)'
    assert at('[w](https://a.org)') == '[w](https://a.org)'
    assert docs.relinked('[s](../bench/RESULTS.md)', docs.NBS/'index.ipynb') == '[s](pages/speed.md)'
    assert docs.relinked('[g](nbs/pages/glossary.md)', ROOT/'CONTRIBUTING.md') == '[g](glossary.md)'


def test_formulas_are_mathml():
    drawn = docs_sphinx.mathml
    assert drawn(r"\bar Y_i", False).count("mover") == 2 and 'display="block"' in drawn("x", True)


def test_signatures_show_the_arguments(site):
    page = (site/'losses'/'ranking.html').read_text(encoding='utf-8')
    entry = re.search(r'id="mlic.losses.ranking.LSEPLoss">(.*?)</dt>', page, re.S)[1]
    assert 'pairs' in entry and 'kwargs' not in entry


def test_names_of_other_packages():
    known = docs_sphinx.elsewhere()
    assert known['F.softplus'].endswith('torch.nn.functional.softplus.html') and 'docs.fast.ai' in known['Learner']
    assert not {'show', 'data', 'image', 'name', 'clone'} & set(known) # words of prose


def test_one_order_of_subjects():
    "The sidebar and the layers agree: a subject comes after those it imports"
    import subjects
    order = [n for names in subjects.SUBJECTS.values() for n in names]
    from_below = [n for row in reversed(subjects.layers()) for n in row]
    assert sorted(order) == sorted(from_below)
    level = {n: i for i, row in enumerate(reversed(subjects.layers())) for n in row}
    assert [level[n] for n in order] == sorted(level[n] for n in order)


def test_problems_are_found(site, tmp_path):
    assert not docs.problems(site), docs.problems(site)
    there = tmp_path/'docs'
    shutil.copytree(site, there)
    core = there/'core.html'
    bad = ('<a href="none.html"></a><a href="../x.html"></a><a href="index.html#none"></a>'
           '<img src="https://a.org/b.png" alt="b.png">')
    core.write_text(core.read_text().replace('id="mlic.core.encode"', '').replace('</article>', bad + '</article>'))
    (there/'pages'/'glossary.html').unlink()
    found = '\n'.join(docs.problems(there))
    expected = ['mlic.core.encode is not in', 'none.html leads nowhere', '../x.html leaves the site', 'no such anchor',
                'b.png from elsewhere', "'b.png' is a file name", 'glossary.html is missing']
    for words in expected:
        assert words in found, (words, found)


def test_the_site_links_to_its_own_sources(site):
    page = (site/'losses'/'ranking.html').read_text(encoding='utf-8')
    assert '_modules/mlic/losses/ranking.html#LSEPLoss' in page
    assert (site/'_modules'/'mlic'/'losses'/'ranking.html').exists()


def test_tests_are_folded_and_highlighted(site):
    page = (site/'core.html').read_text(encoding='utf-8')
    folded = re.search(r'<details class="tests">(.*?)</details>', page, re.S)[1]
    assert 'class="highlight"' in folded and 'literal_block' not in folded


def test_citations_lead_to_their_entry(site):
    page = (site/'losses'/'ranking.html').read_text(encoding='utf-8')
    assert 'references.html#li2017' in page
    assert 'id="li2017"' in (site/'pages'/'references.html').read_text(encoding='utf-8')


def test_head_of_a_page(site):
    "Favicon, description, Open Graph tags, version, changelog, the page as a notebook without outputs"
    page = (site/'pages'/'tutorial.html').read_text(encoding='utf-8')
    for words in ('rel="shortcut icon"', 'name="description" content="From a folder', 'property="og:title"',
                  'property="og:description"', f'version {docs.version()}', 'changelog.html'):
        assert words in page, words
    nb = json.loads((site/'_downloads'/'pages'/'tutorial.ipynb').read_text(encoding='utf-8'))
    assert '_downloads/pages/tutorial.ipynb' in page and len(nb['cells']) > 10
    assert not any(c.get('outputs') for c in nb['cells'])
    assert 'Download as notebook' not in (site/'api.html').read_text(encoding='utf-8')


def test_pictures_are_small_and_described(site):
    "All pictures together at most 5 MB; each has words, a caption is numbered, none is a file name"
    assert sum(p.stat().st_size for p in site.rglob('*.png')) < 5e6
    page = (site/'pages'/'tutorial.html').read_text(encoding='utf-8')
    assert page.count('<figcaption>') >= 5
    for path in site.rglob('*.html'):
        for alt in docs.Page(path.read_text(encoding='utf-8')).alts:
            assert len(alt) > 12 and not re.search(r'\.\w{3,4}$', alt), (path.name, alt)


def test_gallery():
    "Twenty recipes of at most a dozen lines, each with a picture"
    cells = json.loads((docs.PAGES/'gallery.ipynb').read_text(encoding='utf-8'))['cells']
    code = [c for c in cells if c['cell_type'] == 'code']
    assert len(code) == sum(''.join(c['source']).startswith('## ') for c in cells) == 20
    for c in code:
        assert len([n for n in ''.join(c['source']).splitlines() if n.strip()]) <= 12, ''.join(c['source'])[:60]
        assert any('image/png' in o.get('data', {}) for o in c['outputs']), ''.join(c['source'])[:60]


# ---- a browser over the DevTools pipe: no driver, no further package ----------------------------------------
class Browser:
    def __init__(self, site):
        self.site, self.home = site, tempfile.mkdtemp()
        to_r, self.w = os.pipe()
        self.r, from_w = os.pipe()
        # the browser reads commands from descriptor 3 and writes answers to 4
        cmd = (f'exec {CHROMIUM} --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking '
               f'--user-data-dir={self.home} --remote-debugging-pipe about:blank 3<&{to_r} 4>&{from_w}')
        self.proc = subprocess.Popen(['bash', '-c', cmd], pass_fds=(to_r, from_w),
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for end in (to_r, from_w):
            os.close(end)
        self.buf, self.n, self.session, self.events = b'', 0, None, []
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self.session = self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(f'{domain}.enable')

    def message(self, timeout=60):
        while b'\0' not in self.buf:
            if not select.select([self.r], [], [], timeout)[0]:
                raise TimeoutError('the browser does not answer')
            got = os.read(self.r, 1 << 20)
            if not got:
                raise EOFError('the browser has gone')
            self.buf += got
        raw, self.buf = self.buf.split(b'\0', 1)
        return json.loads(raw)

    def call(self, method, **params):
        self.n += 1
        msg = dict(id=self.n, method=method, params=params, **({'sessionId': self.session} if self.session else {}))
        os.write(self.w, json.dumps(msg).encode() + b'\0')
        while True:
            m = self.message()
            if m.get('id') == self.n:
                if 'error' in m:
                    raise RuntimeError(f"{method}: {m['error']['message']}")
                return m['result']
            self.events.append(m)

    def js(self, code):
        res = self.call('Runtime.evaluate', expression=code, returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in res, res
        return res['result'].get('value')

    def wait(self, code, seconds=60):
        end = time.time() + seconds
        while not self.js(code):
            if time.time() > end:
                return False
            time.sleep(.05)
        return True

    def width(self, px):
        self.call('Emulation.setDeviceMetricsOverride', width=px, height=900, deviceScaleFactor=1, mobile=px < 600)

    def open(self, url):
        self.js('window.left = true')
        self.events = []
        self.call('Page.navigate', url=url)
        assert self.wait("!window.left && document.readyState == 'complete'"), f'{url} does not load'

    def complaints(self):
        "Errors on the console and requests that leave the folder, since the page was opened"
        inside, res = self.site.as_uri() + '/', []
        for e in self.events:
            p = e.get('params', {})
            if e['method'] == 'Log.entryAdded' and p['entry']['level'] == 'error':
                res.append(p['entry']['text'])
            if e['method'] == 'Runtime.exceptionThrown':
                res.append(p['exceptionDetails']['text'])
            if e['method'] == 'Runtime.consoleAPICalled' and p['type'] == 'error':
                res.append(str(p['args']))
            if e['method'] == 'Network.requestWillBeSent':
                url = p['request']['url']
                if not url.startswith((inside, 'data:', 'blob:')):
                    res.append(f'request to {url}')
        return res

    def close(self):
        self.proc.terminate()
        self.proc.wait(10)
        for end in (self.w, self.r):
            os.close(end)
        shutil.rmtree(self.home, ignore_errors=True)


@pytest.fixture(scope='module')
def browser(site):
    if not CHROMIUM:
        pytest.skip('no chromium')
    b = Browser(site)
    yield b
    b.close()


CUT = '''[...document.querySelectorAll("article td")].flatMap(td => {
    const texts = document.createTreeWalker(td, NodeFilter.SHOW_TEXT), bad = []
    for (let t; t = texts.nextNode();) for (const m of t.data.matchAll(/[\\w.,]+/g)) {
        const r = document.createRange()
        r.setStart(t, m.index); r.setEnd(t, m.index + m[0].length)
        if (new Set([...r.getClientRects()].map(c => c.top)).size > 1) bad.push(m[0])
    }
    return bad}).slice(0, 5)'''
WIDE = '''[...document.querySelectorAll("article *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1 &&
    !e.closest("pre,table,.math,.cell_output")).map(e => e.outerHTML.slice(0, 80))'''
FORMULAS = '[...document.querySelectorAll("math")]'
NOT_DRAWN = r'/\|\s*[-—]+\s*\|/.test([...document.querySelectorAll("article p")].map(e => e.innerText).join("\n"))'


def test_every_page_in_a_browser(browser, site):
    "No error on the console, nothing wider than the screen of a phone, no word of a table cut, every picture there"
    b, formulas = browser, 0
    for path in sorted(p for p in site.rglob('*.html') if '_modules' not in p.parts):
        name = path.relative_to(site)
        for px in (1200, 400):
            b.width(px)
            b.open(path.as_uri())
            assert not b.complaints(), (name, b.complaints())
            assert b.js('document.documentElement.scrollWidth') <= px and not b.js(WIDE), (name, px, b.js(WIDE))
            assert not b.js(CUT), f'{name}: words of tables are cut at {px} px: {b.js(CUT)}'
        assert not b.js(NOT_DRAWN), f'{name}: a table is not drawn as one'
        assert b.js('[...document.images].every(i => i.complete && i.naturalWidth)'), f'{name}: a picture is missing'
        formulas += b.js(f'{FORMULAS}.filter(m => m.getBoundingClientRect().width > 2).length')
    assert formulas > 100, 'formulas are not drawn'


def test_findings_fit_a_phone(browser, site):
    "The home page's table shows its answers at 400 px"
    browser.width(400)
    browser.open((site/'index.html').as_uri())
    wide = 'Math.max(0, ...[...document.querySelectorAll("article table")].map(t => t.scrollWidth))'
    assert browser.js(wide) <= 400


QUERIES = { # what people type: the page that answers
    'install': 'install', 'own csv': 'own_csv', 'my own data': 'own_csv', 'csv': 'own_csv',
    'missing labels': 'partial_labels',
    'unknown labels': 'partial_labels', 'pos_weight': 'imbalanced_labels', 'class imbalance': 'imbalanced_labels',
    'rare labels': 'imbalanced_labels', 'ddp': 'several_gpus', 'multi-gpu': 'several_gpus',
    'several gpus': 'several_gpus',
    'dask': 'cluster', 'ray': 'cluster', 'onnx': 'deploy', 'export to onnx': 'deploy', 'deploy': 'deploy',
    'threshold': 'choosing_thresholds', 'threshold per label': 'choosing_thresholds', 'small objects': 'small_objects',
    'extreme multi-label': 'many_labels', 'tutorial': 'tutorial', 'changelog': 'changelog', 'references': 'references',
    'glossary': 'glossary', 'LSEP formula': 'losses/ranking', 'asymmetric': 'losses/elementwise',
    'LSEPLoss': 'losses/ranking', 'focal': 'losses/elementwise', 'group_split': 'data/splits',
    'bootstrap': 'bootstrap', 'per_label': 'metrics/tables', 'ML-kNN': 'classical', 'classifier chains': 'classical',
    'calibration': 'decisions/calibration', 'class activation map': 'interpret/maps', 'cli': 'cli',
    'command line': 'cli', 'mlic_learner': 'training/learner', 'cache_activations': 'training/caching',
    'fastai': 'fastai', 'scikit-learn': 'sklearn', 'latex table': 'paper', 'scikit-multilearn': 'migrating',
    'fp16': 'mixed_precision', 'tta': 'test_time_augmentation', 'gallery': 'gallery', 'course': 'course',
    'hugging face': 'beside_huggingface',
    'mixup': 'mixup', 'resume': 'resuming', 'which loss': 'choosing_loss', 'custom loss': 'your_own',
}


def results(b, site, query):
    "Addresses of the first results of a search"
    b.open((site/'search.html').as_uri() + f'?q={query}')
    assert b.wait('/found|matching|did not/.test(document.querySelector(".search-summary")?.innerText)', 20), query
    return b.js('[...document.querySelectorAll("#search-results li a")].slice(0, 10).map(a => a.href)')


def test_searches_lead_to_the_right_page(browser, site):
    browser.width(1200)
    rank = {}
    for query, page in QUERIES.items():
        found = results(browser, site, query)
        hits = [i for i, url in enumerate(found, 1) if re.search(rf'/{page}(/index)?\.html', url)]
        rank[query] = hits[0] if hits else None
    late = {q: r for q, r in rank.items() if r != 1}
    assert len(late) <= len(QUERIES)//10 and None not in late.values(), late


def test_search_shows_excerpts(browser, site):
    "A result has the text around the words, and no page is listed twice under one title"
    browser.width(1200)
    results(browser, site, 'missing labels')
    texts = browser.js('[...document.querySelectorAll("#search-results p.context")].map(p => p.innerText)')
    assert len(texts) > 4 and 'label' in texts[0].lower()
    assert browser.js('document.querySelectorAll("#search-results mark").length') > 3
    titles = browser.js("""[...document.querySelectorAll("#search-results li > a")].map(
        a => a.href.split("#")[0] + a.innerText)""")
    assert len(titles) == len(set(titles))


def test_slash_starts_a_search(browser, site):
    browser.width(1200)
    browser.open((site/'index.html').as_uri())
    for kind in ('keyDown', 'keyUp'):
        browser.call('Input.dispatchKeyEvent', type=kind, key='/', code='Slash', text='/' if kind == 'keyDown' else '')
    assert browser.js('document.activeElement.name') == 'q'


AUDITED = ['index', 'api', 'search', 'pages/tutorial', 'pages/gallery', 'pages/glossary', 'pages/install',
           'chapters/05_losses', 'losses/ranking', '_modules/mlic/losses/ranking']
AUDIT = """axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations.filter(
    v => ["serious", "critical"].includes(v.impact)).map(v => v.id + ": " + v.nodes[0].html.slice(0, 120)))"""


@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_accessible(browser, site, theme):
    "axe-core finds nothing serious on ten pages, on a screen and on a phone: contrast, names, headings, keyboard"
    axe = pytest.importorskip('axe_core_python', reason='pip install axe-core-python')
    code = (Path(axe.__file__).parent/'axe.min.js').read_text(encoding='utf-8')
    for page in AUDITED:
        for px in (1200, 400):
            browser.width(px)
            browser.open((site/f'{page}.html').as_uri())
            browser.js(f'document.body.dataset.theme = "{theme}"; {code}; 0')
            found = browser.js(AUDIT)
            assert not found, (page, px, found)
