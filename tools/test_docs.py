"""Tests of the docs, on a build of their own: the converter, the build, the code of the pages, and every page in a headless browser.
`python tools/test_docs.py [NAME ...]`. Nothing is written into docs/; where it is older than its sources, a note says so."""
import atexit, contextlib, filecmp, json, os, re, select, shutil, subprocess, sys, tempfile, time
from functools import lru_cache
from pathlib import Path

import docs

CHROMIUM = next(filter(None, map(shutil.which, ['chromium', 'chromium-browser', 'google-chrome'])), None)


@lru_cache
def built(seed=1):
    "Folder of a fresh build, made in a process with that hash seed"
    tmp = tempfile.mkdtemp(prefix='mlic_docs_')
    atexit.register(shutil.rmtree, tmp, ignore_errors=True)
    to = Path(tmp).resolve()/'docs'
    code = f'import docs; from pathlib import Path; print(docs.build(Path({str(to)!r})))'
    res = subprocess.run([sys.executable, '-c', code], cwd=docs.ROOT/'tools', env={**os.environ, 'PYTHONHASHSEED': str(seed)}, capture_output=True, text=True)
    assert res.returncode == 0 and res.stdout.strip().endswith('0'), res.stdout + res.stderr
    return to


# ---- the converter ------------------------------------------------------------------------------------------
def test_callouts():
    assert docs.callouts('::: {.callout-note}\na\n:::') == ':::{note}\na\n:::'
    assert docs.callouts(':::{.callout-tip title="T"}\na\n:::').startswith(':::{admonition} T\n:class: tip\n')


def test_breakable():
    assert docs.breakable('<h2>LabelSet.plot_all_maps<a') == '<h2>Label<wbr>Set.<wbr>plot_<wbr>all_<wbr>maps<a'
    assert docs.breakable('<h2>f1_score<a') == '<h2>f1_score<a' and docs.breakable('<p>a_long_name_of_something</p>').count('wbr') == 0


def test_parameter_table():
    def f(a:'int|str', # one | two
          b=1, # second
          )->list: # third
        "doc"
    table = docs.parameter_table(f)
    assert r'one \| two' in table and r'int\|str' in table and '`1`' in table and '**returns**' in table, table
    assert docs.parameter_table(lambda x: x) == ''


def test_symbols_as_in_the_source():
    for page in ('interpret', 'explore', 'caching'):
        names, source = docs.symbols()[page], (docs.ROOT/'mlic'/f'{page}.py').read_text()
        shown = [n for n in re.findall(r'<h[23]>([\w.]+)<a class="headerlink"', (built()/f'{page}.html').read_text().replace('<wbr>', '')) if n in names]
        at = [re.search(rf'(?:def|class) {n.split(".")[-1]}\b', source).start() for n in shown]
        assert len(at) > 1 and at == sorted(at), (page, shown)


def test_links():
    links = docs.Links({'core': docs.NBS/'00_core.ipynb', 'chapters/a': docs.NBS/'chapters'/'01_a.ipynb'}, docs.symbols())
    at = lambda md: links(md, docs.NBS/'chapters'/'01_a.ipynb', 'chapters/a')
    assert at(f'[`encode`]({links.base}core.html#encode)') == '[`encode`](../core.html#encode)'
    assert at(f'[`_x`]({links.base}core.html#_x)') == '`_x`'
    assert at('[c](../00_core.ipynb#encode)') == '[c](../core.html#encode)'
    assert at('[h](#A-heading) [h](../00_core.ipynb#A-heading)') == '[h](#a-heading) [h](../core.html#a-heading)'
    assert at('[s](../../settings.ini)') == '[s](../../settings.ini)'
    assert at('[w](https://a.org)') == '[w](https://a.org)'
    assert at(f'```\n[`encode`]({links.base}core.html)\n```').count(links.base) == 1


def test_problems_are_found():
    with tempfile.TemporaryDirectory() as tmp:
        there = Path(tmp)/'docs'
        shutil.copytree(built(), there)
        assert not docs.problems(there), docs.problems(there)
        core = there/'core.html'
        core.write_text(core.read_text().replace('id="encode"', '').replace('</article>',
            '<a href="none.html"></a><a href="/x.html"></a><a href="index.html#none"></a><img src="https://a.org/b.png"></article>'))
        (there/'glossary.html').unlink()
        bad = '\n'.join(docs.problems(there))
        for words in ('no anchor encode', 'none.html leads nowhere', '/x.html is not relative', '#none has no such anchor',
                      'b.png from elsewhere', 'glossary.html is missing'): assert words in bad, (words, bad)


def test_lookup():
    names = docs.Lookup()
    for sym, page in {'encode': 'core.html#encode', 'Learner': 'docs.fast.ai/learner.html', 'F.softplus': 'torch.nn.functional.softplus.html',
                      'average_precision_score': 'sklearn.metrics.average_precision_score.html', 'DataFrame': 'pandas.DataFrame.html'}.items():
        assert page in (names.doc(sym) or ''), (sym, names.doc(sym))
    assert not [w for w in ('show', 'data', 'L', 'image', 'name', 'clone') if names.doc(w)] # words of prose
    assert names.linkify('`Learner`').startswith('[`Learner`](https://docs.fast.ai') and names.linkify('```\n`Learner`\n```') == '```\n`Learner`\n```'
    assert names.linkify('[`Learner`](x.md) and `Learner`').startswith('[`Learner`](x.md) and [`Learner`](https')


def test_findings():
    "The page of results has every chapter, with what its last cells print"
    text = docs.findings()
    for path in (docs.NBS/'chapters').glob('[0-9]*.ipynb'):
        assert path.name in text, path.name
        last = [''.join(o['text']) for c in json.loads(path.read_text())['cells'] for o in c.get('outputs', []) if o.get('name') == 'stdout']
        on = 'What the run supports' in path.read_text()
        assert not on or not last or docs._plain(last[-1].strip().split('\n')[-1].strip()) in text, path.name


def differing(a, b):
    "Names of the files that are not the same in two folders"
    files = lambda d: {str(p.relative_to(d)) for p in d.rglob('*') if p.is_file()}
    return sorted({f for f in files(a) & files(b) if not filecmp.cmp(a/f, b/f, shallow=False)} | files(a) ^ files(b))


def test_build_makes_no_diff():
    "A build gives the committed files; where the sources have changed since, two builds with different hash seeds give the same"
    if not (stale := differing(built(), docs.DOCS)): return
    assert not differing(built(), built(2)), differing(built(), built(2))
    print(f'note: docs/ is older than its sources in {len(stale)} files ({", ".join(stale[:3])}{", ..." if len(stale) > 3 else ""}); run `make docs`')


def test_pages_run():
    "The code of the tutorial and of the how-to pages, each in an empty folder; in one process, since a kernel for each takes longer than their code"
    from execnb.nbio import read_nb
    from execnb.shell import CaptureShell
    with tempfile.TemporaryDirectory() as tmp:
        os.environ['MLIC_CACHE'] = f'{tmp}/cache'
        for path in docs.pages_run():
            (Path(tmp)/path.stem).mkdir()
            with contextlib.chdir(Path(tmp)/path.stem):
                try: CaptureShell(path='.').run_all(read_nb(path), exc_stop=True)
                except Exception as e: raise AssertionError(f'{path.name}: {type(e).__name__}: {e}') from e


def test_code_not_run_says_why():
    "Python that a page shows as text, where no test runs it, comes after a line that says why"
    for path in docs.pages_run() + sorted(docs.PAGES.glob('*.md')):
        parts = [''.join(c['source']) for c in json.loads(path.read_text())['cells'] if c['cell_type'] == 'markdown'] if path.suffix == '.ipynb' else [path.read_text()]
        for md in parts:
            for m in re.finditer(r'^```python$', md, re.M):
                assert md[:m.start()].rstrip().rsplit('\n', 1)[-1].startswith('*Not run here'), f'{path.name}: a block of code that is not run, without a reason'


# ---- a browser over the DevTools pipe: no driver, no further package ----------------------------------------
class Browser:
    def __init__(self):
        self.home = tempfile.mkdtemp()
        to_r, self.w = os.pipe()
        self.r, from_w = os.pipe()
        # the browser reads commands from descriptor 3 and writes answers to 4
        cmd = f'exec {CHROMIUM} --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking ' \
              f'--user-data-dir={self.home} --remote-debugging-pipe about:blank 3<&{to_r} 4>&{from_w}'
        self.proc = subprocess.Popen(['bash', '-c', cmd], pass_fds=(to_r, from_w), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_r); os.close(from_w)
        self.buf, self.n, self.session, self.events = b'', 0, None, []
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self.session = self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'): self.call(f'{domain}.enable')

    def _message(self, timeout=60):
        while b'\0' not in self.buf:
            if not select.select([self.r], [], [], timeout)[0]: raise TimeoutError('the browser does not answer')
            got = os.read(self.r, 1 << 20)
            if not got: raise EOFError('the browser has gone')
            self.buf += got
        raw, self.buf = self.buf.split(b'\0', 1)
        return json.loads(raw)

    def call(self, method, **params):
        self.n += 1
        msg = dict(id=self.n, method=method, params=params, **({'sessionId': self.session} if self.session else {}))
        os.write(self.w, json.dumps(msg).encode() + b'\0')
        while True:
            m = self._message()
            if m.get('id') == self.n:
                if 'error' in m: raise RuntimeError(f"{method}: {m['error']['message']}")
                return m['result']
            self.events.append(m)

    def js(self, code):
        res = self.call('Runtime.evaluate', expression=code, returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in res, res
        return res['result'].get('value')

    def wait(self, code, seconds=60):
        end = time.time() + seconds
        while not self.js(code):
            if time.time() > end: return False
            time.sleep(.05)
        return True

    def width(self, px): self.call('Emulation.setDeviceMetricsOverride', width=px, height=900, deviceScaleFactor=1, mobile=px < 600)

    def open(self, url):
        self.js('window.left = true')
        self.events = []
        self.call('Page.navigate', url=url)
        assert self.wait("!window.left && document.readyState == 'complete'"), f'{url} does not load'
        self.wait("!window.MathJax || !!(MathJax.startup && MathJax.startup.promise)")
        self.js('window.MathJax ? MathJax.startup.promise.then(() => true) : true')

    def complaints(self):
        "Errors on the console and requests that leave the folder, since the page was opened"
        inside, res = built().as_uri() + '/', []
        for e in self.events:
            p = e.get('params', {})
            if e['method'] == 'Log.entryAdded' and p['entry']['level'] == 'error': res.append(p['entry']['text'])
            if e['method'] == 'Runtime.exceptionThrown': res.append(p['exceptionDetails']['text'])
            if e['method'] == 'Runtime.consoleAPICalled' and p['type'] == 'error': res.append(str(p['args']))
            if e['method'] == 'Network.requestWillBeSent' and not p['request']['url'].startswith((inside, 'data:', 'blob:')):
                res.append('request to ' + p['request']['url'])
        return res

    def close(self):
        self.proc.terminate()
        self.proc.wait(10)
        os.close(self.w); os.close(self.r)
        shutil.rmtree(self.home, ignore_errors=True)


CUT = '''[...document.querySelectorAll("article td")].flatMap(td => {
    const texts = document.createTreeWalker(td, NodeFilter.SHOW_TEXT), bad = []
    for (let t; t = texts.nextNode();) for (const m of t.data.matchAll(/[\\w.,]+/g)) {
        const r = document.createRange()
        r.setStart(t, m.index); r.setEnd(t, m.index + m[0].length)
        if (new Set([...r.getClientRects()].map(c => c.top)).size > 1) bad.push(m[0])
    }
    return bad}).slice(0, 5)'''


def browser_every_page(b):
    math = 0
    for path in sorted(built().rglob('*.html')):
        name = path.relative_to(built())
        for px in (1200, 400):
            b.width(px)
            b.open(path.as_uri())
            assert not b.complaints(), (name, b.complaints())
            wide = b.js('[...document.querySelectorAll("article *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && '
                        '!e.closest("pre,table,mjx-container,.cell_output")).map(e => e.outerHTML.slice(0, 80))')
            assert b.js('document.documentElement.scrollWidth') <= px and not wide, (name, px, wide)
            assert not (cut := b.js(CUT)), f'{name}: words of tables are cut at {px} px: {cut}'
        assert not b.js('/\\|\\s*[-—]+\\s*\\|/.test([...document.querySelectorAll("article p")].map(e => e.innerText).join("\\n"))'), f'{name}: a table is not drawn as one'
        n = b.js('document.querySelectorAll("article .math").length')
        drawn = b.js('document.querySelectorAll("article .math mjx-container svg").length')
        assert drawn >= n and not b.js('document.querySelectorAll("[data-mml-node=merror]").length'), f'{name}: {drawn} of {n} formulas drawn'
        assert b.js('typeof MathJax') == ('object' if n else 'undefined'), f'{name}: MathJax where there is no math, or the reverse'
        assert b.js('[...document.images].every(i => i.complete && i.naturalWidth)'), f'{name}: a picture is missing'
        math += n
    assert math, 'no page has a formula: nothing was tested'


def first_hit(b, query):
    "Address of the first result of a search"
    b.open((built()/'search.html').as_uri() + f'?q={query}')
    assert b.wait('document.querySelectorAll("#search-results li a").length'), f'search for {query} finds nothing'
    assert not b.complaints(), b.complaints()
    b.wait('/found|matching/.test(document.querySelector(".search-summary")?.innerText)')
    return b.js('document.querySelector("#search-results li a").href')


def browser_search(b):
    syms = docs.symbols()
    name, mod = ('LSEPLoss', 'losses') if (built()/'losses.html').exists() else ('label_stats', 'stats')
    b.width(1200)
    first = first_hit(b, name)
    anchor = docs.heading_id(name)
    assert re.search(rf'/{mod}\.html(\?[^#]*)?#{re.escape(anchor)}$', first), f'search for {name} leads to {first}'
    b.open(first)
    assert b.js('document.querySelector(":target") && document.querySelector(":target").innerText.includes("%s")' % name), first
    assert syms[mod][name] in b.js('[...document.querySelectorAll("[id]")].map(e => e.id)')
    assert '/interpret.html#' in first_hit(b, 'plot_curve') # a method, whose heading is more than twice as long


if __name__ == '__main__':
    tests = [(n, f) for n, f in list(globals().items()) if n.startswith(('test_', 'browser_')) and (n in sys.argv or not sys.argv[1:])]
    browser = Browser() if CHROMIUM and any(n.startswith('browser_') for n, _ in tests) else None
    passed = skipped = failed = 0
    for name, test in tests:
        if name.startswith('browser_') and not browser: skipped += 1; continue
        try: test(browser) if name.startswith('browser_') else test()
        except Exception as e: failed += 1; print(f'FAILED {name}: {type(e).__name__}: {e}')
        else: passed += 1
    if browser: browser.close()
    shown = sum(''.join(c['source']).count('*Not run here') for p in docs.pages_run() for c in json.loads(p.read_text())['cells'])
    print(f'{shown} blocks of code on the pages say why they are not run')
    print(f'{passed} passed, {failed} failed, {skipped} skipped' + (' (no chromium)' if skipped else ''))
    sys.exit(bool(failed))
