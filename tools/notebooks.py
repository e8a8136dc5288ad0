"""What the two commands do. `python tools/notebooks.py test|chapters|readme|sync` (see CONTRIBUTING.md)."""
import argparse, filecmp, json, os, re, shutil, subprocess, sys, tempfile, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS, CHAPTERS, RESULTS = ROOT/'nbs', ROOT/'nbs'/'chapters', ROOT/'results'
FLAGS = ['slow', 'cuda']
TIMES = ROOT/'.venv'/'test_times.json' # seconds of each test the last time, so that the longest can start first
SECONDS = {'01': 15, '02': 180, '03': 360, '04': 800, '05': 110, '06': 350, '07': 40, '08': 590, '09': 140, '10': 50} # of the chapters, on a core each: the longest start first, and time left is told by it before there is a run to tell by
QUIET = 'ignore::FutureWarning:torch.jit._script,ignore::UserWarning:mlic.backbones' # in workers of a kernel, whose stderr is the console: torch's word to those who call torch.jit.script, as fastai does; that first layers are adapted, which the chapter says
NOT_NEEDED = 'nbdev execnb ghapi torchmetrics dask distributed ray accelerate onnx onnxscript onnxruntime gradio'.split() # to use the library


def library(): return sorted(NBS.glob('*.ipynb'))
def chapters(): return sorted(CHAPTERS.glob('[0-9]*.ipynb'))
def pages(): return sorted((NBS/'pages').glob('*.ipynb'))
def cells(path): return json.loads(path.read_text(encoding='utf-8'))['cells']
def left_out(cell): return bool(re.search(rf"^#\|\s*({'|'.join(FLAGS)})\b", ''.join(cell['source']), re.M)) # neither tests nor chapters run it


# ---- executing a chapter ------------------------------------------------------------------------------------
def execute(path, env, progress=lambda i, n: None, save=False):
    "Run a notebook, without cells marked slow or cuda, in a kernel of its own; raises where a cell does. `save`: leave the outputs in the file, cleaned"
    import nbformat
    from nbclient import NotebookClient
    nb = nbformat.read(path, 4)
    client = NotebookClient(nb, timeout=None, kernel_name='python3', resources={'metadata': {'path': str(path.parent)}},
                            extra_arguments=['--IPKernelApp.log_level=ERROR']) # it warns of its TCP ports, between the lines of progress
    with client.setup_kernel(env={**os.environ, 'PYTHONWARNINGS': QUIET, **env}):
        for i, cell in enumerate(nb.cells):
            if not left_out(cell): client.execute_cell(cell, i)
            progress(i + 1, len(nb.cells))
    if save:
        for cell in nb.cells:
            if cell.cell_type == 'code': cell.outputs = [o for o in cell.outputs if o.get('name') != 'stderr' and not o.get('data', {}).get('text/plain', '').startswith(('<IPython.core.display.HTML object>', '<div>'))] # neither warnings nor progress bars
        nbformat.write(nb, path)
        clean(path)


def clean(path):
    from execnb.nbio import read_nb, write_nb
    from nbdev.clean import clean_nb
    nb = read_nb(path)
    clean_nb(nb)
    write_nb(nb, path)


def run_chapters(profile, fresh=False):
    "Every chapter top to bottom, with progress; the executed notebooks stay in place, results go to results/"
    if fresh: shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir(exist_ok=True)
    times_file = RESULTS/f'chapter_times_{profile}.json'
    before = {p.name: SECONDS.get(p.name[:2], 100) for p in chapters()} | (json.loads(times_file.read_text()) if times_file.exists() else {})
    *todo, last = chapters() # the last one puts the others' answers together
    todo.sort(key=lambda p: -before[p.name])
    cores = os.cpu_count() or 1
    at_once = 1 if profile == 'full' else min(cores, 2) # of which each has its share of the cores; a GPU works for one
    env = {'MLIC_PROFILE': profile, 'MLIC_STORE': str(RESULTS)}
    share = {'MLIC_JOBS': str(cores//at_once), 'OMP_NUM_THREADS': str(cores//at_once)} if at_once > 1 else {}
    running, times, failed, start, over = {}, {}, [], time.time(), threading.Event()
    def say(end=''):
        since = time.time() - start
        done = sum(before[name] for name in times) + sum(min(time.time() - t0, .95*before[name]) for name,(t0,_,_) in list(running.items()))
        left = f'about {since*(sum(before.values())/done - 1):4.0f} s left' if since > 60 else ''
        now = ', '.join(f'{name.split(".")[0]} {i}/{n}' for name,(_,i,n) in sorted(running.items()))
        print(f'\r{len(times):>2} of {len(before)} chapters   {now:50} {since:5.0f} s   {left:18}', end=end, flush=True)
    def one(path, share={}):
        t0, n = time.time(), len(cells(path))
        running[path.name] = t0, 0, n
        def progress(i, n): running[path.name] = t0, i, n
        try: execute(path, {**env, **share}, progress, save=True)
        except Exception as e: failed.append(path.name); print(f'\n{path.name} failed:\n{e}', flush=True)
        else:
            times[path.name] = time.time() - t0
            times_file.write_text(json.dumps({**before, **times}, indent=1))
        del running[path.name]
        say('\n')
    def tell():
        while not over.wait(2): say()
    threading.Thread(target=tell, daemon=True).start()
    with ThreadPoolExecutor(at_once) as pool: list(pool.map(lambda p: one(p, share), todo))
    if not failed: one(last)
    over.set()
    if failed: return 1
    print()
    for f in sorted((RESULTS/'findings').glob('*.json')):
        found = json.loads(f.read_text(encoding='utf-8'))
        print(f"{found['chapter']:24} {found['question']}\n{'':24} {found['finding']}")
    print(f'\n{len(before)} chapters in {time.time()-start:.0f} s; read them in nbs/chapters/, the results are in results/')
    return 0


# ---- README -------------------------------------------------------------------------------------------------
def readme():
    "nbs/index.ipynb as Markdown: prose, the code that is not hidden and its text output; of a cell with `#| echo: false` the Markdown it gives"
    out = []
    for c in cells(NBS/'index.ipynb'):
        src = ''.join(c['source'])
        if c['cell_type'] == 'markdown': out.append(src)
        if c['cell_type'] != 'code' or re.search(r'^#\|\s*hide', src, re.M): continue
        if re.search(r'^#\|\s*echo:\s*false', src, re.M): # its Markdown alone
            out += [''.join(o['data']['text/markdown']) for o in c['outputs'] if 'text/markdown' in o.get('data', {})]
            continue
        out.append('```python\n' + re.sub(r'^#\|.*\n', '', src, flags=re.M).strip() + '\n```')
        for o in c['outputs']: # what is printed or is a cell's value; not progress bars
            text = o.get('text') if o['output_type'] == 'stream' else o.get('data', {}).get('text/plain') if o['output_type'] == 'execute_result' else None
            if text: out.append('\n'.join('    ' + l for l in ''.join(text).rstrip().split('\n')))
    from_root = lambda m: f'](' + (m[1] if re.match(r'\w+:|#', m[1]) else os.path.normpath(f'nbs/{m[1]}')) + ')'
    return re.sub(r'\]\(([^)\s]+)\)', from_root, '\n\n'.join(out)) + '\n'


# ---- checks -------------------------------------------------------------------------------------------------
def check_sync():
    "mlic/ and README.md are what the notebooks export: deleted, exported anew in a copy, compared"
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        for d in ('nbs', 'mlic'): shutil.copytree(ROOT/d, tmp/d, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
        shutil.copy(ROOT/'settings.ini', tmp)
        for f in (tmp/'mlic').glob('*.py'):
            if f.name != '__init__.py': f.unlink()
        subprocess.run([sys.executable, '-c', 'from nbdev.doclinks import nbdev_export; nbdev_export()'], cwd=tmp, check=True,
                       env={k: v for k, v in os.environ.items() if k != 'IN_TEST'})
        names = {f.name for d in (ROOT, tmp) for f in (d/'mlic').glob('*.py')}
        _, differ, missing = filecmp.cmpfiles(ROOT/'mlic', tmp/'mlic', names, shallow=False)
    assert not differ + missing, f'mlic/ is not what nbs/ exports: {sorted(differ + missing)}; run `make export` and commit both'
    assert (ROOT/'README.md').read_text(encoding='utf-8') == readme(), 'README.md is not what nbs/index.ipynb gives; run `make export`'


def check_clean():
    "Committed notebooks are clean, carry cell ids, and name no path of the machine they ran on"
    for path in library() + chapters() + pages():
        with tempfile.TemporaryDirectory() as tmp:
            copy = Path(tmp)/path.name
            shutil.copy(path, copy)
            clean(copy)
            assert copy.read_bytes() == path.read_bytes(), f'{path.relative_to(ROOT)} is not clean; run `make clean-nbs`'
        ids = [c.get('id') for c in cells(path)]
        assert all(ids) and len(set(ids)) == len(ids), f'{path.relative_to(ROOT)}: cells without an id of their own'
        found = re.search(r'(/home/|/root/|/Users/|/tmp/|[A-Z]:\\\\Users)[^"\s]*', path.read_text(encoding='utf-8'))
        assert not found, f'{path.relative_to(ROOT)} names a path of one machine: {found[0]}'


def check_floors():
    "No module imports from its own floor or above (the tens digit of its notebook), save where its notebook says `# floor: why`"
    floor = {}
    for path in library():
        exp = re.search(r'#\|\s*default_exp\s+(\w+)', path.read_text(encoding='utf-8'))
        if exp: floor[exp[1]] = int(path.name[0])
    for name, own in floor.items():
        for line in (ROOT/'mlic'/f'{name}.py').read_text(encoding='utf-8').splitlines():
            used = re.match(r'\s*(?:from|import)\s+(?:mlic)?\.(\w+)', line)
            if used and '# floor:' not in line and name != used[1]:
                assert floor[used[1]] < own, f'{name} (floor {own}) imports {used[1]} (floor {floor[used[1]]})'


def check_wheel():
    "The wheel, built from the source archive, imports and gives its command in an environment without nbdev and what is optional"
    with tempfile.TemporaryDirectory() as tmp:
        site, csv = f'{tmp}/site', f'{tmp}/labels.csv'
        subprocess.run([sys.executable, 'setup.py', '-q', 'sdist', '-d', tmp], check=True, cwd=ROOT, capture_output=True)
        archive, = Path(tmp).glob('*.tar.gz')
        subprocess.run([sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', tmp, str(archive)], check=True, cwd=tmp)
        wheel, = Path(tmp).glob('*.whl')
        subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--target', site, str(wheel)], check=True)
        mods = ['mlic'] + [f'mlic.{f.stem}' for f in (ROOT/'mlic').glob('*.py') if f.stem not in ('_modidx', '__init__')]
        bare = f"import importlib, runpy, sys; sys.path.insert(0, {site!r}); sys.modules.update(dict.fromkeys({NOT_NEEDED}))\n"
        imports = f"for m in {mods}: importlib.import_module(m)\nassert sys.modules['mlic'].__file__.startswith({tmp!r})"
        subprocess.run([sys.executable, '-c', bare + imports], check=True, cwd=tmp)
        Path(csv).write_text('fname,labels\na.png,cat dog\nb.png,cat\n')
        command = f"sys.argv = ['mlic', 'stats', {csv!r}, '--json']; runpy.run_path({site + '/bin/mlic'!r}, run_name='__main__')"
        out = subprocess.run([sys.executable, '-c', bare + command], check=True, cwd=tmp, capture_output=True, text=True).stdout
        assert json.loads(out)['stats']['LCard'] == 1.5, out
    shutil.rmtree(ROOT/'build', ignore_errors=True)


def check_docs():
    "The docs: build, code of the pages, every page in a browser"
    res = subprocess.run([sys.executable, str(ROOT/'tools'/'test_docs.py')], capture_output=True, text=True)
    print(res.stdout, end='', flush=True)
    assert res.returncode == 0, res.stdout[-2000:] + res.stderr[-2000:]


def test_library(path, tmp):
    code = ("import sys; from pathlib import Path; from nbdev.test import test_nb\n"
            f"sys.exit(not test_nb(Path({str(path)!r}), skip_flags={FLAGS}, basepath={str(ROOT)!r})[0])")
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'MPLBACKEND': 'agg', 'MLIC_PROFILE': 'quick', 'MLIC_STORE': tmp}
    res = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=env, cwd=NBS)
    assert res.returncode == 0, res.stdout[-2000:] + res.stderr[-6000:]
    for line in res.stdout.splitlines():
        if 'skipped' in line: print(f'{path.name}: {line}', flush=True)


def test_chapter(path, tmp):
    # one process each, since several chapters run at once; a store of its own, so that none waits for or depends on another
    execute(path, {'MLIC_PROFILE': 'quick', 'MLIC_STORE': f'{tmp}/{path.stem}', 'MLIC_JOBS': '1', 'OMP_NUM_THREADS': '1'})


def test():
    "Everything that `make test` promises; returns the exit status"
    tmp = tempfile.mkdtemp(prefix='mlic_test_')
    jobs = [(str(p.relative_to(ROOT)) + ' (quick)', lambda p=p: test_chapter(p, tmp)) for p in chapters()] # the chapters are the long ones
    jobs += [(str(p.relative_to(ROOT)), lambda p=p: test_library(p, tmp)) for p in library()]
    jobs += [(f.__doc__.split(':')[0].split(';')[0], f) for f in (check_docs, check_sync, check_clean, check_floors, check_wheel)]
    times = json.loads(TIMES.read_text()) if TIMES.exists() else {}
    jobs.sort(key=lambda job: -times.get(job[0], 3600)) # a new one first
    failed = []
    def one(job):
        name, f = job
        t0 = time.time()
        try: f()
        except (Exception, SystemExit) as e:
            text = re.sub(r'\x1b\[[0-9;]*m', '', str(e)).rstrip()
            failed.append((name, text[-300:])); print(f'FAIL {name}\n{text}', flush=True)
        else: times[name] = time.time() - t0; print(f'ok   {name}  {times[name]:.1f} s', flush=True)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 4)) as pool: list(pool.map(one, jobs))
    TIMES.write_text(json.dumps(times, indent=1))
    shutil.rmtree(tmp, ignore_errors=True)
    skipped = sum(left_out(c) for p in library() + chapters() for c in cells(p))
    print(f'{skipped} cells marked {" or ".join(FLAGS)} were not run')
    for name,end in failed: print(f'failed: {name}: ...{end}')
    print(f'{len(jobs)-len(failed)} passed, {len(failed)} failed')
    return int(bool(failed))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('what', choices=['test', 'chapters', 'readme', 'clean', 'sync'])
    parser.add_argument('--profile', default=os.environ.get('MLIC_PROFILE', 'default'), choices=['quick', 'default', 'full'])
    parser.add_argument('--fresh', action='store_true', help='forget the stored results first')
    args = parser.parse_args()
    if args.what == 'test': sys.exit(test())
    if args.what == 'chapters': sys.exit(run_chapters(args.profile, args.fresh))
    if args.what == 'readme': (ROOT/'README.md').write_text(readme(), encoding='utf-8')
    if args.what == 'clean': [clean(p) for p in library() + chapters() + pages()]
    if args.what == 'sync': check_sync(), check_clean(), check_floors()
