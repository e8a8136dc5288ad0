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
MARGIN = .01 # of the chapters
OUTCOMES = ['the same', 'negligible both times', 'undecided once', 'decided differently', 'flipped']


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
        if len(pair) == 1:
            return 'the same'
        if pair == {'higher', 'lower'}:
            return 'flipped'
        if max(map(abs, (r.low, r.high, r.low_2, r.high_2))) < MARGIN:
            return 'negligible both times' # one run has found the sign of a difference that both find too small
        return 'decided differently' if pair <= DECIDED else 'undecided once'
    return both.assign(outcome=both.apply(outcome, axis=1))


def table(both):
    "A row per chapter and one for all: comparisons, decided in the first run, outcomes, and the widest interval"
    def row(d):
        half = (d.high - d.low)/2
        return {'comparisons': len(d), 'decided': int(d.verdict.isin(DECIDED).sum()), **d.outcome.value_counts(),
                'widest': f'{half.max():.4f}'}
    rows = {chapter: row(d) for chapter, d in both.groupby('chapter')} | {'all': row(both)}
    return pd.DataFrame(rows).T.reindex(columns=['comparisons', 'decided', *OUTCOMES, 'widest']).fillna(0)


if __name__ == '__main__':
    both = compared(*sys.argv[1:3])
    differ = both[both.outcome != 'the same']
    columns = ['chapter', 'family', 'source', 'variant', 'verdict', 'diff', 'verdict_2', 'diff_2']
    share = both.outcome.value_counts(normalize=True).reindex(OUTCOMES).fillna(0)
    text = f"""# Do the findings replicate?

The chapters below were run with two master seeds, which draw all data, weights and batches anew (pretrained backbones
and the images that learning rates are chosen on included). Of {len(both)} verdicts {share['the same']:.1%} are the
same. Of another {share['negligible both times']:.1%}
both intervals lie within ±{MARGIN}, and one run alone has found the sign. {share['undecided once']:.1%} are undecided
in one of the runs, {share['decided differently']:.1%} are decided differently (equivalent in one, beyond the margin
in the other), {share['flipped']:.1%} flipped from higher to lower or back. *widest* is the largest half-width of an
adjusted 95 % interval of the first run.

{table(both).to_markdown()}

By family:

{table(both.assign(chapter=both.chapter + ', ' + both.family)).to_markdown()}

## Verdicts that differ

{differ[columns].round(4).to_markdown(index=False)}
"""
    Path(__file__).with_name('replication.md').write_text(text, encoding='utf-8')
    print(text)
