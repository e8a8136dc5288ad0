"""What autodoc is taught about mlic: docments become fields, a parameter without an annotation has the type that its
name has in the whole library, `raise` statements are listed with their messages, examples say what belongs together"""
import ast, importlib, inspect, json, re, textwrap
from collections import Counter
from functools import cache
from subjects import ROOT, modules, public

# a name means one thing in the whole library, so that a parameter without an annotation has a type
TYPES = {
    'array': '''X Y a b boxes d features groups high joint known losses low lrs maps matrix neg p pixels pos positives
        prevalence probs propensity r risk rows sample_weight scores swapped targs u v values view W what wgts x y''',
    'Tensor': 'aux logits s z out item',
    'str | Path': '''annotations archive bundle checkpoint csv data file folder path public_key root signed_by store
        table weights''',
    'str | Path | Image | array': 'image', 'str | Path | list': 'images', 'Axes | Image': 'picture',
    'str | array': 'by', 'str | list': 'label_col',
    'str': '''arch average baseline cell column desc field fname fname_col form format group_col image_col kind label
        name on reference reduction sep split_col text track tracker variant where why''',
    'list': '''arrays aux_losses bars fnames histories item_tfms items keys kinds labels metrics models names params
        stages states tfms unknown vocab vocabs''',
    'dict': 'args bold cfg defaults differences fitted head_args info kwargs marks ranks vary',
    'int': '''K N channels coming epoch height i least n n_jobs n_labels number pairs random_state samples seed
        size total white width''',
    'float': 'alpha cd crop cu cv delta dependence level precision positive_rate recall ru rv shrink similarity weight',
    'int | array': 'k', 'float | dict': 'df', 'float | array | Thresholder': 'threshold thresholds',
    'str | tuple': 'needs pool', 'Callable': 'f get loss make metric parts', 'Axes': 'ax', 'Recipe': 'recipe',
    'Recipe | dict': 'recipes', 'Results': 'results', 'Learner': 'learn', 'DataLoaders': 'dls', 'DataFrame': 'game',
    'Source': 'src sources', 'torch.nn.Module': 'body head model net', 'Sets': 'sets', 'Iterable': 'batch gen jobs',
    'sklearn estimator': 'base estimator', 'Generator': 'rng', 'numpy.dtype': 'dtype', 'Predictor': 'predictor',
    'Thresholder': 'thresholder', 'datasets.Dataset': 'dataset',
    'torch.device': 'device', 'Preprocessing': 'preprocessing', 'object': 'choices content key value',
}
TYPE_OF = {name: kind for kind, names in TYPES.items() for name in names.split()}
SAID = { # how the description of a parameter begins: its type, before its name is asked
    r'\((?:\w+,|\)|N|K)|number or \(|(?:row )?numbers\b': 'array', r'an? `(\w+)`': r'\1',
    r'`([A-Z]\w+)`': r'\1', r'(?:a source|source of N images), or': 'Source | array', r'source\b': 'Source',
    r'(?:new )?(?:folder|file|path)\b|CSV': 'str | Path', r'a path, a': 'str | Path | Image | array',
    r'bytes': 'bytes | str | Path', r'name or function': 'str | Callable', r'rows of': 'DataFrame', r'type of': 'type',
    r'(?:a )?(DataFrame|Learner|Series)\b': r'\1', r'(?:fastai )?(DataLoaders)': r'\1', r'expected': 'float',
    r'(?:a )?list of|N file names|N labelsets': 'list', r'function\b|called ': 'Callable', r"'\w+'(?:,| or)": 'str',
    r'number of\b': 'int', r'any (?:object|thing)|anything|what \w+ can hold': 'object',
}

# a sentence of the house names what a function returns, unless it begins with one of these
ACTS = 'Write Compute Rename Train Decorator'.split()


def rst(text):
    "A docstring or docment, in which only `code` and $formulas$ are marked up, as reStructuredText"
    parts = re.split(r'(`[^`]+`|\$[^$\s](?:[^$]*[^$\s])?\$)', text)
    def one(part, marked):
        if not marked:
            return re.sub(r'([\\*|_`])', r'\\\1', part)
        if part[0] == '$':
            return f'\\ :math:`{part[1:-1]}`\\ '
        return f'\\ :py:obj:{part}\\ ' if re.fullmatch(r'`[A-Za-z]\w*`', part) else f'\\ `{part}`\\ '
    return ''.join(one(p, i % 2) for i, p in enumerate(parts))


# ---- parameters ---------------------------------------------------------------------------------------------
def annotation(anno):
    "An annotation in words; '' where there is none"
    if anno in (inspect.Parameter.empty, None, type(None)):
        return ''
    return inspect.formatannotation(anno).replace('typing.', '')


def type_of(arg, p):
    "The type of a parameter by its annotation, its default, its description, or its name"
    if found := annotation(p['anno']):
        return found
    default = p['default']
    if default not in (inspect.Parameter.empty, None) and not callable(default):
        return type(default).__name__
    said = p['docment'] or ''
    found = next((m.expand(kind) for start, kind in SAID.items() if (m := re.match(start, said))), TYPE_OF.get(arg, ''))
    return f'{found} | None' if default is None and found else found


@cache
def source(obj):
    "The parsed definition of a function or class; None where there is no source"
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(obj))).body[0]
    except (TypeError, OSError, SyntaxError):
        return None


def fields_of(cls):
    "The fields of a named tuple, each with the comment beside it"
    lines, node = inspect.getsource(cls).splitlines(), source(cls)
    for part in node.body if node else []:
        if not isinstance(part, ast.AnnAssign):
            continue
        said = re.search(r'\s# (.+)$', lines[part.end_lineno - 1])
        default = ast.unparse(part.value) if part.value else inspect.Parameter.empty
        yield part.target.id, dict(anno=cls.__annotations__.get(part.target.id), default=default,
                                   docment=said[1] if said else '')


def own_docments(obj):
    "{argument: its annotation, default and comment} as the source has them"
    from fastcore.docments import docments
    if inspect.isclass(obj) and hasattr(obj, '_fields'):
        return dict(fields_of(obj))
    try:
        found = docments(obj, full=True, args_kwargs=True)
    except (TypeError, ValueError, AttributeError, SyntaxError, OSError):
        return {}
    if 'return' not in found or not found['return']['docment']:
        said = re.search(r'^\s*\)(?:\s*->[^#\n]*)?:[ \t]*# (.+)$', inspect.getsource(obj), re.M) # after `):`
        if said and inspect.isfunction(obj):
            anno = found['return']['anno'] if 'return' in found else inspect.Parameter.empty
            found['return'] = dict(anno=anno, default=inspect.Parameter.empty, docment=said[1])
    init = getattr(obj, '__init__', None)
    if inspect.isclass(obj) and not getattr(init, '__module__', '').startswith('mlic'):
        return {}
    return {a: dict(p) for a, p in found.items() if a not in ('self', 'cls')}


@cache
def meanings():
    "{(module, argument)} and {argument}: what other functions say about an argument of that name"
    res = {}
    for m in modules():
        module = importlib.import_module(f'mlic.{m}')
        objects = [getattr(module, n) for n in public(m)]
        objects += [f for o in objects if inspect.isclass(o) for f in vars(o).values() if inspect.isfunction(f)]
        for obj in filter(callable, objects):
            for arg, p in own_docments(obj).items():
                if not p['docment']:
                    continue
                for key in ((m, arg), (m.split('.')[0], arg)):
                    res.setdefault(key, p)
    return res


def documented(name, obj):
    "{argument: ...} of `own_docments`; an argument without a comment has that of its module, else of its package"
    module = name.removeprefix('mlic.')
    while module and module not in modules():
        module = module.rpartition('.')[0]
    params = own_docments(obj)
    for arg, p in params.items():
        if p['docment'] or arg == 'return' or not module:
            continue
        other = meanings().get((module, arg)) or meanings().get((module.split('.')[0], arg))
        if other:
            p.update(docment=other['docment'], anno=other['anno'] if not annotation(p['anno']) else p['anno'])
    return params


# ---- returns, raises ----------------------------------------------------------------------------------------
def own_nodes(node):
    "The nodes of a function without those of the functions inside it"
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            continue
        yield child
        yield from own_nodes(child)


def gives(obj):
    "Does a function return or yield a value: 'self', 'value' or ''"
    node = source(obj)
    if not isinstance(node, ast.FunctionDef):
        return ''
    values = [n.value for n in own_nodes(node) if isinstance(n, (ast.Return, ast.Yield, ast.YieldFrom)) and n.value]
    if values and all(isinstance(v, ast.Name) and v.id == 'self' for v in values):
        return 'self'
    return 'value' if any(not (isinstance(v, ast.Constant) and v.value is None) for v in values) else ''


def message(node):
    "The text of an error as its source writes it; what is filled in stands in braces"
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return ''.join(p.value if isinstance(p, ast.Constant) else f'{{{ast.unparse(p.value)}}}'
                       if isinstance(p.value, (ast.Name, ast.Attribute)) else '…' for p in node.values)
    if isinstance(node, ast.BinOp):
        return message(node.left) + message(node.right)
    return ''


def raised(obj, most=4, depth=1):
    "[(type, when)] of the errors of a function or constructor, its private helpers and the checks that it calls"
    if inspect.isclass(obj):
        own = [vars(obj)[n] for n in ('__init__', '__post_init__', '__new__') if inspect.isfunction(vars(obj).get(n))]
        return [r for f in own for r in raised(f, most)][:most]
    obj, res = inspect.unwrap(obj), []
    for node in own_nodes(source(obj)) if source(obj) else []:
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            said = message(node.exc.args[0]) if node.exc.args else ''
            if node.exc.func.id not in ('NotImplementedError', 'StopIteration') and said:
                res.append((node.exc.func.id, ' '.join(said.split())))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called = getattr(obj, '__globals__', {}).get(node.func.id)
            if not inspect.isfunction(called) or not called.__module__.startswith('mlic'):
                continue
            if called.__name__.startswith('check_'):
                res.append(('MLICError', f'what `{called.__name__}` refuses'))
            elif called.__name__[0] == '_' and depth:
                res += raised(called, most, depth - 1)
    return list(dict.fromkeys(res))[:most]


# ---- see also -----------------------------------------------------------------------------------------------
def words_of(path):
    "The identifiers of each visible code cell of a notebook that is not exported"
    for cell in json.loads(path.read_text(encoding='utf-8'))['cells']:
        text = ''.join(cell['source'])
        if cell['cell_type'] == 'code' and not re.match(r'\s*#\|\s*(hide|export|default_exp)', text):
            yield set(re.findall(r'\b[A-Za-z_]\w*', re.sub(r'#.*|"[^"\n]*"|\'[^\'\n]*\'', '', text)))


@cache
def related():
    "{name: (names used beside it in the examples of its module, pages whose code uses it)}"
    home = {n: m for m in modules() if m != 'all' for n in public(m)}
    beside, pages = {n: Counter() for n in home}, {n: [] for n in home}
    for m, path in modules().items():
        for words in words_of(path):
            for n in words & set(public(m)):
                beside[n].update(words & set(home) - {n})
    order = [*sorted((ROOT/'nbs'/'pages').glob('*.ipynb')), *sorted((ROOT/'nbs'/'chapters').glob('[0-9]*.ipynb'))]
    for path in order:
        for n in set().union(*words_of(path)) & set(home):
            pages[n].append(path.relative_to(ROOT/'nbs').with_suffix('').as_posix())
    for n, m in home.items():
        if not beside[n] and not pages[n]:
            beside[n].update(x for x in public(m) if x != n)
    return {n: ([f'mlic.{home[x]}.{x}' for x, _ in beside[n].most_common(4)], pages[n][:3]) for n in home}


# ---- autodoc ------------------------------------------------------------------------------------------------
def comment_on(name):
    "What a constant is, by its full name: the comment beside its assignment or above it, else what it holds"
    module, _, name = name.rpartition('.')
    module = importlib.import_module(module)
    lines, value = inspect.getsource(module).splitlines(), getattr(module, name)
    for node in ast.parse('\n'.join(lines)).body:
        if name not in [getattr(t, 'id', None) for t in getattr(node, 'targets', [])]:
            continue
        near = [lines[i][at:] for i, at in ((node.lineno - 1, 0), (node.end_lineno - 1, node.end_col_offset))]
        beside = [m[1] for text in near if (m := re.search(r'(?:^|\s)# (.+)$', text))]
        above = [m[1] for m in [re.match(r'# (?!%)(.+)', lines[node.lineno - 2])] if m]
        if beside + above:
            return (beside + above)[0]
    if type(value).__name__ == 'Registry':
        return f"The registry of each {value.kind} by name: {', '.join(value)}"
    if isinstance(value, (list, tuple, dict)):
        return f"{len(value)} names: {', '.join(map(str, value))}"
    return (inspect.getdoc(value) or '').split('\n')[0]


def docments_as_fields(app, what, name, obj, options, lines):
    "Autodoc's docstring: the sentence, then a field for each parameter, the value, the errors and what belongs to it"
    text = comment_on(name) if what == 'data' else ' '.join(' '.join(lines).split())
    lines[:] = [rst(text), '']
    if what not in ('function', 'method', 'class'):
        return
    params = documented(name, obj)
    for arg, p in params.items():
        said = ' '.join((p['docment'] or '').split())
        if arg == 'return' or not said:
            continue
        lines.append(f':param {arg}: {rst(said)}')
        if kind := type_of(arg, p):
            lines.append(f':type {arg}: {kind}')
    if what != 'class':
        lines += value_of(params.get('return'), obj)
    lines += [f':raises {kind}: {rst(when)}' for kind, when in raised(obj)]
    names, pages = related().get(name.rpartition('.')[2], ((), ())) if what != 'method' else ((), ())
    links = [f':py:obj:`~{n}`' for n in names] + [f':doc:`/{page}`' for page in pages]
    if links:
        lines.append(f":see also: {', '.join(links)}")


def value_of(returned, obj):
    "The fields of what a function returns"
    said, kind = (returned or {}).get('docment'), annotation((returned or {}).get('anno'))
    if said:
        yield f":returns: {rst(' '.join(said.split()))}"
    elif gives(obj) == 'self':
        yield ':returns: itself, so that calls can follow'
    elif gives(obj) == 'value' and not kind and (text := inspect.getdoc(obj)):
        first = re.split(r'[;:]\s|\n', text)[0]
        if first.split()[0] not in ACTS:
            yield f':returns: {rst(first[0].lower() + first[1:])}'
    if kind:
        yield f':rtype: {rst(kind)}'


def plain_signature(app, what, name, obj, options, signature, returns):
    "Functions by their names; a class with the constructor of a base outside mlic is called without arguments"
    init = getattr(obj, '__init__', None)
    if what == 'class' and issubclass(obj, BaseException) or not signature:
        return None
    if what == 'class' and signature.startswith('(*args'): # of a metaclass or of `__call__`
        signature = str(inspect.signature(obj))
    if what != 'class' or getattr(init, '__module__', 'mlic').startswith('mlic'):
        return re.sub(r"<(?:function|class) '?([\w.]+)[^>]*>", r'\1', signature), None
    return '()', None


def foreign_member(app, what, name, obj, skip, options):
    "Is it a member that a class has from a package outside mlic"
    func = getattr(obj, '__func__', getattr(obj, 'fget', obj))
    foreign = not (getattr(func, '__module__', None) or 'mlic').startswith('mlic')
    return True if foreign or (inspect.getdoc(obj) or '').startswith('Alias for field') else None


def entries():
    "(full name, object) of every function, class and documented method of the reference"
    for m in modules():
        if m == 'all':
            continue
        for n in public(m):
            obj = getattr(importlib.import_module(f'mlic.{m}'), n)
            if inspect.isfunction(obj) or inspect.isclass(obj):
                yield f'mlic.{m}.{n}', obj
            if not inspect.isclass(obj):
                continue
            for k, f in vars(obj).items():
                if inspect.isfunction(f) and k[0] != '_' and f.__doc__:
                    yield f'mlic.{m}.{n}.{k}', f


def gaps():
    "A line for each parameter without a meaning or a type, and for each value without a description"
    for name, obj in entries():
        params = documented(name, obj)
        for arg, p in params.items():
            if arg == 'return':
                continue
            if not p['docment']:
                yield f'{name}: {arg} has no meaning'
            elif not type_of(arg, p):
                yield f'{name}: {arg} has no type ({p["docment"]})'
        if inspect.isfunction(obj) and gives(obj) == 'value' and not list(value_of(params.get('return'), obj)):
            yield f'{name}: what it returns is not said'


if __name__ == '__main__':
    print('\n'.join(gaps()))
