"""What all chapters share: sizes by profile, pretrained backbones, the variants of each question, and the figures"""

import json, os
from dataclasses import replace
import matplotlib.pyplot as plt, numpy as np, pandas as pd
from pathlib import Path
from sklearn.metrics import roc_auc_score
from mlic.core import MLICError
from mlic.compare import Recipe, Results, pretrain, run
from mlic.interpret.plots import COLOURS
from mlic.decisions.thresholds import cross_fit
from mlic.store import atomic, locked

_sizes = dict(quick=dict(n=160, size=32, folds=2, epochs=2, bs=16, data_args='lift: 8', lr=1e-3), default=dict(n=1000, size=64, folds=5, epochs=15, bs=32), full=dict(n=200_000, size=224, folds=5, epochs=12, bs=64))
_pretraining = dict(quick=dict(n=160, epochs=1, bs=16, lr=1e-3), default=dict(n=2000, epochs=5, bs=32, lr=2e-3), full=dict(n=20_000, epochs=10, bs=64))
_digits = dict(quick={}, default=dict(n=10_000, epochs=2, lr=5e-3), full=dict(n=200_000, epochs=2)) # many scenes seen a few times

def profile()->str:
    "The profile that MLIC_PROFILE names; 'default' where it names none"
    name = os.environ.get('MLIC_PROFILE', 'default')
    if name not in _sizes: raise MLICError(f"MLIC_PROFILE is {name!r}; choose from: {', '.join(_sizes)}")
    return name

def store()->str: return os.environ.get('MLIC_STORE', '../../results') # folder of results, as seen from a chapter

def jobs()->int: return int(os.environ.get('MLIC_JOBS', os.cpu_count() or 1)) # processes for `compare`

def pair()->list:
    "The two data sets of every question: the real ones in profile full where MLIC_DATA is set, else the generated ones"
    return ['chest_xray14', 'planet'] if profile() == 'full' and os.environ.get('MLIC_DATA') else ['synth_xray', 'synth_planet']

def _pretraining_of(source, arch):
    "The recipe of a body"
    sizes, how = _sizes[profile()], _pretraining[profile()]
    if source == 'digit_scenes': how = {**how, **_digits[profile()], 'head': 'multilevel'} # which sees small things
    return Recipe(source=source, arch=arch, seed=101, test=0., size=sizes['size'], data_args='' if source.startswith('digit') else sizes.get('data_args', ''), **{'lr': 2e-3, **how})

def bodies(
    sources, # names in `datasets`
    arch='resnet18', # backbone
)->dict: # name -> for `Recipe.weights`
    "For each source a network trained on other images of its kind; trained side by side on the first call, then found in the store"
    own = {s: _pretraining_of(s, arch) for s in sources if s.startswith(('synth_','digit_'))}
    return {**dict.fromkeys(sources, 'imagenet'), **pretrain(own, store(), jobs())}

def base(
    source:str, # name in `datasets`
    **changes # fields of `Recipe`
)->Recipe:
    "The recipe that a chapter varies: head on cached activations of the body of its source, sizes by profile"
    fixed = dict(source=source, train='head', cache=True, **_sizes[profile()])
    if not source.startswith('synth_'): fixed.pop('data_args', None)
    if 'weights' not in changes: fixed['weights'] = bodies([source], changes.get('arch', 'resnet18'))[source]
    return Recipe(**{**fixed, **changes})

_small = dict(quick=dict(arch=dict(n=80, epochs=1), transfer=dict(n=80), whole=dict(n=80, epochs=1), final=dict(epochs=1)),
              default=dict(arch=dict(n=300, size=48, folds=4, epochs=4, bs=16, lr=2e-3), transfer=dict(n=500, folds=5, bs=16), head=dict(epochs=10),
                           levels=dict(n=450, folds=4, epochs=30), whole=dict(n=400, folds=3, epochs=3, bs=16, lr=2e-3), final=dict(n=500, folds=4, epochs=3, bs=16, lr=2e-3)), full={})
_arms = dict(arch=['resnet18','densenet121','seresnet','darknet'], loss=['bce','wbce','focal','wfocal','asl','lsep','bpmll','hinge','warp','softf1'], head=['linear','mlp','gating','chaining','se','moe','srn','query'],
             levels=['linear','multilevel','pyramid','fpn'], system=['linear','br','cc','ecc','lp','rakel','2br','mlknn'])
_field = dict(arch='arch', loss='loss', head='head', levels='head', system='head', whole='head') # of the recipe

def sizes(question)->dict: return _small[profile()].get(question, {}) # fields of `Recipe` in which a question is smaller than `base`

def question(
    name:str, # 'arch', 'transfer', 'loss', 'head', 'levels', 'whole' (levels, the whole network trained) or 'system'
    sources, # names in `datasets`
)->dict: # source -> Results
    "What a chapter compares on each data set, from the store or run now; the first arm is the baseline"
    if name not in (*_field, 'transfer'): raise MLICError(f"question {name!r}; choose from: transfer, {', '.join(_field)}")
    if name != 'arch': bodies(sources)
    arms = {s: _transfer(s) if name == 'transfer' else _vary(name, s) for s in sources}
    done = run({(s,a): r for s in sources for a,r in arms[s].items()}, store(), jobs()).variants # of all sets at once, so that no process waits at the end of each
    return {s: Results({a: done[s,a] for a in arms[s]}) for s in sources}

def _vary(name, source):
    "The arms of a question about one field: name -> Recipe"
    whole = dict(arch=dict(train='all', cache=False, weights=None), whole=dict(train='all', cache=False)).get(name, {})
    fixed = base(source, **whole, **sizes(name))
    return {a: replace(fixed, **{_field[name]: a}) for a in _arms['levels' if name == 'whole' else name]}

def starts(
    source:str, # name in `datasets`
)->dict: # name -> data that the body has seen, for `bodies`; None: none
    "Where a network can start from: random weights, a body of the other data set's kind, a body of its own kind"
    return {'scratch': None, 'other domain': 'synth_planet' if 'xray' in source else 'synth_xray', 'like domain': source}

def _transfer(source):
    "Each start with the whole network trained and with the head alone on cached activations: name -> Recipe"
    how = dict(quick=dict(whole=dict(epochs=1), frozen=dict(epochs=2)), default=dict(whole=dict(epochs=3, lr=2e-3), frozen=dict(epochs=15)), full=dict(whole=dict(epochs=12), frozen=dict(epochs=12)))[profile()]
    arm = lambda seen, h: base(source, weights=seen and bodies([seen])[seen], train='all' if h == 'whole' else 'head', cache=h != 'whole', **{**sizes('transfer'), **how[h]})
    return {f'{start} ({h})': arm(seen, h) for start,seen in starts(source).items() for h in how}

def choose(
    results:Results,
    metric='ap_macro', # by which
)->str: # name of an arm
    "The best of the arms that are told apart from the first one as higher; the first one where there is none"
    d = results.against(metric=metric)
    higher = d[d.verdict == 'higher']
    return higher['diff'].idxmax() if len(higher) else next(iter(results.variants))

def cut(
    folds, # list of FoldResult
    rule, # a thresholder
)->list: # predictions (n,K) of each fold
    "Predictions of every fold by thresholds that were fitted on the other folds"
    fold = np.repeat(np.arange(len(folds)), [len(f.scores['targs']) for f in folds])
    preds = cross_fit(rule, *(np.concatenate([f.scores[k] for f in folds]) for k in ('best','targs')), fold)
    return [preds[fold == i] for i in range(len(folds))]

def planted_pair(
    fold, # FoldResult on synth_xray
)->tuple: # AUC of the model, AUC of one who is told the neighbours; NaN where the fold has not both
    "Consolidation or Pneumonia? How well the score difference of the two tells them apart"
    P, C, E, A = (fold.facts['vocab'].index(l) for l in ('Pneumonia', 'Consolidation', 'Effusion', 'Atelectasis'))
    y, p = fold.scores['targs'], fold.scores['best'].astype(float)
    one = (y[:,P] == 1) ^ (y[:,C] == 1)
    if len(set(y[one,P])) < 2: return np.nan, np.nan
    logits = np.log(p.clip(1e-12)) - np.log((1 - p).clip(1e-12))
    return roc_auc_score(y[one,C], (logits[:,C] - logits[:,P])[one]), roc_auc_score(y[one,C], (y[:,E] | y[:,A])[one])

def summary(
    results:dict, # source -> Results; the first arm of each is the baseline
    metric='ap_macro', name='mAP', # column and how it is called
)->str:
    "What the adjusted tests tell apart from the baseline, on each data set"
    out = []
    for s,r in results.items():
        d, first = r.against(metric=metric), next(iter(r.variants))
        parts = [f"{v}: " + ', '.join(f"{a} {g['diff'][a]:+.3f}" for a in g.index) for v in ('higher','lower') if len(g := d[d.verdict == v].sort_values('diff', ascending=False))]
        alike = d.verdict.isin(['equivalent','undecided']).sum()
        if alike: parts.append(f'{alike} of {len(d)} without a significant difference')
        out.append(f"{s}, {name} against {first} ({r.to_frame().groupby('variant')[metric].mean()[first]:.3f}): " + '; '.join(parts))
    return '. '.join(out)

def differences(
    results:dict, # source -> Results; the first arm of each is the baseline
    metric='ap_macro', # column
)->pd.DataFrame: # a row per source and arm
    "Each arm minus the baseline: diff, low, high, g, p, p_holm, verdict"
    return pd.concat({s: r.against(metric=metric)[['diff','low','high','g','p','p_holm','verdict']] for s,r in results.items()}).round(4)

def plot_folds(
    results:dict, # source -> Results; the first arm of each is the baseline
    metric='ap_macro', name='mAP', # column and how it is called
)->plt.Figure:
    "Each arm minus the baseline: a line per fold, the mean as a diamond"
    rows = -(-len(results)//2)
    fig,axs = plt.subplots(rows, 2, figsize=(12, 3.6*rows), layout='constrained', squeeze=False)
    for ax in axs.flat[len(results):]: ax.axis('off')
    for ax,(s,r) in zip(axs.flat, results.items()):
        arms = list(r.variants)
        d = r.to_frame().pivot(index=r.unit, columns='variant', values=metric)[arms]
        d = d.sub(d[arms[0]], axis=0)
        for _,fold in d.iterrows(): ax.plot(arms, fold, 'o-', color='tab:gray', alpha=.6, ms=3, lw=1)
        ax.plot(arms, d.mean(), 'D', color='tab:blue', ms=6, label='mean')
        ax.axhline(0, color='k', lw=.6); ax.set(title=f'{s}: {name} − {arms[0]}, by fold', ylabel='difference'); ax.legend()
        ax.set_xticks(range(len(arms)), arms, rotation=30, ha='right')
    return fig

def plot_labels(
    results:dict, # source -> Results
    arms=None, # those to show; None: all
    metric='ap', # column of `per_label`
)->plt.Figure:
    "A metric of each label, each arm minus the baseline, mean over folds; the frequent labels first"
    fig,axs = plt.subplots(len(results), 1, figsize=(11, 3.1*len(results)), layout='constrained', squeeze=False)
    for ax,(s,r) in zip(axs.flat, results.items()):
        first, *rest = r.variants
        order = np.argsort(-(np.concatenate([f.scores['targs'] for f in r.variants[first]]) == 1).sum(0), kind='stable')
        d = r.per_label(metric).iloc[order]
        d[[a for a in arms or rest if a != first]].sub(d[first], axis=0).plot.bar(ax=ax, width=.8, color=COLOURS)
        ax.axhline(0, color='k', lw=.6); ax.set(title=s, xlabel='', ylabel=f'{metric.upper()} − {first}'); ax.legend(fontsize=8, loc='center left', bbox_to_anchor=(1,.5))
        ax.set_xticks(range(len(d)), d.index, rotation=30, ha='right')
    return fig

def note_finding(
    chapter:str, # its number and name
    question:str, # one sentence
    finding:str, # what this run found
):
    "Keep one line for the closing table of `make chapters`"
    text = json.dumps(dict(chapter=chapter, question=question, finding=finding))
    with atomic(Path(store())/'findings'/f'{chapter}.json') as tmp: tmp.write_text(text, encoding='utf-8')

def conclude(
    chapter:str, # number and name, as the notebook's file has it
    question:str, finding:str, # one sentence each
    folder='.', # of the chapters
):
    "Note the finding in the store; in the profile default also in findings.json beside the chapters"
    note_finding(chapter, question, finding)
    if profile() != 'default': return
    file = Path(folder)/'findings.json'
    with locked(Path(store())/'locks'/'findings'): # two chapters may run at once
        found = json.loads(file.read_text(encoding='utf-8')) if file.exists() else {}
        found[chapter] = dict(question=question, finding=finding)
        with atomic(file) as tmp: tmp.write_text(json.dumps(dict(sorted(found.items())), indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
