"""Words that this project does not use, and what it writes instead: the glossary's list as patterns"""
import ast, json, re, unicodedata
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXEMPT = {'glossary.md', 'changelog.md', 'references.md'} # they quote old names and titles
WORDS = { # pattern, case-insensitive: what to write
    r'told apart|tell \w+ apart': 'significantly different; higher, lower, equivalent, undecided',
    r'\barms?\b': 'method, variant',
    r'\b(training|validation|test) sides?\b|\bon (both|two|either|each) sides?\b|\bsides of a split': 'set, split',
    r'\b(put|set|puts|sets) aside\b': 'held out; quarantined',
    r'\b(the|a|one|each|own|this|global|per-label|best) cuts?\b|\bcuts? (at|per|scores)\b|where to cut': 'threshold',
    r'\bshares? of\b': 'fraction, proportion, prevalence',
    r'\bbod(y|ies)\b': 'backbone',
    r'\b(like|other) domain\b': 'same domain, cross-domain',
    r'\bplanted (truth|pair)': 'known ground truth, engineered pair',
    r'\bclassical systems?\b': 'classical multi-label classifiers',
    r'\bnobody knows\b': 'unknown (unannotated)',
    r'\belement loss(es)?\b': 'element-wise loss',
    r'\bturn(s|ed)? (up|down)\b': 'up-weight, down-weight',
    r'\b(by|at) places?\b|\bplaces of (a|the) map': 'spatial positions',
    r'\blearn(ed|t)? by heart\b': 'overfitted',
    r'\bwhole or not (there|at all)\b': 'atomic',
    r'\bmend(s|ed|ing)?\b': 'fix',
    r'(?<!there )\b(is|are|was|were) no (?!longer|more\b|less\b|one\b|different)': 'is not a ...',
    r'\btold (its|the) neighbours\b': 'oracle',
    r'\bwho belongs together\b': 'group id',
    r'\bdear(er|est)?\b': 'expensive',
    r'\bwhat was measured\b': 'benchmarks',
    r'\bnot trustworthy of\b|\bspeaks? of\b': 'a plain verb',
    r'\bby hand of\b|\bgoes? on where\b': 'resumes',
    r'\b(of|for) who\b|\bwho (has|wants|computes|comes|asks) ': 'those who, anyone who',
    r'\bis had by\b|\bminds the\b': 'a plain verb',
    r'\b(first|former|earlier|old) version\b|\bbefore, (it|this) was\b|\bused to be\b': 'no history: describe what is',
    r'(?<!fastai )\bissue #?\d+|\bthe brief\b': 'no mention of how the work was organised',
}


def prose(markdown):
    "Markdown without code, formulas, addresses and quoted text"
    for pattern in (r'^```.*?^```', r'^    .*$', r'\$\$.*?\$\$', r'\$[^$\n]+\$', r'`[^`\n]*`', r'\]\([^)\s]*\)',
                    r'https?://\S+'):
        markdown = re.sub(pattern, ' ', markdown, flags=re.M | re.S if '.*?' in pattern else re.M)
    return markdown


def docstrings(source):
    "(line, text) of the docstrings and of the comments that describe arguments"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(node)):
            yield getattr(node, 'lineno', 1), text
    for i, line in enumerate(source.splitlines(), 1):
        if (m := re.search(r'\s# (?!%)(.*)', line)) and not line.startswith('# %%'):
            yield i, m[1]


def texts():
    "(where, prose) of all that a reader reads"
    for p in sorted((ROOT/'nbs').rglob('*.md')):
        if p.name not in EXEMPT:
            yield p.relative_to(ROOT), prose(p.read_text(encoding='utf-8'))
    for p in sorted((ROOT/'nbs').rglob('*.ipynb')):
        if '.ipynb_checkpoints' in p.parts:
            continue
        for cell in json.loads(p.read_text(encoding='utf-8'))['cells']:
            where = f"{p.relative_to(ROOT)}:{cell['id']}"
            if cell['cell_type'] == 'markdown':
                yield where, prose(''.join(cell['source']))
    for p in sorted((ROOT/'mlic').rglob('*.py')):
        if p.name == '_modidx.py':
            continue
        for line, text in docstrings(p.read_text(encoding='utf-8')):
            yield f'{p.relative_to(ROOT)}:{line}', prose(text)
    for p in (ROOT/'CONTRIBUTING.md', ROOT/'bench'/'RESULTS.md'):
        yield p.name, prose(p.read_text(encoding='utf-8'))


def found():
    "A line for each word of the list that a reader would meet"
    for where, text in texts():
        for pattern, instead in WORDS.items():
            for m in re.finditer(pattern, text, flags=re.I):
                around = ' '.join(text[max(m.start()-30, 0):m.end()+30].split())
                yield f'{where}: "{m[0]}" -> {instead}   (... {around} ...)'


CITED = re.compile(r"([A-Z][\w'-]+)(?: (?:and|&) ([A-Z][\w'-]+))?(?: et al\.)?,? \(?((?:19|20)\d\d)\b")
NOT_AUTHORS = set('''January February March April May June July August September October November December Of In The All
    For With VOC COCO Kaggle After Since'''.split())


REFERENCES = ROOT/'nbs'/'pages'/'references.md'
SECTION = dict(losses='Losses', models='Networks', training='Training', interpret='Interpretation') # of a package


@cache
def entries():
    "{key: (section, entry)} of the page of references; a key is the first author's surname and the year, as li2017"
    res, section = {}, ''
    for line in REFERENCES.read_text(encoding='utf-8').splitlines():
        if line.startswith('## '):
            section = line[3:]
        if not line.startswith('- '):
            continue
        first = re.split(r',| and | et al', line[2:])[0].split()[-1]
        plain = re.sub(r'\[[^\]]*\]\([^)]*\)', '', line) # numbers of arXiv and DOIs look like years
        year = (re.findall(r'\b(?:19|20)\d\d\b', plain) or [''])[-1]
        key = unicodedata.normalize('NFKD', first).encode('ascii', 'ignore').decode().lower() + year
        while key in res:
            key = key[:-1] + chr(ord(key[-1]) + 1) if key[-1].isalpha() else key + 'b'
        res[key] = section, line
    return res


def anchored(markdown):
    "The page of references with the key of each entry as its anchor"
    for key, (_, line) in entries().items():
        authors = line[2:].split(', *')[0]
        markdown = markdown.replace(line, f'- [{authors}]{{#{key}}}{line[2 + len(authors):]}')
    return markdown


def key_of(first, second, year, folder):
    "The key of the entry that Name (year) or Name and Name (year) means on a page of a folder; None: not one"
    names = {first, second} - {'', None}
    found = {k: section for k, (section, line) in entries().items()
             if year in k and all(re.search(rf'\b{n}\b', line.split(', *')[0]) for n in names)}
    here = [k for k, section in found.items() if section == SECTION.get(folder)]
    return next(iter(found)) if len(found) == 1 else here[0] if len(here) == 1 else None


def unlisted():
    "Citations, as Name (year), without an entry on the page of references"
    entries = REFERENCES.read_text(encoding='utf-8').split('\n- ')
    missing = {}
    for where, text in texts():
        if where == 'RESULTS.md':
            continue # its dates are of measurements
        for first, second, year in CITED.findall(text):
            names = {first, second} - {''}
            if names & NOT_AUTHORS or any(year in e and all(n in e for n in names) for e in entries):
                continue
            missing.setdefault(f"{' and '.join(filter(None, (first, second)))} {year}", str(where))
    return missing


if __name__ == '__main__':
    print('\n'.join(found()))
