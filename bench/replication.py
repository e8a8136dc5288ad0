"""Do the chapters' verdicts replicate? Compares the verdicts of two runs, and writes bench/replication.md

    make chapters FRESH=1 && mv results results_0
    MLIC_SEED=1 make chapters FRESH=1 && mv results results_1
    .venv/bin/python bench/replication.py results_0 results_1
"""
import sys
from pathlib import Path
import pandas as pd
from mlic.store import read_json

DECIDED = {'higher', 'lower', 'equivalent'}


def verdicts(store):
    "A row per comparison of a run: chapter, family, source, variant, verdict, diff, low, high"
    rows = []
    for file in sorted((Path(store)/'findings').glob('*.json')):
        found = read_json(file)
        rows += [dict(chapter=found['chapter'], **v) for v in found['verdicts']]
    return pd.DataFrame(rows)


def compared(first, second):
    "The comparisons that both runs have, and how their verdicts go together"
    both = verdicts(first).merge(verdicts(second), on=['chapter', 'family', 'source', 'variant'], suffixes=('', '_2'))
    def outcome(r):
        pair = {r.verdict, r.verdict_2}
        if len(pair) == 1: return 'the same'
        if pair == {'higher', 'lower'}: return 'flipped'
        return 'undecided once' if not pair <= DECIDED else 'decided both times, differently'
    return both.assign(outcome=both.apply(outcome, axis=1))


def table(both):
    "A row per chapter: comparisons, decided in the first run, outcomes, and the widest interval"
    rows = {}
    for chapter, d in both.groupby('chapter'):
        rows[chapter] = dict(comparisons=len(d), decided=int(d.verdict.isin(DECIDED).sum()),
                             **d.outcome.value_counts().to_dict(), widest=round(float(((d.high - d.low)/2).max()), 4))
    out = pd.DataFrame(rows).T.fillna(0)
    out.loc['all'] = [*out.drop(columns='widest').sum(), out.widest.max()] if list(out)[-1] == 'widest' else out.sum()
    return out


if __name__ == '__main__':
    both = compared(*sys.argv[1:3])
    order = ['comparisons', 'decided', 'the same', 'undecided once', 'decided both times, differently', 'flipped', 'widest']
    counts = table(both).reindex(columns=order, fill_value=0)
    counts['widest'] = [*[((d.high - d.low)/2).max().round(4) for _, d in both.groupby('chapter')],
                        ((both.high - both.low)/2).max().round(4)]
    counts = counts.astype({c: int for c in order[:-1]})
    agree = (both.outcome == 'the same').mean()
    text = ['# Do the findings replicate?', '',
            'All chapters were run with two master seeds, which draw all data, weights and batches anew '
            '(pretrained backbones included).', '',
            f'{agree:.1%} of {len(both)} verdicts are the same; {(both.outcome == "flipped").sum()} flipped from higher to '
            'lower or back. *widest* is the largest half-width of an adjusted 95 % interval of the first run.', '',
            counts.to_markdown(), '', '## Verdicts that differ', '',
            both[both.outcome != 'the same'][['chapter', 'family', 'source', 'variant', 'verdict', 'diff', 'verdict_2', 'diff_2']]
            .round(4).to_markdown(index=False), '']
    Path(__file__).with_name('replication.md').write_text('\n'.join(text), encoding='utf-8')
    print('\n'.join(text))
