"""What the chapters share: sizes by profile, pretrained backbones, designs, figures, and the sentences that end one

A chapter asks one question by a *study* (variants on two generated data sets, paired over independent replicates),
draws a *dose and response* (the effect against something the generator lets us set), and ends by `conclude`. Nothing
here is part of the library: it is what a user's own script would look like.
"""
import json, os
from pathlib import Path
import matplotlib.pyplot as plt, numpy as np, pandas as pd
from IPython.display import Markdown, display
from mlic.compare import Recipe, Results, pretrain, run
from mlic.compare.sets import generates, sets_of
from mlic.compare.verdicts import judge
from mlic.core import check_choice
from mlic.data.synth import truth_scores
from mlic.interpret.plots import COLOURS
from mlic.metrics import evaluate
from mlic.store import locked, write_json

# ---- sizes -------------------------------------------------------------------------------------------------
MARGIN = .01 # differences smaller than this do not matter; named before any number was seen
RATES = (1e-3, 3e-3, 1e-2, 3e-2) # learning rates tried for a head on cached activations
FULL_RATES = (3e-4, 1e-3, 3e-3) # and for a whole network

SIZES = dict(
    quick=dict(n=120, n_valid=60, n_test=200, replicates=2, size=32, epochs=2, bs=16, lr=3e-3),
    default=dict(n=1200, n_valid=600, n_test=10_000, replicates=16, size=48, epochs=12, bs=64, lr=RATES),
    full=dict(n=20_000, n_valid=5000, n_test=20_000, replicates=8, size=224, epochs=15, bs=64, lr=RATES))
PRETRAINING = dict(
    quick=dict(n=120, epochs=1, bs=16, lr=1e-3),
    default=dict(n=2000, epochs=4, bs=32, lr=2e-3),
    full=dict(n=20_000, epochs=10, bs=64, lr=2e-3))
DIGITS = dict(quick={}, default=dict(size=64, n=6000, epochs=2, lr=5e-3), full=dict(n=100_000, epochs=2, lr=5e-3))

def profile()->str:
    "'quick' (does it run?), 'default' or 'full', as MLIC_PROFILE says"
    return check_choice('MLIC_PROFILE', os.environ.get('MLIC_PROFILE', 'default'), SIZES)

def store()->str: return os.environ.get('MLIC_STORE', '../../results') # folder of results, as seen from a chapter
def jobs()->int: return int(os.environ.get('MLIC_JOBS', os.cpu_count() or 1)) # processes
# another one draws all data, weights and batches anew
def master_seed()->int: return int(os.environ.get('MLIC_SEED', 0))
def by_profile(**values): return values[profile()] # by_profile(quick=2, default=8, full=8)

def sets()->list:
    "The two data sets of every question; the published ones in profile full where MLIC_DATA is set"
    published = profile() == 'full' and os.environ.get('MLIC_DATA')
    return ['chest_xray14', 'planet'] if published else ['synth_xray', 'synth_planet']

# ---- recipes -----------------------------------------------------------------------------------------------
def backbone_of(
    source, # name of a data set
    arch='resnet18', # backbone
)->str: # for `Recipe.weights`
    "A backbone pretrained on other images of the same kind: generated ones, or ImageNet for published sets"
    return backbones_of([source], arch)[source]

def backbones_of(sources, arch='resnet18')->dict: # source -> for `Recipe.weights`
    "As `backbone_of`, trained side by side"
    def recipe(source):
        digits = {**DIGITS[profile()], 'head': 'multilevel'} if source == 'digit_scenes' else {}
        return Recipe(**{**dict(source=source, arch=arch, size=SIZES[profile()]['size'], test=0.,
                                seed=101 + 1000*master_seed()), **PRETRAINING[profile()], **digits})
    own = {s: recipe(s) for s in sources if generates(s)}
    return {**dict.fromkeys(sources, 'imagenet'), **pretrain(own, store(), jobs())}

def base(
    source, # name of a data set
    **changes # fields of `Recipe`
)->Recipe:
    "The recipe that a chapter varies: a head on cached activations; sizes by profile"
    fields = dict(source=source, design='replicates', train='head', cache=True, seed=master_seed(), **SIZES[profile()])
    if not generates(source):
        for f in ('n_valid', 'n_test', 'replicates'):
            del fields[f]
        fields.update(design='folds', by='group' if source == 'chest_xray14' else 'random')
    if 'weights' not in changes:
        fields['weights'] = backbone_of(source, changes.get('arch', 'resnet18'))
    return Recipe(**{**fields, **changes})

def study(
    variants:dict, # name -> fields of `Recipe` that it changes; the first is the baseline
    sources=None, # data sets; None: the pair
    **fields # fields of `Recipe` that all share
)->dict: # source -> Results
    "Every variant on each data set, from the store or run now"
    sources = sources or sets()
    if 'weights' not in fields:
        backbones_of(sources, fields.get('arch', 'resnet18'))
    recipes = {(s,v): base(s, **{**fields, **changes}) for s in sources for v,changes in variants.items()}
    return _by_first(run(recipes, store(), jobs()))

def doses(
    source, # a generator
    levels, # values of the dose
    set_dose, # level -> fields of `Recipe`
    variants:dict, # name -> fields of `Recipe`; the first is the baseline
    **fields # fields of `Recipe` that all share
)->dict: # level -> Results
    "The variants at each level of the dose"
    recipes = {(d,v): base(source, **{**fields, **changes, **set_dose(d)}) for d in levels
               for v,changes in variants.items()}
    return _by_first(run(recipes, store(), jobs()))

def _by_first(results):
    out = {}
    for (first,variant),found in results.variants.items():
        out.setdefault(first, {})[variant] = found
    return {first: Results(found) for first,found in out.items()}

def response(
    results:dict, # level -> Results, as `doses` gives them
    metric='ap_macro', # column of `Results.to_frame`
)->pd.DataFrame: # columns dose, variant, diff, low, high, verdict
    "The effect of every variant at each dose, with its adjusted interval"
    parts = [r.against(metric=metric, margin=MARGIN).reset_index().assign(dose=d) for d,r in results.items()]
    return pd.concat(parts)[['dose','variant','diff','low','high','verdict']]

def recipe_of(result)->Recipe: # of a `FoldResult`
    "The recipe of a stored result"
    fields = result.facts['recipe']
    return Recipe(**{k: tuple(v) if isinstance(v, list) else v for k,v in fields.items()})

# ---- tables ------------------------------------------------------------------------------------------------
SHOWN = dict(ap_macro='mAP', f1_macro='macro F1 at .5', f1_macro_tuned='macro F1, own thresholds',
             f1_micro='micro F1 at .5',
             f1_micro_tuned='micro F1, own thresholds', ap_examples='example AP', roc_auc_macro='macro AUC')

def setup(
    results:dict, # source -> Results
)->pd.DataFrame:
    "What was run: sizes, and what was chosen on which images"
    rows = {}
    for s,r in results.items():
        facts = next(iter(r.variants.values()))[0].facts
        recipe = facts['recipe']
        rates = sorted({v[0].facts['lr'] for v in r.variants.values() if not np.isnan(v[0].facts['lr'])})
        rows[s] = {'training images': facts['n_train'], 'validation images (epoch, thresholds)': facts['n_valid'],
                   'test images (nothing is chosen on them)': facts['n_test'], f'{r.unit}s': len(r),
                   'pixels on a side': recipe['size'], 'epochs': recipe['epochs'], 'batch': recipe['bs'],
                   'trained': 'head on cached activations' if recipe['cache'] else 'whole network',
                   'learning rates chosen (on other images)': ', '.join(f'{x:g}' for x in rates)}
    return pd.DataFrame(rows)

def ceiling(
    source, # a generator
    results:Results, # whose test set is meant
)->dict: # metric -> value
    "The scores of somebody who knows the truth before annotation noise: the best that anyone could have"
    test = sets_of(recipe_of(next(iter(results.variants.values()))[0]), 0).test
    scores, targs = truth_scores(test.src)[test.rows].astype(float), test.src.Y[test.rows]
    out = evaluate(scores, targs)
    return {**out, 'f1_macro_tuned': out['f1_macro'], 'f1_micro_tuned': out['f1_micro']}

def table(
    results:dict, # source -> Results
    # columns of `Results.to_frame`
    metrics=('ap_macro', 'f1_macro', 'f1_macro_tuned', 'f1_micro_tuned', 'roc_auc_macro'),
    more=(), # further columns: 'train_s', 'parameters', 'lr'
):
    "Mean ± standard deviation over replicates for each data set; the last row is the ceiling"
    for s,r in results.items():
        t = r.table([m for m in metrics if m in r.to_frame()] + list(more)).drop(columns='caution', errors='ignore')
        if generates(s):
            t.loc['ceiling'] = pd.Series({m: f'{v:.3f}' for m,v in ceiling(s, r).items() if m in t})
        display(t.fillna('').rename(columns=SHOWN).style.set_caption(s))
        if cautions := {v: c for v,c in r.rates().caution.items() if c}:
            print(f'{s}: ' + '; '.join(f'{v}: {c}' for v,c in cautions.items()))

def effects(
    results:dict, # source -> Results; the first variant of each is the baseline
    metric='ap_macro', # column of `Results.to_frame`
)->dict: # source -> DataFrame by variant: diff, low, high, verdict, ...
    "Every variant minus the baseline, with intervals and verdicts"
    return {s: r.against(metric=metric, margin=MARGIN) for s,r in results.items()}

def paired(
    values:dict, # source -> DataFrame with a row per replicate and a column per variant
    baseline, # name of a column
)->dict: # source -> DataFrame as `effects` gives it
    "Effects on a quantity that a chapter computes itself"
    return {s: judge({v: d[v] - d[baseline] for v in d if v != baseline}, margin=MARGIN) for s,d in values.items()}

def effect_table(found:dict)->pd.DataFrame: # rows (source, variant)
    "Differences from the baseline, adjusted 95 % intervals, verdicts, and what the design would find in 80 %"
    parts = {}
    for s,d in found.items():
        parts[s] = pd.DataFrame({'difference': d['diff'].map('{:+.4f}'.format), 'verdict': d.verdict,
                                 'interval': [f'{l:+.4f} to {h:+.4f}' for l,h in zip(d.low, d.high)],
                                 'detectable': d.detectable.map('{:.4f}'.format)})
    return pd.concat(parts, names=['data set', 'variant'])

# ---- figures -----------------------------------------------------------------------------------------------
PALETTE = [*COLOURS, '#999999']
VERDICTS = dict(higher=('#0072B2', 'o'), lower=('#D55E00', 'o'), equivalent=('#555555', 's'),
                undecided=('#999999', 'o'))
_colours = {} # variant -> colour

# the same through a chapter
def colour(variant)->str: return _colours.setdefault(variant, PALETTE[len(_colours) % len(PALETTE)])

def show(
    fig:plt.Figure,
    number:str, # '5.1'
    caption:str, # one or two sentences
    name=None, # file in ../images, for the home page
):
    "The figure with its numbered caption, which is also its alternative text"
    if name and profile() == 'default':
        fig.savefig(f'../images/{name}.png', dpi=110)
    plt.close(fig)
    display(fig, metadata={'image/png': {'alt': caption}})
    display(Markdown(f'**Figure {number}.** {caption}'))

def plot_effects(
    found:dict, # title of a panel -> DataFrame by variant: diff, low, high, verdict
    metric, # what the differences are of
    baseline, # the variant they are differences from
)->plt.Figure:
    "Each variant minus the baseline with its adjusted interval; the grey band is the margin of equivalence"
    rows = max(len(d) for d in found.values())
    fig, axs = plt.subplots(1, len(found), figsize=(8.3, 1.2 + .26*rows), layout='constrained', squeeze=False)
    for i,(ax,(title,d)) in enumerate(zip(axs.flat, found.items())):
        ax.axvspan(-MARGIN, MARGIN, color='#dddddd', lw=0)
        ax.axvline(0, color='k', lw=.6)
        for y,(_,r) in enumerate(d.iterrows()):
            c, marker = VERDICTS.get(r.verdict, ('#999999', 'x'))
            ax.plot([r.low, r.high], [y, y], color=c, lw=1.6)
            ax.plot(r['diff'], y, marker, color=c, markerfacecolor='white' if r.verdict == 'undecided' else c, ms=5)
        ax.set_yticks(range(len(d)), d.index)
        ax.set(title=title, xlabel=f'{metric} minus that of {baseline}', ylim=(len(d) - .5, -.5))
        ax.grid(axis='x', alpha=.3)
    face = lambda v, c: 'white' if v == 'undecided' else c
    handles = [plt.Line2D([], [], color=c, marker=m, lw=1.6, label=v, markerfacecolor=face(v, c))
               for v,(c,m) in VERDICTS.items()]
    fig.legend(handles=handles, loc='outside lower center', ncols=4, frameon=False, fontsize=8)
    return fig

def plot_dose(
    responses:dict, # title of a panel -> DataFrame with columns dose, variant, diff, low, high
    xlabel, # what the dose is, with its unit
    ylabel, # what is drawn
    log=False, # logarithmic dose
)->plt.Figure:
    "The effect against the dose, with a band for the adjusted interval; at most five variants"
    fig, axs = plt.subplots(1, len(responses), figsize=(8.3, 3.2), layout='constrained', squeeze=False, sharey=True)
    names = list(dict.fromkeys(v for d in responses.values() for v in d.variant))
    assert len(names) <= 5, 'nobody can tell more than five lines from one another'
    for ax,(title,d) in zip(axs.flat, responses.items()):
        ax.axhline(0, color='k', lw=.6)
        for name,g in d.groupby('variant', sort=False):
            ax.plot(g.dose, g['diff'], 'o-', color=colour(name), ms=3.5, label=name)
            ax.fill_between(g.dose, g.low, g.high, color=colour(name), alpha=.18, lw=0)
        if log:
            ax.set_xscale('log', base=2)
        ax.set_xticks(levels := sorted(d.dose.unique()), [f'{x:g}' for x in levels])
        ax.minorticks_off()
        ax.set(title=title, xlabel=xlabel)
        ax.grid(alpha=.3)
    axs.flat[0].set_ylabel(ylabel)
    fig.legend(*axs.flat[0].get_legend_handles_labels(), loc='outside lower center', ncols=5, frameon=False, fontsize=8)
    return fig

def plot_labels(
    results:dict, # source -> Results; the first variant of each is the baseline
    variants, # which to draw, at most three
    metric='ap', # column of `mlic.metrics.per_label`
)->plt.Figure:
    "A metric of each label minus the baseline's, mean over replicates; the most frequent label on the left"
    fig, axs = plt.subplots(len(results), 1, figsize=(8.3, 2.9*len(results)), layout='constrained', squeeze=False)
    for ax,(s,r) in zip(axs.flat, results.items()):
        first = next(iter(r.variants))
        targs = r.variants[first][0].scores['test_targs' if r.design == 'replicates' else 'targs']
        order = np.argsort(-(targs == 1).sum(0), kind='stable')
        d = r.per_label(metric).iloc[order]
        for i,v in enumerate(variants):
            ax.bar(np.arange(len(d)) + .27*(i - (len(variants)-1)/2), d[v] - d[first], .27, color=colour(v), label=v)
        ax.axhline(0, color='k', lw=.6)
        ax.set(title=s, ylabel=f'{metric.upper()} minus that of {first}')
        ax.set_xticks(range(len(d)), d.index, rotation=35, ha='right', fontsize=8)
    fig.legend(*axs.flat[0].get_legend_handles_labels(), loc='outside lower center', ncols=3, frameon=False, fontsize=8)
    return fig

# ---- the end of a chapter ----------------------------------------------------------------------------------
def in_words(
    found:dict, # source -> DataFrame by variant: diff, low, high, verdict
    metric, # how the metric is called
    most=4, # variants that are named for each verdict
)->str:
    "Which variants are higher, lower, equivalent and undecided, with differences and intervals"
    parts = []
    for s,d in found.items():
        said = []
        for v in ('higher', 'lower'):
            g = d[d.verdict == v].sort_values('diff', ascending=v == 'lower')
            named = [f"{a} {r['diff']:+.3f} [{r.low:+.3f}, {r.high:+.3f}]" for a,r in g[:most].iterrows()]
            if len(g) > most:
                named.append(f'and {len(g) - most} more')
            if named:
                said.append(f"{v}: {', '.join(named)}")
        for v in ('equivalent', 'undecided'):
            if names := list(d.index[d.verdict == v]):
                said.append(f"{v}: {', '.join(names)}")
        parts.append(f"On `{s}`, {'; '.join(said)}.")
    return f"{metric}: {' '.join(parts)}"

def how_sure(
    *families # dicts as `effects` gives them
)->str:
    "How many comparisons are decided, and how wide the intervals are"
    all_ = pd.concat([d for found in families for d in found.values()])
    decided = (~all_.verdict.isin(['undecided', 'undefined'])).sum()
    half = ((all_.high - all_.low)/2).max()
    return (f"{decided} of {len(all_)} comparisons are decided; the widest adjusted 95 % interval is ±{half:.3f}, and "
            f"the design would have found a difference of {all_.detectable.max():.3f} in four of five runs.")

def best(
    results:Results, # the first variant is the baseline
    metric='ap_macro', # column of `Results.to_frame`
)->str: # name of a variant
    "The rule of chapter 10: the highest of those whose gain is significant and above the margin, else the baseline"
    d = results.against(metric=metric, margin=MARGIN)
    gains = d[(d.verdict == 'higher') & ~d.within]
    return gains['diff'].idxmax() if len(gains) else next(iter(results.variants))

def conclude(
    chapter:str, # number and name, as the notebook's file has it
    question:str, # one short question
    finding:str, # the answer with its interval, at most 160 characters with the question
    saw:str, sure:str, do:str, # the three sentences: what we saw, how sure we are, what to do
    families=(), # dicts of effects whose verdicts are recorded
):
    "Show the three sentences, and keep finding and verdicts in the store for the home page and for the replication"
    finding = finding if len(finding) <= 160 else finding[:159] + '…'
    display(Markdown(f'**What we saw.** {saw}\n\n**How sure we are.** {sure}\n\n**What to do.** {do}'))
    verdicts = [dict(family=name, source=s, variant=str(v), verdict=r.verdict, diff=float(r['diff']),
                     low=float(r.low), high=float(r.high))
                for name,found in dict(families).items() for s,d in found.items() for v,r in d.iterrows()]
    record = dict(chapter=chapter, question=question, finding=finding, verdicts=verdicts)
    write_json(Path(store())/'findings'/f'{chapter}.json', record)
    if profile() != 'default':
        return
    file = Path('findings.json') # what the home page shows
    with locked(Path(store())/'locks'/'findings'): # two chapters may run at once
        known = json.loads(file.read_text(encoding='utf-8')) if file.exists() else {}
        known[chapter] = dict(question=question, finding=finding)
        file.write_text(json.dumps(dict(sorted(known.items())), indent=1, ensure_ascii=False) + '\n', encoding='utf-8')

def finding_of(
    found:dict, # source -> DataFrame by variant: diff, low, high, verdict
    metric, # how the metric is called
)->str:
    "The largest significant gain on each data set, or the largest loss where nothing gains, in a few words"
    names, parts = {'synth_xray': 'X-ray', 'synth_planet': 'satellite'}, []
    for s,d in found.items():
        higher, lower = d[d.verdict == 'higher'], d[d.verdict == 'lower']
        text = '' if len(higher) else 'none gains' + (', ' if len(lower) else '')
        if len(higher) or len(lower):
            top = higher['diff'].idxmax() if len(higher) else lower['diff'].idxmin()
            r = d.loc[top]
            text += f"{top} {r['diff']:+.3f} [{r.low:+.3f}, {r.high:+.3f}]"
        parts.append(f'{names.get(s, s)}: {text}')
    return f"{metric}, {'; '.join(parts)}"
