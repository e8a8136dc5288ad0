"""`mlic train` beside 20 lines of plain fastai on a table of photographs of your own: mAP, macro F1 and processor time,
by repeats on the same rows, and what each ingredient of the recommended setting contributes.

    .venv/bin/python bench/own_images.py photos.csv --root photos --repeats 10 --out own.jsonl
    .venv/bin/python bench/own_images.py --report --out own.jsonl

The folds are those of a repeated 5-fold cross-validation, stratified by labels; an eighth of the training images choose
thresholds. Differences are paired by fold and tested by the corrected resampled t-test (Nadeau and Bengio 2003), since
the training sets of two folds share images. What is finished is kept in --out, and the same command goes on."""
import argparse, json, time, warnings
from functools import partial
from pathlib import Path
import numpy as np, pandas as pd, torch, torch.nn.functional as F
from fastai.callback.core import Callback
from fastai.torch_core import set_seed
from fastai.vision.all import ImageDataLoaders, Resize, aug_transforms, vision_learner
from torchvision.models import resnet18
from mlic.compare.verdicts import corrected_t
from mlic.data.loaders import dataloaders, items_of
from mlic.data.sources import from_csv
from mlic.data.splits import Split, kfold
from mlic.decisions.thresholds import LabelThresholds
from mlic.metrics import average_precision, f1
from mlic.training.learner import mlic_learner
from mlic.training.policy import Policy, fit_policy

SIZE, EPOCHS, BS, LR = 64, 6, 32, 3e-3


class Grow(Callback):
    "Train the first part of the epochs on smaller images (Touvron 2019; progressive resizing)"
    run_valid = False
    def __init__(self, size, part): self.size, self.part = size, part
    def before_batch(self):
        if self.epoch >= self.part*self.n_epoch:
            return
        x = F.interpolate(self.x, (self.size, self.size), mode='bilinear', antialias=True)
        self.learn.xb = (x,)


BASE = dict(epochs=EPOCHS, size=SIZE, bs=BS, lr=LR, head='linear', loss='bce', tfms='default', resize='squish', ema=0.,
            precision='float32', channels_last=False, grow=None, div=25., pct_start=.25, wd=.01, arch='resnet18')
FLIP = [None, 'flip']
SETTINGS = { # name -> what differs from BASE
    'base': {}, 'mlp head': dict(head='mlp'), 'crop': dict(resize='crop'), 'pad': dict(resize='pad'),
    'fastai augmentation': dict(tfms='fastai'), 'no augmentation': dict(tfms=None), 'ema': dict(ema=.995),
    'bs 16': dict(bs=16), 'bf16': dict(precision='bf16', channels_last=True), 'lr 1e-3': dict(lr=1e-3),
    'lr 1e-2': dict(lr=1e-2), 'asl': dict(loss='asl'), 'grow': dict(grow=[32, .7], epochs=12),
    'grow, bs 16': dict(grow=[32, .7], epochs=12, bs=16),
    'grow, bs 16, bf16': dict(grow=[32, .7], epochs=16, bs=16, precision='bf16', channels_last=True),
    'double': dict(epochs=2*EPOCHS), 'size 48': dict(size=48, epochs=10), 'size 32': dict(size=32, epochs=20),
}


def fold_of(src, repeat):
    "The rows of a repeat: 5-fold cross-validation again and again, and an eighth of the training images for thresholds"
    turn, number = divmod(repeat, 5)
    outer = kfold(src, 5, 'stratified', seed=turn)[number]
    rest = np.sort(np.concatenate([outer.train, outer.test]))
    inner = kfold(src, 8, 'stratified', test=outer.valid, seed=100 + repeat)[0]
    assert not set(outer.valid) & set(rest)
    return Split(inner.train, inner.valid, outer.valid)


def plain(src, split, seed, epochs=EPOCHS):
    "Twenty lines of fastai, as its multi-label tutorial has them; no thresholds, so .5"
    df = pd.DataFrame(dict(name=src.items.fname, labels=[';'.join(l) for l in src.items.labels]))
    df['is_valid'] = False
    df.loc[split.valid, 'is_valid'] = True
    set_seed(seed)
    dls = ImageDataLoaders.from_df(
        df.loc[np.r_[split.train, split.valid]], src.root, fn_col='name', label_col='labels', label_delim=';',
        valid_col='is_valid', bs=BS, num_workers=0, item_tfms=Resize(SIZE), batch_tfms=aug_transforms())
    assert list(dls.vocab) == list(src.vocab)
    learn = vision_learner(dls, resnet18, pretrained=False, metrics=[])
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(epochs, LR)
    def predict(rows, flip=False):
        dl = dls.test_dl([src.path(i) for i in rows])
        return learn.get_preds(dl=dl)[0].numpy()
    return predict


def recommended(src, split, seed, **setting):
    "The library with a setting"
    s = {**BASE, **setting}
    tfms = aug_transforms() if s['tfms'] == 'fastai' else s['tfms']
    set_seed(seed)
    dls = dataloaders(src, split, s['size'], s['bs'], tfms, seed=seed, resize=s['resize'])
    learn = mlic_learner(dls, s['arch'], s['head'], s['loss'])
    policy = Policy(lr=s['lr'], ema=s['ema'], precision=s['precision'], channels_last=s['channels_last'], div=s['div'],
                    pct_start=s['pct_start'], wd=s['wd'])
    with learn.no_bar(), learn.no_logging():
        fit_policy(learn, s['epochs'], policy, seed=seed, cbs=[Grow(*s['grow'])] if s['grow'] else [])
    class Mirror(Callback):
        def before_batch(self): self.learn.xb = tuple(x.flip(-1) for x in self.xb)
    def predict(rows, flip=False):
        dl = dls.test_dl(items_of(src, rows))
        with learn.no_bar(), learn.added_cbs([Mirror()] if flip else []):
            return learn.get_preds(dl=dl)[0].numpy()
    return predict


def measured(src, fit, repeat):
    "Figures of one training on the rows of a repeat"
    split, start = fold_of(src, repeat), time.process_time()
    predict = fit(src, split, repeat)
    row = dict(train_cpu=time.process_time() - start)
    Y, sets = np.asarray(src.Y), (split.valid, split.test)
    plain_scores = [predict(rows) for rows in sets]
    mirrored = [(p + predict(rows, flip=True))/2 for p,rows in zip(plain_scores, sets)]
    for prefix,(valid, test) in {'': plain_scores, 'tta_': mirrored}.items():
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            chosen = LabelThresholds('f1').fit(valid, Y[split.valid]).thresholds_
            row[prefix + 'map'] = float(average_precision(test, Y[split.test]))
            row[prefix + 'f1_half'] = float(f1(test, Y[split.test]))
            row[prefix + 'f1_chosen'] = float(f1(test, Y[split.test], chosen))
    return row


def read(out):
    return pd.DataFrame([json.loads(line) for line in out.read_text().splitlines()] if out.exists() else [],
                        columns=['setting', 'repeat', 'train_cpu', 'map', 'f1_half', 'f1_chosen', 'tta_map',
                                 'tta_f1_half', 'tta_f1_chosen'])


def report(d, against):
    "A row per setting: means, and differences from another one on the same folds"
    rows = {}
    for name,part in d.groupby('setting', sort=False):
        part, other = (p.set_index('repeat') for p in (part, d[d.setting == against]))
        both = part.index.intersection(other.index)
        row = dict(folds=len(part), cpu=part.train_cpu.mean(), ratio=np.nan)
        for m in ('map', 'tta_map', 'f1_half', 'f1_chosen'):
            row[m] = part[m].mean()
        if len(both) > 1 and name != against:
            row['ratio'] = (part.train_cpu[both]/other.train_cpu[both]).median()
            for m in ('map', 'f1_chosen'):
                t = corrected_t((part[m] - other[m])[both].to_numpy(), 1/4)
                row[f'd_{m}'], row[f'ci_{m}'] = t['diff'], f"[{t['low']:+.3f}, {t['high']:+.3f}]"
        elif len(both) == 1:
            row['ratio'], row['d_map'] = (f(part, other, both[0]) for f in (
                lambda p, o, i: p.train_cpu[i]/o.train_cpu[i], lambda p, o, i: p['map'][i] - o['map'][i]))
        rows[name] = row
    return pd.DataFrame(rows).T


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('table', nargs='?')
    p.add_argument('--root')
    p.add_argument('--repeats', default='10')
    p.add_argument('--settings', default='plain fastai;base')
    p.add_argument('--against', default='plain fastai')
    p.add_argument('--out', type=Path, default=Path('own_images.jsonl'))
    p.add_argument('--report', action='store_true')
    a = p.parse_args()
    if not a.report:
        torch.set_num_threads(1)
        src = from_csv(a.table, a.root)
        first, _, last = a.repeats.rpartition(':')
        for repeat in range(int(first or 0), int(last)):
            for name in a.settings.split(';'):
                d = read(a.out)
                if ((d.setting == name) & (d.repeat == repeat)).any():
                    continue
                fit = plain if name == 'plain fastai' else partial(recommended, **SETTINGS[name])
                row = dict(setting=name, repeat=repeat, **measured(src, fit, repeat))
                with open(a.out, 'a') as f:
                    f.write(json.dumps(row) + '\n')
                print(row, flush=True)
    print(report(read(a.out), a.against).to_string(float_format='{:.3f}'.format))
