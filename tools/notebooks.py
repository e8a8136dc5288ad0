"""What the commands of the Makefile do: `python tools/notebooks.py test|chapters|book|readme|clean|sync`"""
import argparse, filecmp, json, os, re, shutil, subprocess, sys, tempfile, threading, time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS, CHAPTERS, RESULTS = ROOT/'nbs', ROOT/'nbs'/'chapters', ROOT/'results'
FLAGS = ['slow', 'cuda']
TIMES = ROOT/'.venv'/'test_times.json' # seconds of each test the last time: the longest starts first
# seconds of each chapter on one core, from which the time left is estimated before a run has measured its own
SECONDS = {'01': 15, '02': 150, '03': 350, '04': 800, '05': 700, '06': 300, '07': 70, '08': 600, '09': 200, '10': 250}
FIRST = ('05', '03') # they share no backbone and no activations; others read what 05 computes
# in workers of a kernel, whose stderr is the console
QUIET = 'ignore::FutureWarning:torch.jit._script,ignore::UserWarning:mlic.models.backbones'
# not needed to use the library
NOT_NEEDED = '''nbdev execnb ghapi torchmetrics pytest ruff importlinter dask distributed ray accelerate
    onnx onnxscript onnxruntime gradio'''.split()


def library():
    "The notebooks that become modules, and index.ipynb"
    return sorted(p for p in NBS.rglob('*.ipynb')
                  if not {'chapters', 'pages', '.ipynb_checkpoints'} & set(p.relative_to(NBS).parts))


def chapters(folder=CHAPTERS): return sorted(folder.glob('[0-9]*.ipynb'))
def pages(): return sorted((NBS/'pages').glob('*.ipynb'))
def cells(path): return json.loads(path.read_text(encoding='utf-8'))['cells']


def skipped(cell):
    "Is it marked slow or cuda, so that neither tests nor chapters run it"
    return bool(re.search(rf"^#\|\s*({'|'.join(FLAGS)})\b", ''.join(cell['source']), re.M))


def exercise(cell):
    "Is it a cell to start an exercise from, which only a reader runs"
    return bool(re.search(r'^#\|\s*eval:\s*false', ''.join(cell['source']), re.M))


# ---- executing a notebook -----------------------------------------------------------------------------------
def execute(path, env, progress=lambda i, n: None, save=False):
    "Run a notebook, without cells marked slow or cuda, in a kernel of its own; `save`: keep the outputs, cleaned"
    import nbformat
    from nbclient import NotebookClient
    nb = nbformat.read(path, 4)
    client = NotebookClient(nb, timeout=None, kernel_name='python3', resources={'metadata': {'path': str(path.parent)}},
                            extra_arguments=['--IPKernelApp.log_level=ERROR']) # it warns of its TCP ports
    with client.setup_kernel(env={**os.environ, 'PYTHONWARNINGS': QUIET, **env}):
        for i, cell in enumerate(nb.cells):
            if not skipped(cell) and not exercise(cell):
                client.execute_cell(cell, i)
            progress(i + 1, len(nb.cells))
    if save:
        for cell in nb.cells:
            if cell.cell_type == 'code':
                cell.outputs = [o for o in map(without_epochs, cell.outputs) if not passing(o)]
        nbformat.write(nb, path)
        clean(path)


# what fastai prints of an epoch, without the names of the columns
EPOCH = re.compile(r'^\d+( +-?[\d.]+| +nan)+ +\d\d:\d\d\n+', re.M)


def without_epochs(output):
    "A stream without the rows of training; a notebook shows the history where it matters"
    if output.get('name') == 'stdout':
        output['text'] = EPOCH.sub('', ''.join(output['text']))
    return output


def passing(output):
    "Is it a warning, a progress bar or nothing"
    text = output.get('data', {}).get('text/plain', '')
    empty = output.get('name') == 'stdout' and not output['text'].strip()
    return empty or output.get('name') == 'stderr' or text.startswith(('<IPython.core.display.HTML object>', '<div>'))


def clean(path):
    from execnb.nbio import read_nb, write_nb
    from nbdev.clean import clean_nb
    nb = read_nb(path)
    clean_nb(nb)
    write_nb(nb, path)


# ---- the chapters -------------------------------------------------------------------------------------------
class Told:
    "How far the chapters are: a line that is rewritten on a terminal, a line per change elsewhere"
    def __init__(self, expected):
        self.expected, self.running, self.times, self.start = expected, {}, {}, time.time()
        self.lock, self.over = threading.Lock(), threading.Event()
        if sys.stdout.isatty():
            threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while not self.over.wait(2):
            self.line()

    def line(self, end=''):
        since = time.time() - self.start
        now = list(self.running.items())
        done = sum(self.expected[name] for name in self.times)
        done += sum(min(time.time() - t0, .95*self.expected[name]) for name, (t0, _, _) in now)
        left = f'about {since*(sum(self.expected.values())/done - 1):4.0f} s left' if since > 60 else ''
        cells = ', '.join(f'{Path(name).stem} {i}/{n}' for name, (_, i, n) in sorted(now))
        text = f'{len(self.times):>2} of {len(self.expected)} chapters   {cells:50} {since:5.0f} s   {left:18}'
        with self.lock:
            print(f'\r{text}' if sys.stdout.isatty() else text.rstrip(), end=end, flush=True)

    def begins(self, name, n):
        self.running[name] = time.time(), 0, n
        if not sys.stdout.isatty():
            self.line('\n')

    def cell(self, name, i, n): self.running[name] = self.running[name][0], i, n

    def ends(self, name, ok):
        t0 = self.running.pop(name)[0]
        if ok:
            self.times[name] = time.time() - t0
        self.line('\n')


def run_chapters(profile, fresh=False):
    "Every chapter top to bottom in a copy below results/book/, a page of HTML each; the clone stays as it is"
    if fresh:
        shutil.rmtree(RESULTS, ignore_errors=True)
    book = RESULTS/'book'/profile
    for part in ('chapters', 'images'):
        shutil.copytree(NBS/part, book/part, dirs_exist_ok=True)
    times_file = RESULTS/f'chapter_times_{profile}.json'
    expected = {p.name: SECONDS.get(p.name[:2], 100) for p in chapters()}
    if times_file.exists():
        expected |= {k: v for k, v in json.loads(times_file.read_text()).items() if k in expected}
    *todo, last = chapters(book/'chapters') # the last one puts the others' answers together
    todo.sort(key=lambda p: (p.name[:2] not in FIRST, -expected[p.name]))
    cores = os.cpu_count() or 1
    at_once = 1 if profile == 'full' else min(cores, 2) # a GPU works for one
    env = {'MLIC_PROFILE': profile, 'MLIC_STORE': str(RESULTS)}
    part = str(cores//at_once)
    if at_once > 1:
        env_each = {**env, 'MLIC_JOBS': part, 'OMP_NUM_THREADS': part}
    else:
        env_each = env
    told, failed = Told(expected), []

    def one(path, env):
        told.begins(path.name, len(cells(path)))
        try:
            execute(path, env, lambda i, n: told.cell(path.name, i, n), save=True)
            html(path)
        except Exception as e:
            failed.append(path.name)
            print(f'\n{path.name} failed:\n{e}', flush=True)
        told.ends(path.name, path.name not in failed)
        times_file.write_text(json.dumps({**expected, **told.times}, indent=1))

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda p: one(p, env_each), todo))
    if not failed:
        one(last, env)
    told.over.set()
    if failed:
        return 1
    for f in sorted((RESULTS/'findings').glob('*.json')):
        found = json.loads(f.read_text(encoding='utf-8'))
        found = found.get('content', found)
        print(f"\n{found['chapter']:24} {found['question']}\n{'':24} {found['finding']}")
    where = (book/'chapters').relative_to(ROOT)
    print(f'\n{len(expected)} chapters in {time.time()-told.start:.0f} s; '
          f'read them in {where}/ (.html or .ipynb), the results are in results/')
    return 0


def html(path):
    "The notebook as one page, pictures included, beside it"
    from nbconvert import HTMLExporter
    text, _ = HTMLExporter(embed_images=True).from_filename(str(path))
    path.with_suffix('.html').write_text(text, encoding='utf-8')


def book():
    "What `make chapters` made at the profile default becomes the committed chapters"
    made = RESULTS/'book'/'default'
    done = {p.name for p in (made/'chapters').glob('*.html')}
    missing = [p.stem for p in chapters() if p.with_suffix('.html').name not in done]
    if missing:
        sys.exit(f"{', '.join(missing)}: not run at the profile default; run `make chapters` first")
    for p in [*chapters(made/'chapters'), made/'chapters'/'findings.json']:
        shutil.copy(p, CHAPTERS/p.name)
    for p in (made/'images').glob('*.png'):
        shutil.copy(p, NBS/'images'/p.name)


# ---- README -------------------------------------------------------------------------------------------------
def readme():
    """nbs/index.ipynb as Markdown: prose, the code that is not hidden and its text output; of a cell with
    `#| echo: false` the Markdown that it gives"""
    out = []
    for c in cells(NBS/'index.ipynb'):
        src = ''.join(c['source'])
        if c['cell_type'] == 'markdown':
            out.append(src)
        if c['cell_type'] != 'code' or re.search(r'^#\|\s*hide', src, re.M):
            continue
        if re.search(r'^#\|\s*echo:\s*false', src, re.M):
            given = [o['data'] for o in c['outputs'] if 'text/markdown' in o.get('data', {})]
            out += [''.join(d['text/markdown']) for d in given]
            continue
        out.append('```python\n' + re.sub(r'^#\|.*\n', '', src, flags=re.M).strip() + '\n```')
        for o in c['outputs']: # what is printed or is a cell's value
            text = o.get('text') if o['output_type'] == 'stream' else None
            if o['output_type'] == 'execute_result':
                text = o.get('data', {}).get('text/plain')
            if text:
                out.append('\n'.join('    ' + l for l in ''.join(text).rstrip().split('\n')))
    def from_root(m): return f"]({m[1] if re.match(r'[a-z]+:|#', m[1]) else os.path.normpath(f'nbs/{m[1]}')})"
    return re.sub(r'\]\(([^)\s]+)\)', from_root, '\n\n'.join(out)) + '\n'


# ---- checks -------------------------------------------------------------------------------------------------
def modules(folder):
    "Paths of the modules below `folder`, relative to it"
    return {p.relative_to(folder).as_posix() for p in folder.rglob('*.py')}


def check_sync():
    "mlic/ and README.md are what the notebooks export: deleted, exported anew in a copy, compared"
    ignore = shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints')
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        for d in ('nbs', 'mlic'):
            shutil.copytree(ROOT/d, tmp/d, ignore=ignore)
        shutil.copy(ROOT/'settings.ini', tmp)
        for f in modules(tmp/'mlic') - {'__init__.py'}:
            (tmp/'mlic'/f).unlink()
        env = {k: v for k, v in os.environ.items() if k != 'IN_TEST'}
        export = 'from nbdev.doclinks import nbdev_export; nbdev_export()'
        subprocess.run([sys.executable, '-c', export], cwd=tmp, check=True, env=env)
        names = modules(ROOT/'mlic') | modules(tmp/'mlic')
        _, differ, missing = filecmp.cmpfiles(ROOT/'mlic', tmp/'mlic', names, shallow=False)
    wrong = ', '.join(sorted(differ + missing))
    assert not wrong, f'mlic/ is not what nbs/ exports: {wrong}; run `make export` and commit both'
    same = (ROOT/'README.md').read_text(encoding='utf-8') == readme()
    assert same, 'README.md is not what nbs/index.ipynb gives; run `make export`'


def check_clean():
    "Committed notebooks are clean, carry cell ids, and name no path of the machine they ran on"
    for path in library() + chapters() + pages():
        name = path.relative_to(ROOT)
        with tempfile.TemporaryDirectory() as tmp:
            copy = Path(tmp)/path.name
            shutil.copy(path, copy)
            clean(copy)
            assert copy.read_bytes() == path.read_bytes(), f'{name} is not clean; run `make clean-nbs`'
        ids = [c.get('id') for c in cells(path)]
        assert all(ids) and len(set(ids)) == len(ids), f'{name}: cells without an id of their own'
        found = re.search(r'(/home/|/root/|/Users/|/tmp/|[A-Z]:\\\\Users)[^"\s]*', path.read_text(encoding='utf-8'))
        assert not found, f'{name} names a path of one machine: {found[0]}'


def check_wheel():
    "The wheel, built from the source archive, imports and gives its command without nbdev and what is optional"
    with tempfile.TemporaryDirectory() as tmp:
        site = f'{tmp}/site'
        def run(*command, cwd=tmp): subprocess.run([sys.executable, *command], check=True, cwd=cwd, capture_output=True)
        run('setup.py', '-q', 'sdist', '-d', tmp, cwd=ROOT)
        archive, = Path(tmp).glob('*.tar.gz')
        run('-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', tmp, str(archive))
        wheel, = Path(tmp).glob('*.whl')
        run('-m', 'pip', 'install', '-q', '--no-deps', '--target', site, str(wheel))
        packed = modules(Path(site)/'mlic')
        assert packed == modules(ROOT/'mlic'), f"the wheel lacks {modules(ROOT/'mlic') - packed}"
        names = [('mlic/' + f).removesuffix('.py').removesuffix('/__init__').replace('/', '.') for f in sorted(packed)]
        names.remove('mlic._modidx') # nbdev's
        lines = [f"import importlib, runpy, sys; sys.path.insert(0, {site!r})",
                 f"sys.modules.update(dict.fromkeys({NOT_NEEDED}))",
                 f"for m in {names}: importlib.import_module(m)",
                 f"assert sys.modules['mlic'].__file__.startswith({tmp!r})",
                 "sys.argv = ['mlic', 'synth', 'planet', 'tiles', '--n', '20', '--size', '32', '--json']",
                 f"runpy.run_path({site + '/bin/mlic'!r}, run_name='__main__')"]
        res = subprocess.run([sys.executable, '-c', '\n'.join(lines)], cwd=tmp, capture_output=True, text=True)
        assert res.returncode == 0, res.stdout + res.stderr
        assert json.loads(res.stdout)['n'] == 20, res.stdout
    shutil.rmtree(ROOT/'build', ignore_errors=True)


# ---- make test ----------------------------------------------------------------------------------------------
def test_library(path, tmp):
    code = ("import sys; from pathlib import Path; from nbdev.test import test_nb\n"
            f"sys.exit(not test_nb(Path({str(path)!r}), skip_flags={FLAGS}, basepath={str(ROOT)!r})[0])")
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'MPLBACKEND': 'agg', 'MLIC_PROFILE': 'quick', 'MLIC_STORE': tmp}
    res = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=env, cwd=NBS)
    assert res.returncode == 0, res.stdout[-2000:] + res.stderr[-6000:]


def test_chapter(path, tmp):
    # one process each, since several chapters run at once; what two of them need is computed once
    env = {'MLIC_PROFILE': 'quick', 'MLIC_STORE': f'{tmp}/results', 'MLIC_JOBS': '1', 'OMP_NUM_THREADS': '1'}
    execute(path, env)


def test_file(path, tmp, counts):
    "A file of tests/, by pytest; adds its (passed, failed, skipped) to `counts`"
    report = Path(tmp)/f'{path.stem}.xml'
    command = [sys.executable, '-m', 'pytest', '-q', '--tb=short', f'--junitxml={report}', path]
    command += ['-p', 'no:cacheprovider']
    res = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert report.exists(), res.stdout[-2000:] + res.stderr[-2000:]
    suite = ET.parse(report).getroot().find('testsuite')
    n, failures, errors, skips = (int(suite.get(k)) for k in ('tests', 'failures', 'errors', 'skipped'))
    bad = failures + errors
    counts.append((n - bad - skips, bad, skips))
    if bad or res.returncode not in (0, 5):
        raise AssertionError(res.stdout[-6000:] + res.stderr[-2000:])


def test():
    "Everything that `make test` promises; returns the exit status"
    tmp, counts = tempfile.mkdtemp(prefix='mlic_test_'), []
    files = {f'{p.relative_to(ROOT)}': p for p in sorted((ROOT/'tests').glob('test_*.py'))}
    jobs = [(name, lambda p=p: test_file(p, tmp, counts)) for name, p in files.items()]
    jobs.sort(key=lambda job: not re.search('docs|pages', job[0])) # the longest
    jobs += [(f'{p.relative_to(ROOT)} (quick)', lambda p=p: test_chapter(p, tmp)) for p in chapters()]
    jobs += [(f'{p.relative_to(ROOT)}', lambda p=p: test_library(p, tmp)) for p in library()]
    jobs += [(re.split('[:;]', f.__doc__)[0], f) for f in (check_sync, check_clean, check_wheel)]
    times = json.loads(TIMES.read_text()) if TIMES.exists() else {}
    jobs.sort(key=lambda job: -times.get(job[0], 3600)) # a new one first
    failed = []
    def one(job):
        name, f = job
        t0 = time.time()
        try:
            f()
        except (Exception, SystemExit) as e:
            text = re.sub(r'\x1b\[[0-9;]*m', '', str(e)).rstrip()
            failed.append((name, text[-300:]))
            print(f'FAIL {name}\n{text}', flush=True)
        else:
            times[name] = time.time() - t0
            print(f'ok   {name}  {times[name]:.1f} s', flush=True)
    start = time.time()
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 4)) as pool:
        list(pool.map(one, jobs))
    TIMES.write_text(json.dumps(times, indent=1))
    shutil.rmtree(tmp, ignore_errors=True)
    marked = sum(skipped(c) for p in library() + chapters() for c in cells(p))
    passed, bad, skips = (sum(c) for c in zip((0, 0, 0), *counts))
    others = [name for name, _ in failed if name not in files] # a file counts by its tests
    broken = [name for name, _ in failed if name in files]
    for name, end in failed:
        print(f'failed: {name}: ...{end}')
    print(f'{time.time() - start:.0f} s; a notebook counts as one test; not run: '
          f'{marked} cells of notebooks and {skips} tests marked {" or ".join(FLAGS)}')
    passed += len(jobs) - len(files) - len(others)
    print(f'{passed} passed, {max(bad, len(broken)) + len(others)} failed, {marked + skips} skipped')
    return int(bool(failed))


if __name__ == '__main__':
    profile = os.environ.get('MLIC_PROFILE', 'default')
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('what', choices=['test', 'chapters', 'book', 'readme', 'clean', 'sync'])
    parser.add_argument('--profile', default=profile, choices=['quick', 'default', 'full'])
    parser.add_argument('--fresh', action='store_true', help='forget the stored results first')
    args = parser.parse_args()
    if args.what == 'test':
        sys.exit(test())
    if args.what == 'chapters':
        sys.exit(run_chapters(args.profile, args.fresh))
    if args.what == 'book':
        book()
    if args.what == 'readme':
        (ROOT/'README.md').write_text(readme(), encoding='utf-8')
    if args.what == 'clean':
        for p in library() + chapters() + pages():
            clean(p)
    if args.what == 'sync':
        check_sync()
        check_clean()
