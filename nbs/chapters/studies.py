"""The comparisons of chapters 3 to 9, in one place: the chapters show them, and chapter 10 chooses by them"""
from functools import lru_cache
import pandas as pd
from mlic.decisions.thresholds import FixedThreshold, GlobalThreshold, LabelThresholds
from mlic.metrics import f1
from protocol import MARGIN, backbones_of, by_profile, paired, sets, study

# of one number per label
RULES = {'0.5': lambda: FixedThreshold(.5), 'global': GlobalThreshold, 'per label, shrunk': LabelThresholds}
WHOLE = dict(train='all', cache=False, tfms=None) # a whole network is trained, without augmentation

@lru_cache
def architectures()->dict: # source -> Results
    "Chapter 3: four families of networks from random weights"
    small = by_profile(quick=dict(n=60, n_valid=40, n_test=100, epochs=1),
                       default=dict(n=240, n_valid=120, n_test=600, replicates=4, epochs=3, bs=16, lr=2e-3),
                       full=dict(lr=1e-3))
    archs = ('resnet18', 'densenet121', 'seresnet', 'darknet')
    return study({a: dict(arch=a) for a in archs}, weights=None, **WHOLE, **small)

FEW_IMAGES = dict(quick=dict(n=60, n_valid=40, n_test=100, epochs=1),
                  default=dict(n=300, n_valid=150, n_test=1000, replicates=4, epochs=4, bs=16), full={})
HEAD_RATES = dict(quick=3e-3, default=(1e-3, 3e-3, 1e-2), full=(1e-3, 3e-3, 1e-2))
WHOLE_RATE = dict(quick=2e-3, default=2e-3, full=1e-3)

def starts(
    source, # name of a data set
    fine_tuned=('scratch', 'other domain', 'same domain'), # starts from which the whole network is trained
)->dict: # name -> fields of `Recipe`
    "Chapter 4: where a network starts from, and what of it is trained"
    weights = backbones_of(sets())
    other = dict(zip(sets(), reversed(sets())))
    of = {'scratch': None, 'other domain': weights[other[source]], 'same domain': weights[source]}
    whole = {f'{s}, fine-tuned': dict(weights=w, lr=by_profile(**WHOLE_RATE), **WHOLE) for s,w in of.items()
             if s in fine_tuned}
    head = {f'{s}, head only': dict(weights=w, lr=by_profile(**HEAD_RATES)) for s,w in of.items()}
    return {**whole, **head}

@lru_cache
def transfer()->dict: # source -> Results
    "Chapter 4: three starts, the head alone or full fine-tuning, few images"
    return {s: study(starts(s), [s], **{**by_profile(**FEW_IMAGES), 'weights': None})[s] for s in sets()}

@lru_cache
def losses()->dict: # source -> Results
    "Chapter 5: fourteen losses for a linear head"
    names = ('bce', 'wbce', 'focal', 'asl', 'hill', 'poly', 'lsep', 'bpmll', 'hinge', 'warp', 'zlpr', 'twoway',
             'aucm', 'softf1')
    return study({l: dict(loss=l) for l in names}, **by_profile(quick={}, default=dict(replicates=20), full={}))

@lru_cache
def heads()->dict: # source -> Results
    "Chapter 6: heads under BCE"
    names = ['linear', 'mlp', 'gating', 'chaining', 'se', 'moe', 'csra']
    larger = by_profile(quick=['query'], default=[], full=['query', 'srn']) # need maps of some size
    return study({h: dict(head=h) for h in names + larger})

LEVELS = dict(quick={}, default=dict(n=500, n_valid=200, n_test=2000, size=64, bs=32, lr=3e-3), full={})
LEVEL_HEADS = {h: dict(head=h) for h in ('linear', 'multilevel', 'pyramid', 'fpn')}

@lru_cache
def levels()->dict: # source -> Results
    "Chapter 8: heads on one and on several feature levels"
    return study(LEVEL_HEADS, ['digit_scenes', *sets()], **by_profile(**LEVELS))

@lru_cache
def classical()->dict: # source -> Results
    "Chapter 9: classical multi-label classifiers on the features that the linear head reads"
    names = ('linear', 'br', 'cc', 'ecc', 'lp', 'rakel', '2br', 'mlknn')
    return study({m: dict(head=m) for m in names}, **by_profile(quick={}, default=dict(replicates=12), full={}))

def threshold_rule(
    source, # name of a data set
)->str: # name in `RULES`
    "Chapter 7: the rule whose gain in macro F1 over .5 is significant, above the margin, and the largest; else .5"
    rows = []
    for r in losses()[source].variants['bce']:
        s = r.scores
        fitted = {name: make().fit(s['best'].astype(float), s['targs']) for name,make in RULES.items()}
        rows.append({name: f1(rule.predict(s['test_probs'].astype(float)).astype(float), s['test_targs'])
                     for name,rule in fitted.items()})
    d = paired({source: pd.DataFrame(rows)}, '0.5')[source]
    gains = d[(d.verdict == 'higher') & (d['diff'] > MARGIN)]
    return gains['diff'].idxmax() if len(gains) else '0.5'

QUESTIONS = dict(architecture=architectures, transfer=transfer, loss=losses, head=heads, levels=levels,
                 classical=classical)
