"""Long use in one process: comparisons, caches, predictions, scans, one after the other, with faults injected at
random; memory, file handles, threads and leftover files must stay flat. `python bench/soak.py [--minutes 20]` prints
its section of RESULTS.md"""

import argparse, errno, gc, os, platform, random, shutil, statistics, subprocess, sys, tempfile, time, warnings

warnings.simplefilter('ignore')
os.environ.update(MLIC_QUIET='1')
ROOT = tempfile.mkdtemp(prefix='mlic_soak_')
os.environ['MLIC_CACHE'] = f'{ROOT}/cache'
from dataclasses import replace
from pathlib import Path
import numpy as np, pandas as pd, torch
from PIL import Image
from mlic import store
from mlic.compare import Recipe, compare, stored
from mlic.core import MLICError
from mlic.data.audit import resize_images, scan
from mlic.data.loaders import dataloaders
from mlic.data.sources import make_source
from mlic.data.splits import random_split
from mlic.data.synth import digit_scenes
from mlic.deploy.bundle import load, save
from mlic.training.activations import prune
from mlic.training.caching import cache_activations
from mlic.training.learner import mlic_learner

FAULTS = 'bit', 'cut', 'full', 'interrupt', 'leftover', None, None, None
RECIPE = Recipe(source='digit_scenes', design='replicates', replicates=2, n=40, n_valid=40, n_test=60, size=32,
                arch='test_resnet', train='head', cache=True, epochs=1, bs=16, lr=1e-2)


class Works:
    "What a user does, in small; each work checks its own answer against that of its first time"

    def __init__(self, root):
        self.root, self.first = root, {}
        rng = np.random.default_rng(0)
        (root/'photos').mkdir()
        for i in range(20):
            Image.fromarray(rng.integers(0, 256, (60, 50, 3), dtype=np.uint8)).save(root/'photos'/f'{i}.png')
        table = pd.DataFrame(dict(fname=[f'{i}.png' for i in range(20)], labels=[['x']]*20))
        self.src = make_source('photos', root/'photos', table)
        self.learn = self.learner()

    def learner(self):
        src = digit_scenes(40, 32, root=self.root/'photos'/'digits')
        torch.manual_seed(0)
        return mlic_learner(dataloaders(src, random_split(src, (.6, .4, 0)), 32, 8), 'test_resnet')

    def compare(self):
        d = compare(RECIPE, self.root/'store', loss=['bce', 'lsep']).to_frame()
        return d[['train_loss', 'ap_macro']].to_numpy().tolist()

    def train(self):
        return compare(replace(RECIPE, train='all', cache=False), self.root/'store').to_frame().ap_macro.tolist()

    def results(self):
        stored(self.root/'store')

    def cache(self):
        cached = cache_activations(self.learn, self.root/'activations')
        return float(cached.dls.train.store.read(np.arange(10))[0].double().sum())

    def prune(self):
        prune(self.root/'activations')

    def predict(self):
        if not (self.root/'model').exists():
            save(self.learn, self.root/'model')
        predictor = load(self.root/'model')
        return predictor.predict([self.src.path(i) for i in range(20)]).probs.tolist()

    def save(self):
        save(self.learner(), self.root/'model')

    def scan(self):
        return len(scan(self.src, n_jobs=1).problems)

    def resize(self):
        small = resize_images(self.src, 24, self.root/'small', n_jobs=1)
        return [store.sha256(small.path(i)) for i in range(len(small))]

    def generate(self):
        return digit_scenes(12, 32, seed=random.randrange(5)).Y.shape

    def do(self, name):
        "Do a work; is its answer the one of the first time?"
        answer = getattr(self, name)()
        return self.first.setdefault(name, answer) == answer


NAMES = 'compare', 'train', 'results', 'cache', 'prune', 'predict', 'save', 'scan', 'resize', 'generate'


def written(root):
    "Files that mlic reads again: not the photographs, which are the user's"
    own = [f for f in root.rglob('*') if f.is_file() and 'photos' not in f.parts and 'lock' not in str(f)]
    return [f for f in own if f.stat().st_size and '.corrupt' not in str(f)]


def injected(fault, root, r):
    "Damage something on the disk; a context that disturbs the next work, where the fault is of that kind"
    files = written(root)
    if fault in ('bit', 'cut') and files:
        f = r.choice(files)
        data = f.read_bytes()
        at = r.randrange(len(data))
        flipped = data[:at] + bytes([data[at] ^ 1 << r.randrange(8)]) + data[at+1:]
        f.write_bytes(data[:at] if fault == 'cut' else flipped)
    if fault == 'leftover': # of a process that was killed
        pid = next(p for p in range(30_000, 10**6) if not Path(f'/proc/{p}').exists())
        host = ''.join(c for c in platform.node() if c.isalnum()) or 'host'
        folder = r.choice([f.parent for f in files] or [root])
        (folder/f'{store.UNFINISHED}{host}_{pid}_0_x').write_text('half')


class Disturbed:
    "While a work runs, its n-th atomic write meets a full disk or Ctrl-C"

    def __init__(self, fault, r):
        self.fault, self.left, self.replace = fault, r.randrange(1, 4), os.replace

    def __enter__(self):
        def replace(a, b):
            self.left -= 1
            if self.left == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if self.fault == 'full' else KeyboardInterrupt
            return self.replace(a, b)
        if self.fault in ('full', 'interrupt'):
            os.replace = replace

    def __exit__(self, *_):
        os.replace = self.replace


def state():
    "Resident memory (MB), open files, threads, mappings"
    gc.collect()
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    maps = len(Path('/proc/self/maps').read_text().splitlines())
    files, threads = (len(os.listdir(f'/proc/self/{d}')) for d in ('fd', 'task'))
    return pages*os.sysconf('SC_PAGE_SIZE')/2**20, files, threads, maps


def main(minutes, seed):
    torch.set_num_threads(1)
    root, r = Path(ROOT), random.Random(seed)
    works, begin, rows = Works(root), time.monotonic(), []
    for name in NAMES: # the first answers, undisturbed
        works.do(name)
    count, refused, raw, wrong = dict.fromkeys(FAULTS, 0), 0, [], []
    n = 0
    while time.monotonic() - begin < 60*minutes:
        if n % 10 == 0:
            rows.append((time.monotonic() - begin, *state()))
        fault, name = r.choice(FAULTS), r.choice(NAMES)
        count[fault] += 1
        n += 1
        injected(fault, root, r)
        try:
            with Disturbed(fault, r):
                right = works.do(name)
            if not right:
                wrong.append((n, name, fault))
        except (MLICError, KeyboardInterrupt):
            refused += 1
            # what is never made again without being asked: a bundle, and copies whose list was damaged
            for folder in dict(predict=['model'], save=['model'], resize=['small']).get(name, []):
                shutil.rmtree(root/folder, ignore_errors=True)
        except Exception as e:
            raw.append((n, name, fault, f'{type(e).__name__}: {e}'))
        for f in [*root.rglob('*.corrupt*')]: # what was put out of the way is for a person to look at
            shutil.rmtree(f) if f.is_dir() else f.unlink(missing_ok=True)
    report(minutes, n, count, refused, raw, wrong, rows, root)


def report(minutes, n, count, refused, raw, wrong, rows, root):
    third = len(rows)//3
    early, late = rows[third:2*third], rows[2*third:] # the first third warms up
    faults = ', '.join(f'{v} {k}' for k, v in count.items() if k)
    print(f'## Long use\n\n{platform.machine()}, torch {torch.__version__}, 1 thread: {minutes:g} minutes, {n} works '
          'in one process (comparisons on stored activations and on images, caches, predictions, bundles, scans, '
          f'resized copies, generated sets), {n - count[None]} of them with a fault before or in them: {faults}.\n')
    print('| | second third (median) | last third (median) | largest |\n|---|---|---|---|')
    for i, name in enumerate(('memory, MB', 'open files', 'threads', 'mappings'), 1):
        columns = [statistics.median(row[i] for row in part) for part in (early, late)]
        columns.append(max(row[i] for row in rows))
        print(f'| {name} | ' + ' | '.join(f'{v:,.0f}' for v in columns) + ' |')
    left = subprocess_sweep(root)
    same = n - refused - len(wrong) - len(raw)
    print(f'\nAnswers: {same} as the first time, {refused} refused in words, {len(wrong)} wrong, {len(raw)} raw '
          f'exceptions. Half-written files that another process does not remove: {len(left)}.')
    for row in [*wrong[:5], *raw[:5], *left[:5]]:
        print('-', row)


def subprocess_sweep(root):
    "What is still half-written after a new process has written to every folder"
    code = ("import sys; from pathlib import Path; from mlic.store import remove_leftovers\n"
            "for f in [Path(sys.argv[1]), *Path(sys.argv[1]).rglob('*')]: f.is_dir() and remove_leftovers(f)")
    subprocess.run([sys.executable, '-c', code, root], check=True)
    return [f for f in root.rglob(store.UNFINISHED + '*')]


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--minutes', type=float, default=20)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    main(args.minutes, args.seed)
